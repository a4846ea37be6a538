/**
 * Where one looks: zoom and pan as pure functions of plain values.
 *
 * @import { Size, View } from "./types.js"
 */

const MOST_ZOOM = 64;
const MARGIN = 24;

/**
 * The view that shows the whole image with a small margin, never above 8 screen pixels each.
 *
 * @param {Size} image
 * @param {Size} box The drawing area in CSS pixels.
 * @returns {View}
 */
export function fit(image, box) {
  const room = (/** @type {number} */ side) => Math.max(side - 2 * MARGIN, side / 2, 1);
  const zoom = Math.min(room(box.width) / image.width, room(box.height) / image.height, 8);
  return { zoom, x: image.width / 2, y: image.height / 2 };
}

/**
 * The nearest view that keeps some of the image in sight.
 *
 * @param {View} view
 * @param {Size} image
 * @param {Size} box
 * @returns {View}
 */
export function bounded(view, image, box) {
  const least = Math.min(fit(image, box).zoom / 4, 1);
  return {
    zoom: clamp(view.zoom, least, MOST_ZOOM),
    x: clamp(view.x, 0, image.width),
    y: clamp(view.y, 0, image.height),
  };
}

/**
 * Zoom by a factor so that what lies under the pointer stays there.
 *
 * @param {View} view
 * @param {number} factor
 * @param {[number, number]} at Pointer in CSS pixels from the top left of the box.
 * @param {Size} image
 * @param {Size} box
 * @returns {View}
 */
export function zoomAt(view, factor, at, image, box) {
  const zoom = bounded({ ...view, zoom: view.zoom * factor }, image, box).zoom;
  const [x, y] = toImage(view, at, box);
  return bounded(
    { zoom, x: x - (at[0] - box.width / 2) / zoom, y: y - (at[1] - box.height / 2) / zoom },
    image,
    box,
  );
}

/**
 * Move the image by a distance on the screen.
 *
 * @param {View} view
 * @param {[number, number]} by CSS pixels; the image follows the hand.
 * @param {Size} image
 * @param {Size} box
 * @returns {View}
 */
export function panned(view, by, image, box) {
  const moved = { zoom: view.zoom, x: view.x - by[0] / view.zoom, y: view.y - by[1] / view.zoom };
  return bounded(moved, image, box);
}

/**
 * The place in the image under a place on the screen.
 *
 * @param {View} view
 * @param {[number, number]} at
 * @param {Size} box
 * @returns {[number, number]}
 */
export function toImage(view, at, box) {
  return [view.x + (at[0] - box.width / 2) / view.zoom, view.y + (at[1] - box.height / 2) / view.zoom];
}

/**
 * The place on the screen of a place in the image; the inverse of `toImage`.
 *
 * @param {View} view
 * @param {[number, number]} at
 * @param {Size} box
 * @returns {[number, number]}
 */
export function toScreen(view, at, box) {
  return [(at[0] - view.x) * view.zoom + box.width / 2, (at[1] - view.y) * view.zoom + box.height / 2];
}

/**
 * @param {View} view
 * @returns {string} Short enough for an address.
 */
export function formatView(view) {
  const short = (/** @type {number} */ value) => String(Number(value.toPrecision(6)));
  return [view.zoom, view.x, view.y].map(short).join(",");
}

/**
 * Read what `formatView` wrote; null where it is no view.
 *
 * @param {string | null} text
 * @returns {View | null}
 */
export function parseView(text) {
  const parts = (text ?? "").split(",").map(Number);
  if (parts.length !== 3 || !parts.every(Number.isFinite)) return null;
  const [zoom = 0, x = 0, y = 0] = parts;
  return zoom > 0 ? { zoom, x, y } : null;
}

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
export function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
