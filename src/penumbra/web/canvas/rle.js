/**
 * COCO run lengths: counts of alternating runs, background first, down the columns. The compressed
 * string writes groups of five bits as characters from "0" on, bit 5 set where more follow, and
 * from the fourth count on the difference to the count two before.
 *
 * @import { ClassMask } from "./types.js"
 *
 * @typedef {{size: [number, number], counts: string | number[]}} Rle size is [height, width].
 */

const FIRST = 48;
const MORE = 32;
const MOST_GROUPS = 7;

/**
 * @param {string} text
 * @returns {number[]} Run lengths.
 */
export function decompress(text) {
  /** @type {number[]} */
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let groups = 0;
    let more = true;
    while (more) {
      const code = text.charCodeAt(at) - FIRST;
      if (!(code >= 0 && code < 64) || groups === MOST_GROUPS) throw new RangeError(bad("characters of run lengths", text[at]));
      // Multiplied, since shifts of 32 bits would lose the top of a long run.
      value += (code & 31) * 32 ** groups;
      groups += 1;
      more = (code & MORE) !== 0;
      if (!more && code & 16) value -= 32 ** groups;
      at += 1;
    }
    counts.push(counts.length > 2 ? value + (counts[counts.length - 2] ?? 0) : value);
  }
  return counts;
}

/**
 * The inverse of `decompress`.
 *
 * @param {number[]} counts
 */
export function compress(counts) {
  let text = "";
  counts.forEach((count, index) => {
    let left = index > 2 ? count - (counts[index - 2] ?? 0) : count;
    let more = true;
    while (more) {
      const bits = ((left % 32) + 32) % 32;
      left = Math.floor(left / 32);
      more = bits & 16 ? left !== -1 : left !== 0;
      text += String.fromCharCode(bits + (more ? MORE : 0) + FIRST);
    }
  });
  return text;
}

/**
 * Draw a mask into another one.
 *
 * @param {Rle} rle
 * @param {ClassMask} into
 * @param {{value?: number, x?: number, y?: number}} [where] The class, and the top left corner.
 * @returns {number} How many pixels were drawn.
 */
export function paint(rle, into, { value = 1, x = 0, y = 0 } = {}) {
  const [height, width] = rle.size;
  if (x < 0 || y < 0 || x + width > into.width || y + height > into.height) {
    throw new RangeError(bad("a mask inside its image", `${width}×${height} at ${x}, ${y}`));
  }
  const counts = typeof rle.counts === "string" ? decompress(rle.counts) : rle.counts;
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total !== height * width || counts.some((count) => count < 0)) {
    throw new RangeError(bad(`run lengths of ${height * width} pixels`, total));
  }
  let position = 0;
  let drawn = 0;
  counts.forEach((count, index) => {
    if (index % 2) {
      drawn += count;
      for (let end = position + count, at = position; at < end; at += 1) {
        into.data[(y + (at % height)) * into.width + x + Math.floor(at / height)] = value;
      }
    }
    position += count;
  });
  return drawn;
}

/**
 * The masks of several classes as one.
 *
 * @param {{rle: Rle, value: number}[]} parts Later ones lie above earlier ones.
 * @param {number} width
 * @param {number} height
 * @returns {ClassMask}
 */
export function decode(parts, width, height) {
  const mask = { width, height, data: new Uint8Array(width * height) };
  for (const part of parts) paint(part.rle, mask, { value: part.value });
  return mask;
}

/**
 * @param {ClassMask} mask
 * @param {number} [value] The class whose pixels are meant.
 * @returns {Rle}
 */
export function encode(mask, value = 1) {
  /** @type {number[]} */
  const counts = [];
  let inside = false;
  let run = 0;
  for (let column = 0; column < mask.width; column += 1) {
    for (let row = 0; row < mask.height; row += 1) {
      if ((mask.data[row * mask.width + column] === value) !== inside) {
        counts.push(run);
        run = 0;
        inside = !inside;
      }
      run += 1;
    }
  }
  counts.push(run);
  return { size: [mask.height, mask.width], counts: compress(counts) };
}

/**
 * @param {string} toBe
 * @param {unknown} got
 */
function bad(toBe, got) {
  return `Expected ${toBe}, but got ${String(got)}. Try asking the server again.`;
}
