/**
 * One meaning each: the class colours, viridis for probability, amber for doubt. The same stops as
 * in every report of Penumbra.
 *
 * @import { MapName, Rgb } from "./types.js"
 */

const CLASSES =
  "12A594 E93D82 68DDFD 5B5BD6 BDEE63 A07553 D19DFF 0090FF E54D2E 86EAD4 7A7F87 F9B5D0".split(" ");

const VIRIDIS = (
  "440154 470D60 48186A 482374 472D7B 453781 424086 3E4989 3B528B 375B8D 33638D 2F6B8E 2C728E " +
  "297A8E 26828E 23898E 21918C 1F978B 1F9F88 21A685 27AD81 31B57B 3DBC74 4CC26C 5CC863 6ECE58 " +
  "81D34D 95D840 AADC32 C0DF25 D5E21A EAE51A FDE725"
).split(" ");

/** @type {[string, number][]} */
const HEAT = [
  ["8A4B08", 0],
  ["C97A10", 0.4],
  ["E89B1C", 0.9],
  ["FFD38A", 1],
  ["FFFAF0", 1],
];
const GOLDEN = 0.6180339887498949;

/**
 * @param {string} code Six hexadecimal digits, with or without a leading "#".
 * @returns {Rgb}
 */
export function rgb(code) {
  const value = Number.parseInt(code.replace("#", ""), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/**
 * The fixed colour of a class: teal for the first. Past the twelfth, hues step by the golden ratio.
 *
 * @param {number} index Class index; 0 is background.
 * @returns {Rgb}
 */
export function classColour(index) {
  if (index <= 0) return [0, 0, 0];
  const code = CLASSES[index - 1];
  if (code !== undefined) return rgb(code);
  const step = index - CLASSES.length;
  return ofHue((step * GOLDEN) % 1, 0.65, step % 2 ? 0.7 : 0.95);
}

/**
 * @param {number} count Classes, the background included.
 * @returns {Rgb[]}
 */
export function classPalette(count) {
  return Array.from({ length: count }, (_, index) => classColour(index));
}

/**
 * A map as a table of 256 colours.
 *
 * @param {MapName} map
 * @returns {Uint8Array} 256 times red, green, blue and opacity, each from 0 to 255.
 */
export function table(map) {
  const stops =
    map === "viridis"
      ? VIRIDIS.map((code) => [...rgb(code), 255])
      : HEAT.map(([code, opacity]) => [...rgb(code), opacity * 255]);
  const colours = new Uint8Array(256 * 4);
  for (let index = 0; index < 256; index += 1) {
    const place = (index / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    const [low = [], high = []] = [stops[below], stops[below + 1]];
    for (let channel = 0; channel < 4; channel += 1) {
      const from = low[channel] ?? 0;
      colours[index * 4 + channel] = Math.round(from + ((high[channel] ?? 0) - from) * (place - below));
    }
  }
  return colours;
}

/**
 * @param {Rgb} colour
 * @returns {string} For a style sheet.
 */
export function css(colour) {
  return `rgb(${colour.join(" ")})`;
}

/**
 * The contrast ratio of two colours by WCAG, from 1 to 21.
 *
 * @param {Rgb} one
 * @param {Rgb} other
 */
export function contrast(one, other) {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** @param {Rgb} colour */
function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (red ?? 0) + 0.7152 * (green ?? 0) + 0.0722 * (blue ?? 0);
}

/**
 * @param {number} hue
 * @param {number} saturation
 * @param {number} value
 * @returns {Rgb}
 */
function ofHue(hue, saturation, value) {
  const channel = (/** @type {number} */ shift) => {
    const k = (shift + hue * 6) % 6;
    return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}
