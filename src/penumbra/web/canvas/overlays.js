/**
 * Mask and heat for the screen's pixels, on the processor: labels are looked up once per screen
 * pixel, and every colour that can come of a class, a line and a level is mixed once per frame.
 *
 * @import { Layers, Levels, Rgb, Scene } from "./types.js"
 */

import { table } from "./colour.js";
import { leastLevel } from "./layers.js";

const MAPS = { doubt: table("doubt"), viridis: table("viridis") };
/** Half the width of a mask's line in CSS pixels. */
const LINE = 2;
const KINDS = 256;

/**
 * The first of the screen's pixels whose middle lies in the image, and the one after the last.
 *
 * @param {number} count Of the screen's pixels.
 * @param {number} middle Image column or row at the middle of the screen.
 * @param {number} zoom Device pixels per image pixel.
 * @param {number} side Of the image.
 * @returns {[number, number]} Both may lie outside the screen.
 */
export function ends(count, middle, zoom, side) {
  const start = count / 2 - middle * zoom;
  return [Math.ceil(start - 0.5), Math.ceil(start + side * zoom - 0.5)];
}

/**
 * The image's column or row under each of the screen's, from `first` on; −1 outside.
 *
 * @param {number} first
 * @param {number} length
 * @param {number} count
 * @param {number} middle
 * @param {number} zoom
 * @param {number} side
 */
function places(first, length, count, middle, zoom, side) {
  const found = new Int32Array(length);
  for (let index = 0; index < length; index += 1) {
    const place = Math.floor(middle + (first + index + 0.5 - count / 2) / zoom);
    found[index] = place >= 0 && place < side ? place : -1;
  }
  return found;
}

/** What composes; its room is kept from frame to frame. */
export function overlays() {
  let labels = new Uint8Array(0);
  const mixed = new Uint8ClampedArray(KINDS * 512 * 4);
  const colours = new Uint32Array(mixed.buffer);

  /**
   * Work the overlays of one result out for the screen's columns from `left` to `right`.
   *
   * @param {ImageData} picture Clear where this draws.
   * @param {Scene} scene
   * @param {Layers} layers
   * @param {number} left
   * @param {number} right
   */
  function compose(picture, scene, layers, left, right) {
    const { width, height, view, ratio, size } = scene;
    const zoom = view.zoom * ratio;
    const reach = Math.max(1, Math.round(LINE * ratio));
    const [west, east] = ends(width, view.x, zoom, size.width);
    const [north, south] = ends(height, view.y, zoom, size.height);
    const [from, to] = [Math.max(left, west), Math.min(right, east)];
    const [top, bottom] = [Math.max(0, north), Math.min(height, south)];
    if (from >= to || top >= bottom) return;
    const stride = to - from + 2 * reach;
    const columns = places(from - reach, stride, width, view.x, zoom, size.width);
    const rows = places(top - reach, bottom - top + 2 * reach, height, view.y, zoom, size.height);
    if (labels.length < stride * rows.length) labels = new Uint8Array(stride * rows.length);
    lookUp(labels, layers, size.width, columns, rows);
    const known = new Uint8Array(KINDS);
    const out = new Uint32Array(picture.data.buffer);
    const levels = levelsOf(layers);
    const heat = layers.heat?.data;
    const reachDown = reach * stride;
    for (let y = top; y < bottom; y += 1) {
      const row = rows[y - top + reach] ?? 0;
      let at = (y - top + reach) * stride + reach;
      const base = row * size.width;
      for (let x = from; x < to; x += 1, at += 1) {
        const kind = /** @type {number} */ (labels[at]);
        if (known[kind] === 0) {
          known[kind] = 1;
          mixAll(mixed, kind, scene, layers);
        }
        let place = kind << 9;
        if (heat) place |= /** @type {number} */ (levels[/** @type {number} */ (heat[base + /** @type {number} */ (columns[x - from + reach])])]);
        if (kind !== 0 && (labels[at - reach] !== kind || labels[at + reach] !== kind || labels[at - reachDown] !== kind || labels[at + reachDown] !== kind)) place |= 256;
        out[y * width + x] = /** @type {number} */ (colours[place]);
      }
    }
  }
  return { compose };
}

/**
 * The class under each of the screen's pixels; 0 outside of the image.
 *
 * @param {Uint8Array} labels Written, row after row.
 * @param {Layers} layers
 * @param {number} width Of the image.
 * @param {Int32Array} columns
 * @param {Int32Array} rows
 */
function lookUp(labels, { mask, probability, threshold }, width, columns, rows) {
  const thresholded = probability !== null && threshold !== null;
  const data = thresholded ? probability.data : mask?.data;
  const least = thresholded ? leastLevel(probability, threshold) : 0;
  const stride = columns.length;
  for (let y = 0; y < rows.length; y += 1) {
    const start = y * stride;
    const row = /** @type {number} */ (rows[y]);
    if (row < 0 || !data) labels.fill(0, start, start + stride);
    else if (y > 0 && row === rows[y - 1]) labels.copyWithin(start, start - stride, start);
    else {
      for (let x = 0; x < stride; x += 1) {
        const column = /** @type {number} */ (columns[x]);
        const value = column < 0 ? 0 : /** @type {number} */ (data[row * width + column]);
        labels[start + x] = thresholded ? Number(column >= 0 && value >= least) : value;
      }
    }
  }
}

/** @type {WeakMap<Levels, {window: [number, number], levels: Uint8Array}>} */
const steps = new WeakMap();

/**
 * The step of the colour map, from 0 to 255, of each level of the heat.
 *
 * @param {Layers} layers
 */
function levelsOf({ heat, window }) {
  if (!heat) return new Uint8Array(0);
  const known = steps.get(heat);
  if (known && known.window[0] === window[0] && known.window[1] === window[1]) return known.levels;
  const levels = new Uint8Array(heat.most + 1);
  const factor = 255 / heat.most / Math.max(window[1] - window[0], 1e-6);
  for (let level = 0; level <= heat.most; level += 1) {
    const step = (level - window[0] * heat.most) * factor;
    levels[level] = Math.floor(Math.min(Math.max(step, 0), 255) + 0.5);
  }
  steps.set(heat, { window, levels });
  return levels;
}

/**
 * Mix a class with every step of the heat, without and with its line.
 *
 * @param {Uint8ClampedArray} mixed
 * @param {number} kind
 * @param {Scene} scene
 * @param {Layers} layers
 */
function mixAll(mixed, kind, { opacity, palette }, layers) {
  const start = kind * 2048;
  mixed.fill(0, start, start + 2048);
  const share = kind ? (opacity.classes[kind] ?? 1) : 0;
  const line = Math.min(1, opacity.mask * 4) * share;
  const map = MAPS[layers.map];
  for (let step = 0; step < 256; step += 1) {
    const heat = (((map[step * 4 + 3] ?? 0) / 255) * opacity.heat) * Number(layers.heat !== null);
    for (const [to, edge] of /** @type {const} */ ([[start + step * 4, 0], [start + 1024 + step * 4, line]])) {
      blend(mixed, to, palette[kind], opacity.mask * share);
      mix(mixed, to, map[step * 4] ?? 0, map[step * 4 + 1] ?? 0, map[step * 4 + 2] ?? 0, heat);
      blend(mixed, to, palette[kind], edge);
    }
  }
}

/**
 * @param {Uint8ClampedArray} out
 * @param {number} to
 * @param {Rgb | undefined} colour
 * @param {number} cover
 */
function blend(out, to, colour, cover) {
  if (colour) mix(out, to, colour[0], colour[1], colour[2], cover);
}

/**
 * Paint over what is there; the colours are straight, not premultiplied.
 *
 * @param {Uint8ClampedArray} out
 * @param {number} to
 * @param {number} red
 * @param {number} green
 * @param {number} blue
 * @param {number} cover
 */
function mix(out, to, red, green, blue, cover) {
  if (cover <= 0) return;
  const before = (out[to + 3] ?? 0) / 255;
  const after = cover + before * (1 - cover);
  const weight = cover / after;
  out[to] = (out[to] ?? 0) + (red - (out[to] ?? 0)) * weight;
  out[to + 1] = (out[to + 1] ?? 0) + (green - (out[to + 1] ?? 0)) * weight;
  out[to + 2] = (out[to + 2] ?? 0) + (blue - (out[to + 2] ?? 0)) * weight;
  out[to + 3] = after * 255;
}
