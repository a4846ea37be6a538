/**
 * What an image looks like. Only the one on the canvas is kept decoded; the others are decoded
 * again from their files.
 *
 * @import { Size } from "../canvas/types.js"
 * @import { Item } from "./strip.js"
 */

import { Problem } from "./api.js";

/**
 * @param {Item} item
 * @returns {Promise<ImageBitmap>} Whoever takes it closes it.
 */
export async function decoded(item) {
  const ready = item.bitmap;
  item.bitmap = null;
  if (ready) return ready;
  if (item.source) return createImageBitmap(item.source);
  throw new Problem(415, "This image cannot be shown", "Neither the browser nor the server could draw it. Try a PNG of it.");
}

/**
 * Give the memory of a decoded image back.
 *
 * @param {Item} item
 */
export function release(item) {
  item.bitmap?.close();
  item.bitmap = null;
}

/**
 * @param {Size} one
 * @param {Size} other
 */
export function fits(one, other) {
  return one.width === other.width && one.height === other.height;
}
