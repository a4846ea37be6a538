/**
 * A drawn image for those who have none at hand: soft bodies of unlike brightness in speckle.
 */

import { stem } from "./words.js";

/**
 * @param {number} seed
 * @param {{width?: number, height?: number}} [size]
 * @returns {Promise<File>}
 */
export async function phantom(seed, { width = 580, height = 420 } = {}) {
  const draw = numbers(seed);
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("Expected a browser that draws on a canvas. Try another browser.");
  pen.fillStyle = "rgb(38 38 38)";
  pen.fillRect(0, 0, width, height);
  for (let index = 0; index < 14; index += 1) {
    const [x, y] = [draw() * width, draw() * height];
    const radius = (0.05 + 0.12 * draw()) * width;
    const shade = Math.round(50 + 60 * draw());
    blob(pen, x, y, radius, 0.3 + draw(), draw() * 3, `rgb(${shade} ${shade} ${shade}`, 0.5);
  }
  const [x, y] = [(0.35 + 0.3 * draw()) * width, (0.35 + 0.3 * draw()) * height];
  blob(pen, x, y, 0.17 * height, 1.5, draw() * 3, "rgb(205 205 205", 0.86);
  blob(pen, x + 0.03 * width, y - 0.02 * height, 0.07 * height, 1.2, draw() * 3, "rgb(150 150 150", 0.8);
  speckle(pen, width, height, draw);
  const file = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return new File([/** @type {Blob} */ (file)], `${stem(`phantom ${seed}`)}.png`, { type: "image/png" });
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 * @param {number} stretch
 * @param {number} turn
 * @param {string} colour Without its closing bracket.
 * @param {number} edge Share of the radius where the body begins to fade.
 */
function blob(pen, x, y, radius, stretch, turn, colour, edge) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(turn);
  pen.scale(stretch, 1);
  const fade = pen.createRadialGradient(0, 0, radius * edge, 0, 0, radius);
  fade.addColorStop(0, `${colour})`);
  fade.addColorStop(1, `${colour} / 0)`);
  pen.fillStyle = fade;
  pen.beginPath();
  pen.arc(0, 0, radius, 0, 2 * Math.PI);
  pen.fill();
  pen.restore();
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number} width
 * @param {number} height
 * @param {() => number} draw
 */
function speckle(pen, width, height, draw) {
  const picture = pen.getImageData(0, 0, width, height);
  const { data } = picture;
  for (let at = 0; at < data.length; at += 4) {
    const shade = (data[at] ?? 0) * (0.62 + 0.76 * ((draw() + draw() + draw()) / 3));
    data[at] = data[at + 1] = data[at + 2] = shade;
  }
  pen.putImageData(picture, 0, 0);
}

/**
 * The same numbers for the same seed: a linear congruential generator is enough for speckle.
 *
 * @param {number} seed
 */
function numbers(seed) {
  let state = (seed * 2654435761 + 1013904223) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}
