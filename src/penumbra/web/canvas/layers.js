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

/** @type {WeakMap<Levels["data"], Uint32Array>} */
const counted = new WeakMap();

/**
 * How many pixels have at least each level, so that the area at any threshold is one look-up. A
 * field is counted once.
 *
 * @param {Levels} levels
 * @returns {Uint32Array} Of length most + 2; the last is 0.
 */
export function areasAbove({ data, most }) {
  const known = counted.get(data) ?? countsOf(data, most);
  counted.set(data, known);
  return known;
}

/**
 * @param {Levels["data"]} data
 * @param {number} most
 */
export function countsOf(data, most) {
  const counts = new Uint32Array(most + 2);
  for (let at = 0; at < data.length; at += 1) {
    const level = /** @type {number} */ (data[at]);
    counts[level] = /** @type {number} */ (counts[level]) + 1;
  }
  for (let level = most; level >= 0; level -= 1) {
    counts[level] = (counts[level] ?? 0) + (counts[level + 1] ?? 0);
  }
  return counts;
}

/**
 * Take counts that were made elsewhere.
 *
 * @param {Levels["data"]} data
 * @param {Uint32Array} counts
 */
export function takeCounts(data, counts) {
  counted.set(data, counts);
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
  const data = new Uint8Array(probability.data.length);
  for (let at = 0; at < data.length; at += 1) data[at] = Number(/** @type {number} */ (probability.data[at]) >= least);
  return { width, height, data };
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
 * Whether two results show the same quantity, so that one scale can serve both.
 *
 * @param {Layers} one
 * @param {Layers | null} other
 */
export function alike(one, other) {
  const [a, b] = [one.heat, other?.heat];
  return Boolean(a && b && a.label === b.label && a.unit === b.unit && one.map === other?.map);
}

/**
 * Two results as they lie beside each other: of one quantity, the same colour means the same value
 * on both sides, from the lower of both lower ends to the higher of both higher ones.
 *
 * @param {Layers} one
 * @param {Layers | null} other
 * @returns {[Layers, Layers | null]}
 */
export function beside(one, other) {
  const [a, b] = [one.heat, other?.heat];
  if (!other || !a || !b || !alike(one, other)) return [one, other];
  const ends = [...one.window.map((share) => valueOf(a, share * a.most)), ...other.window.map((share) => valueOf(b, share * b.most))];
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  return [{ ...one, window: shares(a, least, most) }, { ...other, window: shares(b, least, most) }];
}

/**
 * @param {Levels} levels
 * @param {number} least
 * @param {number} most
 * @returns {[number, number]} The values as shares of the field's own scale; may lie outside of it.
 */
function shares({ scale: [low, high] }, least, most) {
  const span = high > low ? high - low : 1;
  return [(least - low) / span, (most - low) / span];
}

/**
 * The mean value of a field.
 *
 * @param {Levels} levels
 */
export function meanOf(levels) {
  const above = areasAbove(levels);
  let sum = 0;
  for (let level = 1; level <= levels.most; level += 1) sum += above[level] ?? 0;
  return valueOf(levels, sum / Math.max(levels.data.length, 1));
}
