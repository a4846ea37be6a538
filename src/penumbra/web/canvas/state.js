/**
 * The part of the canvas that an address can hold: the view, the opacities, the swipe.
 *
 * @import { Opacities, View } from "./types.js"
 *
 * @typedef {object} CanvasState
 * @property {View | null} view null: the whole image, whatever the window's size.
 * @property {Opacities} opacity
 * @property {number} swipe
 */

import { clamp, formatView, parseView } from "./view.js";

/** @returns {CanvasState} */
export function firstState() {
  return { view: null, opacity: { image: 1, mask: 0.35, heat: 0.85, classes: {} }, swipe: 0.5 };
}

/**
 * Write a state into the parameters of an address. What is as it was at first is left out, so that
 * addresses stay short.
 *
 * @param {CanvasState} state
 * @param {URLSearchParams} into
 */
export function writeState(state, into) {
  const first = firstState();
  put(into, "view", state.view ? formatView(state.view) : null);
  for (const name of /** @type {const} */ (["image", "mask", "heat"])) {
    const value = state.opacity[name];
    put(into, `o-${name}`, value === first.opacity[name] ? null : short(value));
  }
  const classes = Object.entries(state.opacity.classes).filter(([, value]) => value !== 1);
  put(into, "o-classes", classes.map(([index, value]) => `${index}:${short(value)}`).join(",") || null);
  put(into, "swipe", state.swipe === first.swipe ? null : short(state.swipe));
}

/**
 * Read a state; whatever is missing or no number stays as it is at first.
 *
 * @param {URLSearchParams} from
 * @returns {CanvasState}
 */
export function readState(from) {
  const state = firstState();
  state.view = parseView(from.get("view"));
  for (const name of /** @type {const} */ (["image", "mask", "heat"])) {
    state.opacity[name] = share(from.get(`o-${name}`), state.opacity[name]);
  }
  for (const part of (from.get("o-classes") ?? "").split(",")) {
    const [index = "", value = ""] = part.split(":");
    if (/^\d{1,3}$/.test(index)) state.opacity.classes[Number(index)] = share(value, 1);
  }
  state.swipe = share(from.get("swipe"), state.swipe);
  return state;
}

/**
 * @param {string | null} text
 * @param {number} otherwise
 */
export function share(text, otherwise) {
  const value = text === null || text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) ? clamp(value, 0, 1) : otherwise;
}

/**
 * @param {URLSearchParams} into
 * @param {string} name
 * @param {string | null} value
 */
function put(into, name, value) {
  if (value === null) into.delete(name);
  else into.set(name, value);
}

/** @param {number} value */
function short(value) {
  return String(Number(value.toFixed(3)));
}
