/**
 * One inference: the request, the running estimates, the result.
 *
 * @import { Api } from "./api.js"
 * @import { Answer, Result } from "./answers.js"
 * @import { Mode, Settings } from "./settings.js"
 * @import { Size } from "../canvas/types.js"
 *
 * @typedef {object} Asked
 * @property {Blob} file
 * @property {string} name
 * @property {Settings} settings
 * @property {Mode} mode
 * @property {boolean} image Whether the server is to show the image.
 * @property {Size | null} size Of the image, where it is known.
 * @property {boolean} [cutsThere] Whether the server has to cut the mask at the settings' threshold.
 * @property {AbortSignal} signal
 * @property {(result: Result) => void} [estimate] Called with every running estimate.
 */

import { cutMap, gather } from "./answers.js";
import { Problem } from "./api.js";
import { fits } from "./pictures.js";
import { fieldsOf } from "./settings.js";

const MOST_FINE = 4_000_000;

/**
 * @param {Api} api
 * @param {Asked} asked
 * @returns {Promise<Result>}
 */
export async function infer(api, asked) {
  const { settings, mode, image, size, cutsThere = false } = asked;
  const bits = size && size.width * size.height > MOST_FINE ? 8 : 16;
  const form = formOf(asked.file, asked.name, fieldsOf(settings, { mode, image, bits, cutsThere }));
  if (mode === "monte_carlo") return stream(api, form, asked);
  /** @type {Answer} */
  const answer = await api.json("/v1/segment", { method: "POST", body: form, signal: asked.signal });
  return gather(api, answer, asked.signal);
}

/**
 * @param {Api} api
 * @param {FormData} form
 * @param {Asked} asked
 */
async function stream(api, form, asked) {
  for await (const { event, data } of api.events("/v1/uncertainty", form, asked.signal)) {
    if (event === "done") return gather(api, data, asked.signal);
    // An estimate of another size than the picture has nothing to lie on: the last one brings its own.
    if (event !== "estimate" || !asked.estimate || (asked.size && !fits(asked.size, data.size))) continue;
    const { layer, threshold } = asked.settings;
    const cut = threshold === null ? null : cutMap(data);
    asked.estimate(await gather(api, data, asked.signal, cut ? [layer, cut] : [layer]));
  }
  throw new Problem(0, "The stream ended early", "The server stopped before its last estimate. Try again.");
}

/**
 * @param {Blob} file
 * @param {string} name
 * @param {Record<string, string>} fields
 */
export function formOf(file, name, fields) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) form.set(field, value);
  form.set("image", file, name);
  return form;
}
