/**
 * Prompts and the cursor, drawn in screen pixels so that they keep their size at every zoom.
 *
 * @import { Prompt, Prompts, Size, View } from "./types.js"
 *
 * @typedef {object} Marks
 * @property {View} view
 * @property {Size} box
 * @property {number} ratio
 * @property {Prompts} prompts
 * @property {[number, number, number, number] | null} draft The box that is being drawn.
 * @property {[number, number] | null} corner The first corner of a box drawn by keys.
 * @property {boolean} aim Show the middle, where the Enter key puts a prompt.
 */

import { clamp, toScreen } from "./view.js";

const DARK = "rgb(21 23 26 / .85)";
const LIGHT = "#FAFAF7";

/** @returns {Prompts} */
export function noPrompts() {
  return { boxes: [], points: [], labels: [] };
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Marks} marks
 */
export function drawMarks(pen, marks) {
  const { view, box, ratio, prompts } = marks;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  for (const corners of prompts.boxes) outline(pen, corners, view, box, []);
  if (marks.draft) outline(pen, marks.draft, view, box, [5, 4]);
  prompts.points.forEach((point, index) => {
    sign(pen, toScreen(view, point, box), prompts.labels[index] === 1);
  });
  if (marks.corner) dot(pen, toScreen(view, marks.corner, box));
  if (marks.aim) aim(pen, [box.width / 2, box.height / 2]);
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {[number, number, number, number]} corners
 * @param {View} view
 * @param {Size} box
 * @param {number[]} dashes
 */
function outline(pen, corners, view, box, dashes) {
  const [left, top] = toScreen(view, [corners[0], corners[1]], box);
  const [right, bottom] = toScreen(view, [corners[2], corners[3]], box);
  pen.setLineDash([]);
  for (const [width, colour] of /** @type {const} */ ([[4, DARK], [1.5, LIGHT]])) {
    Object.assign(pen, { lineWidth: width, strokeStyle: colour });
    if (colour === LIGHT) pen.setLineDash(dashes);
    pen.strokeRect(left, top, right - left, bottom - top);
  }
  pen.setLineDash([]);
}

/**
 * A plus for what belongs to the object, a minus for what does not: told apart without colour.
 *
 * @param {CanvasRenderingContext2D} pen
 * @param {[number, number]} at
 * @param {boolean} inside
 */
function sign(pen, [x, y], inside) {
  pen.beginPath();
  pen.arc(x, y, 9, 0, 2 * Math.PI);
  Object.assign(pen, { fillStyle: inside ? LIGHT : DARK, strokeStyle: inside ? DARK : LIGHT, lineWidth: 1.5 });
  pen.fill();
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x - 4, y);
  pen.lineTo(x + 4, y);
  if (inside) {
    pen.moveTo(x, y - 4);
    pen.lineTo(x, y + 4);
  }
  pen.lineWidth = 2;
  pen.stroke();
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {[number, number]} at
 */
function dot(pen, [x, y]) {
  Object.assign(pen, { fillStyle: LIGHT, strokeStyle: DARK, lineWidth: 2 });
  pen.fillRect(x - 4, y - 4, 8, 8);
  pen.strokeRect(x - 4, y - 4, 8, 8);
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {[number, number]} at
 */
function aim(pen, [x, y]) {
  for (const [width, colour] of /** @type {const} */ ([[3, DARK], [1, LIGHT]])) {
    Object.assign(pen, { lineWidth: width, strokeStyle: colour });
    pen.beginPath();
    for (const [dx, dy] of /** @type {const} */ ([[1, 0], [-1, 0], [0, 1], [0, -1]])) {
      pen.moveTo(x + dx * 5, y + dy * 5);
      pen.lineTo(x + dx * 13, y + dy * 13);
    }
    pen.stroke();
  }
}

/**
 * @param {Prompt} prompt
 * @param {Size} size
 * @returns {Prompt | null} To a tenth of a pixel, a box cut to the image; null where nothing of the
 *   prompt lies in the image.
 */
export function inside(prompt, size) {
  const near = (/** @type {number} */ value, /** @type {number} */ most) => Math.round(clamp(value, 0, most) * 10) / 10;
  if (prompt.kind === "point") {
    const [x, y] = prompt.point;
    const missed = x < 0 || y < 0 || x >= size.width || y >= size.height;
    return missed ? null : { ...prompt, point: [near(x, size.width - 0.1), near(y, size.height - 0.1)] };
  }
  const [left, top, right, bottom] = prompt.box;
  /** @type {[number, number, number, number]} */
  const box = [near(left, size.width), near(top, size.height), near(right, size.width), near(bottom, size.height)];
  return box[2] - box[0] >= 1 && box[3] - box[1] >= 1 ? { kind: "box", box } : null;
}
