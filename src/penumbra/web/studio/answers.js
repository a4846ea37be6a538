/**
 * From the server's answer to what the canvas draws.
 *
 * @import { ClassMask, Layers, Levels } from "../canvas/types.js"
 * @import { Rle } from "../canvas/rle.js"
 * @import { Api } from "./api.js"
 * @import { Settings } from "./settings.js"
 *
 * @typedef {object} MapLink
 * @property {string} href
 * @property {8 | 16} bits
 * @property {[number, number] | null} [scale]
 * @property {string | null} [unit]
 *
 * @typedef {object} Answer The parts of the JSON that the studio reads.
 * @property {string} id
 * @property {string} model
 * @property {string[]} classes
 * @property {{height: number, width: number}} size
 * @property {{class: number, name: string, area_px: number, rle: Rle}[]} masks
 * @property {Record<string, MapLink>} maps
 * @property {Record<string, {href: string}>} [pictures] Asked for: the image as a person sees it.
 * @property {Record<string, number>} timings Seconds by stage.
 * @property {number} passes
 * @property {number | null} threshold
 * @property {string | null} [threshold_map] The map that the mask is cut from; null: none alone gives it.
 * @property {number | null} [noise_strength]
 * @property {boolean | null} [flagged]
 * @property {string[]} [notes]
 * @property {boolean} [converged]
 * @property {boolean} [emptied] Whether the presence rule took the mask away.
 *
 * @typedef {object} Result
 * @property {Answer} answer
 * @property {ClassMask} mask
 * @property {Record<string, Levels>} fields
 * @property {Record<string, ArrayBuffer>} files As the server sent them, for the download.
 * @property {Levels | null} cut The map from which a moved threshold cuts the mask.
 * @property {Settings} [asked] The settings that it was asked for with.
 * @property {Blob | null} image What the server shows where the browser cannot read the file.
 */

import { areasAbove, leastLevel, ownWindow, toLevels } from "../canvas/layers.js";
import { decode } from "../canvas/rle.js";
import { greyOf } from "./levels.js";
import { LAYERS } from "./settings.js";

/**
 * Fetch what belongs to an answer.
 *
 * @param {Api} api
 * @param {Answer} answer
 * @param {AbortSignal} signal
 * @param {string[] | null} [only] Maps that are wanted; null for all.
 * @returns {Promise<Result>}
 */
export async function gather(api, answer, signal, only = null) {
  const { width, height } = answer.size;
  const mask = decode(answer.masks.filter((part) => part.class > 0).map((part) => ({ rle: part.rle, value: part.class })), width, height);
  /** @type {Result} */
  const result = { answer, mask, fields: {}, files: {}, cut: null, image: null };
  const wanted = Object.entries(answer.maps ?? {}).filter(([name]) => !only || only.includes(name));
  await Promise.all(
    wanted.map(async ([name, link]) => {
      const bytes = await api.bytes(link.href, signal);
      result.files[`${name}.png`] = bytes;
      result.fields[name] = await field(name, link, bytes);
    }),
  );
  const picture = answer.pictures?.["image"];
  if (picture) result.image = new Blob([await api.bytes(picture.href, signal)], { type: "image/png" });
  result.cut = result.fields[cutMap(answer) ?? ""] ?? null;
  return result;
}

/**
 * The map whose values at or above the threshold are the mask.
 *
 * @param {Pick<Answer, "threshold_map" | "classes">} answer
 * @returns {string | null} null: no map alone gives the mask.
 */
export function cutMap(answer) {
  if (answer.threshold_map !== undefined) return answer.threshold_map;
  return answer.classes.length <= 2 ? "probability" : null;
}

/**
 * Whether another threshold is another question to the server. With more classes than two it is
 * none at all: the largest probability wins.
 *
 * @param {Pick<Answer, "threshold_map" | "classes">} answer
 */
export function cutsThere(answer) {
  return cutMap(answer) === null && answer.classes.length <= 2;
}

/**
 * @param {string} name
 * @param {MapLink} link
 * @param {ArrayBuffer} bytes
 */
async function field(name, link, bytes) {
  const label = LAYERS.find(([known]) => known === name)?.[1] ?? name.replaceAll("_", " ");
  const unit = link.unit === "1" ? "" : (link.unit ?? "");
  return toLevels({ ...(await greyOf(bytes)), scale: link.scale ?? [0, 1], label, unit });
}

/**
 * What the canvas draws of a result with these settings. Moving the threshold or choosing another
 * map asks nobody.
 *
 * @param {Result} result
 * @param {Settings} settings
 * @returns {Layers}
 */
export function layersOf(result, settings) {
  const heat = result.fields[settings.layer] ?? null;
  return {
    mask: result.mask,
    heat,
    map: settings.layer === "confidence" || settings.layer === "probability" ? "viridis" : "doubt",
    window: heat && settings.own ? ownWindow(heat) : [0, 1],
    probability: result.cut,
    threshold: moved(result, settings) ? settings.threshold : null,
  };
}

/**
 * Whether the threshold stands elsewhere than the server's mask has it.
 *
 * @param {Result} result
 * @param {Settings} settings
 */
export function moved(result, settings) {
  return result.cut !== null && settings.threshold !== null && Math.abs(settings.threshold - (result.answer.threshold ?? -1)) > 1e-9;
}

/**
 * Pixels of each class as shown.
 *
 * @param {Result} result
 * @param {Settings} settings
 * @returns {{index: number, name: string, area: number}[]}
 */
export function classesOf(result, settings) {
  const { cut } = result;
  return result.answer.masks.filter((part) => part.class > 0).map((part) => {
    const shifted = cut && moved(result, settings);
    const area = shifted ? (areasAbove(cut)[leastLevel(cut, settings.threshold ?? 0.5)] ?? 0) : part.area_px;
    return { index: part.class, name: part.name, area };
  });
}
