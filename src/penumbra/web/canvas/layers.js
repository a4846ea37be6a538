/**
 * What lies over the image, as plain values: fields as levels, and the mask that a threshold draws.
 *
 * @import { ClassMask, Field, Layers, Levels } from "./types.js"
 */

/** @returns {Layers} */
export function noLayers() {
  return { mask: null, heat: null, map: "doubt", window: [0, 1], probability: null, threshold: null };
}

/**
 * A field as whole levels, which both renderers take.
 *
 * @param {Field | Levels} field
 * @returns {Levels}
 */
export function toLevels(field) {
  const { width, height, scale, label = "", unit = "" } = field;
  if (field.data.length !== width * height) {
    throw new RangeError(
      `Expected a field of ${width * height} values, but got ${field.data.length}. Try the values row after row.`,
    );
  }
  if (!(field.data instanceof Float32Array)) {
    const most = field.data instanceof Uint8Array ? 255 : 65535;
    return { width, height, data: field.data, most, scale, label, unit };
  }
  const [low, high] = scale;
  const data = new Uint16Array(field.data.length);
  const factor = high > low ? 65535 / (high - low) : 0;
  for (let at = 0; at < data.length; at += 1) {
    // What is no number counts as the lowest: an undefined value must not look like doubt.
    const level = ((field.data[at] ?? 0) - low) * factor;
    data[at] = level > 0 ? Math.min(Math.round(level), 65535) : 0;
  }
  return { width, height, data, most: 65535, scale, label, unit };
}

/**
 * The value that a level means.
 *
 * @param {Levels} levels
 * @param {number} level
 */
export function valueOf(levels, level) {
  const [low, high] = levels.scale;
  return low + (level / levels.most) * (high - low);
}

/**
 * The lowest level that counts as foreground at a threshold.
 *
 * @param {Levels} probability
 * @param {number} threshold
 */
export function leastLevel(probability, threshold) {
  const [low, high] = probability.scale;
  const share = high > low ? (threshold - low) / (high - low) : 0;
  return Math.max(0, Math.ceil(share * probability.most - 1e-9));
}

/**
 * How many pixels have at least each level, so that the area at any threshold is one look-up.
 *
 * @param {Levels} levels
 * @returns {Uint32Array} Of length most + 2; the last is 0.
 */
export function areasAbove(levels) {
  const counts = new Uint32Array(levels.most + 2);
  for (const level of levels.data) counts[level] = (counts[level] ?? 0) + 1;
  for (let level = levels.most; level >= 0; level -= 1) {
    counts[level] = (counts[level] ?? 0) + (counts[level + 1] ?? 0);
  }
  return counts;
}

/**
 * The mask that is shown: the given one, or the probability above the moved threshold.
 *
 * @param {Layers} layers
 * @param {number} at Position, row · width + column.
 * @returns {number} Class index.
 */
export function labelAt(layers, at) {
  const { probability, threshold } = layers;
  if (probability && threshold !== null) {
    return (probability.data[at] ?? 0) >= leastLevel(probability, threshold) ? 1 : 0;
  }
  return layers.mask?.data[at] ?? 0;
}

/**
 * The same as a whole mask, for downloads.
 *
 * @param {Layers} layers
 * @returns {ClassMask | null}
 */
export function shownMask(layers) {
  const { probability, threshold } = layers;
  if (!probability || threshold === null) return layers.mask;
  const least = leastLevel(probability, threshold);
  const { width, height } = probability;
  return { width, height, data: Uint8Array.from(probability.data, (level) => (level >= least ? 1 : 0)) };
}

/**
 * The share of its scale that a field reaches: the 99.9th percentile, so that one hot pixel does
 * not darken the rest.
 *
 * @param {Levels} levels
 * @returns {[number, number]} From 0 to a share in (0, 1].
 */
export function ownWindow(levels) {
  const above = areasAbove(levels);
  const most = levels.data.length / 1000;
  let level = levels.most;
  while (level > 1 && (above[level] ?? 0) <= most) level -= 1;
  return [0, level / levels.most];
}

/**
 * The mean value of a field.
 *
 * @param {Levels} levels
 */
export function meanOf(levels) {
  let sum = 0;
  for (const level of levels.data) sum += level;
  return valueOf(levels, sum / Math.max(levels.data.length, 1));
}
