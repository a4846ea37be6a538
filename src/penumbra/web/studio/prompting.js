/**
 * Clicks and boxes to masks: an image is embedded once, then every prompt is one small request.
 *
 * @import { ClassMask, Prompt, Prompts } from "../canvas/types.js"
 * @import { Rle } from "../canvas/rle.js"
 * @import { Api } from "./api.js"
 *
 * @typedef {object} Prompted
 * @property {[number, number, number, number] | null} box Where the crop lies; null: no pixel.
 * @property {Rle | null} [rle]
 * @property {number} area_px
 * @property {number} [predicted_iou]
 */

import { noPrompts } from "../canvas/marks.js";
import { paint } from "../canvas/rle.js";
import { Problem } from "./api.js";
import { formOf } from "./infer.js";

/**
 * A new box begins a new object; points refine it.
 *
 * @param {Prompts} prompts
 * @param {Prompt} prompt
 * @returns {Prompts}
 */
export function added(prompts, prompt) {
  if (prompt.kind === "box") return { boxes: [prompt.box], points: [], labels: [] };
  return { boxes: prompts.boxes, points: [...prompts.points, prompt.point], labels: [...prompts.labels, prompt.label] };
}

/** @param {Prompts} prompts */
export function isEmpty(prompts) {
  return !prompts.boxes.length && !prompts.points.length;
}

/** Steps that can be taken back. */
export function history() {
  /** @type {Prompts[]} */
  let steps = [noPrompts()];
  let at = 0;
  return {
    get now() {
      return steps[at] ?? noPrompts();
    },
    /** @param {Prompts} next */
    push(next) {
      steps = [...steps.slice(0, at + 1), next];
      at += 1;
    },
    undo: () => at > 0 && ((at -= 1), true),
    redo: () => at < steps.length - 1 && ((at += 1), true),
  };
}

/**
 * The masks of an answer over another mask.
 *
 * @param {ClassMask} below
 * @param {Prompted[]} masks
 * @param {number} value
 * @returns {ClassMask}
 */
export function painted(below, masks, value) {
  const mask = { ...below, data: below.data.slice() };
  for (const { rle, box } of masks) if (rle && box) paint(rle, mask, { value, x: Math.round(box[0]), y: Math.round(box[1]) });
  return mask;
}

/**
 * @typedef {object} Session
 * @property {string} id
 * @property {import("../canvas/types.js").Size} size
 * @property {Record<string, number>} timings
 * @property {Record<string, {href: string}>} [pictures] The image as a person sees it, if asked for.
 */

/** @param {Api} api */
export function prompter(api) {
  /** @type {Map<Blob, {model: string, picture: boolean, ready: Promise<Session>}>} */
  const sessions = new Map();

  /**
   * Embed an image, or give the session in which it is.
   *
   * @param {Blob} file
   * @param {string} name
   * @param {string} model
   * @param {boolean} [picture] Whether the server is to show the image, too.
   */
  function open(file, name, model, picture = false) {
    const known = sessions.get(file);
    if (known?.model === model && (known.picture || !picture)) return known.ready;
    /** @type {Record<string, string>} */
    const fields = picture ? { model, picture: "true" } : { model };
    const form = formOf(file, name, fields);
    /** @type {Promise<Session>} */
    const ready = api.json("/v1/sessions", { method: "POST", body: form });
    sessions.set(file, { model, picture, ready });
    ready.catch(() => sessions.delete(file));
    return ready;
  }

  /**
   * @param {Blob} file
   * @param {string} name
   * @param {string} model
   * @param {Prompts} prompts
   * @param {AbortSignal} signal
   * @returns {Promise<{masks: Prompted[], timings: Record<string, number>, embed: Record<string, number>}>}
   */
  async function ask(file, name, model, prompts, signal) {
    const session = await open(file, name, model);
    const init = { method: "POST", body: JSON.stringify(prompts), headers: { "Content-Type": "application/json" }, signal };
    try {
      const answer = await api.json(`/v1/sessions/${session.id}/prompt`, init);
      return { ...answer, embed: session.timings };
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      // The session has expired: the image is still here, so a new one costs nobody work.
      sessions.delete(file);
      const fresh = await open(file, name, model);
      const answer = await api.json(`/v1/sessions/${fresh.id}/prompt`, init);
      return { ...answer, embed: fresh.timings };
    }
  }
  return {
    open,
    ask,
    /** @param {Blob} file */
    forget: (file) => void sessions.delete(file),
  };
}
