/**
 * The renderer without WebGL: the browser scales the image, and the overlays are worked out for
 * the screen's pixels only, so that the cost does not grow with the image.
 *
 * @import { Layers, Renderer, Rgb, Scene } from "./types.js"
 */

import { table } from "./colour.js";
import { leastLevel } from "./layers.js";

const MAPS = { doubt: table("doubt"), viridis: table("viridis") };

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Renderer}
 */
export function pixelRenderer(canvas) {
  const found = canvas.getContext("2d");
  const sheet = document.createElement("canvas");
  const drawn = sheet.getContext("2d");
  if (!found || !drawn) throw new Error("Expected a browser that draws on a canvas. Try another browser.");
  const [screen, overlay] = [found, drawn];
  /** @type {ImageBitmap | null} */
  let image = null;
  /** @type {(ImageBitmap | HTMLCanvasElement)[]} Each half of the one before. */
  let sizes = [];

  /** @param {number} zoom */
  function nearest(zoom) {
    const steps = Math.min(Math.max(0, Math.floor(-Math.log2(zoom))), 6);
    while (sizes.length && sizes.length <= steps) sizes.push(halved(/** @type {ImageBitmap} */ (sizes.at(-1))));
    return sizes[steps];
  }

  /** @param {Scene} scene */
  function drawImage(scene) {
    if (!image) return;
    const { width, height, view, ratio, size } = scene;
    const zoom = view.zoom * ratio;
    screen.globalAlpha = scene.opacity.image;
    screen.imageSmoothingEnabled = zoom < 4;
    // From the nearest of the reduced images plain smoothing is enough, and quick.
    screen.imageSmoothingQuality = "low";
    const source = nearest(zoom);
    if (!source) return;
    screen.drawImage(source, width / 2 - view.x * zoom, height / 2 - view.y * zoom, size.width * zoom, size.height * zoom);
    screen.globalAlpha = 1;
  }

  return {
    name: "pixels",
    setImage(next) {
      image = next;
      sizes = [next];
    },
    draw(scene) {
      const { width, height } = scene;
      screen.clearRect(0, 0, width, height);
      drawImage(scene);
      if (!scene.overlays || width < 1 || height < 1) return;
      const picture = new ImageData(width, height);
      const split = scene.other ? Math.round(scene.swipe * width) : width;
      compose(picture, scene, scene.layers, 0, split);
      if (scene.other) compose(picture, scene, scene.other, split, width);
      if (sheet.width !== width || sheet.height !== height) Object.assign(sheet, { width, height });
      overlay.putImageData(picture, 0, 0);
      screen.drawImage(sheet, 0, 0);
    },
    destroy() {
      image = null;
      sizes = [];
    },
  };
}

/** @param {ImageBitmap | HTMLCanvasElement} image */
function halved(image) {
  const small = document.createElement("canvas");
  Object.assign(small, { width: Math.max(1, image.width >> 1), height: Math.max(1, image.height >> 1) });
  const context = small.getContext("2d");
  if (context) {
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, small.width, small.height);
  }
  return small;
}

/**
 * The image's column or row under each of the screen's, at three places: `reach` before, here and
 * `reach` after; −1 outside.
 *
 * @param {number} count
 * @param {number} middle
 * @param {number} zoom
 * @param {number} side
 * @param {number} reach
 */
function places(count, middle, zoom, side, reach) {
  return [-reach, 0, reach].map((shift) =>
    Int32Array.from({ length: count }, (_, index) => {
      const place = Math.floor(middle + (index + 0.5 - count / 2) / zoom + shift);
      return place >= 0 && place < side ? place : -1;
    }),
  );
}

/**
 * Work the overlays of one result out for the screen's columns from `left` to `right`.
 *
 * @param {ImageData} picture
 * @param {Scene} scene
 * @param {Layers} layers
 * @param {number} left
 * @param {number} right
 */
export function compose(picture, scene, layers, left, right) {
  const { width, height, view, ratio, size, opacity, palette } = scene;
  const zoom = view.zoom * ratio;
  const reach = (2.0 * ratio) / zoom;
  const none = new Int32Array(0);
  const [west = none, column = none, east = none] = places(width, view.x, zoom, size.width, reach);
  const [north = none, row = none, south = none] = places(height, view.y, zoom, size.height, reach);
  const { heat } = layers;
  const heatData = heat?.data;
  const colours = MAPS[layers.map];
  const [low, high] = layers.window;
  const factor = heat ? 255 / heat.most / Math.max(high - low, 1e-6) : 0;
  const offset = low * (heat?.most ?? 0);
  const line = Math.min(1, opacity.mask * 4);
  const label = labels(layers, size.width);
  const out = picture.data;
  for (let y = 0; y < height; y += 1) {
    const [above, here, below] = [north[y] ?? -1, row[y] ?? -1, south[y] ?? -1];
    if (here < 0) continue;
    for (let x = left; x < right; x += 1) {
      const at = column[x] ?? -1;
      if (at < 0) continue;
      const to = (y * width + x) * 4;
      const kind = label(here, at);
      const share = kind ? (opacity.classes[kind] ?? 1) : 0;
      if (kind) blend(out, to, palette[kind], opacity.mask * share);
      if (heatData) {
        const level = ((heatData[here * size.width + at] ?? 0) - offset) * factor;
        const place = Math.floor(Math.min(Math.max(level, 0), 255) + 0.5) * 4;
        const cover = ((colours[place + 3] ?? 0) / 255) * opacity.heat;
        mix(out, to, colours[place] ?? 0, colours[place + 1] ?? 0, colours[place + 2] ?? 0, cover);
      }
      if (
        kind &&
        (label(here, west[x] ?? -1) !== kind || label(here, east[x] ?? -1) !== kind || label(above, at) !== kind || label(below, at) !== kind)
      ) {
        blend(out, to, palette[kind], line * share);
      }
    }
  }
}

/**
 * @param {Layers} layers
 * @param {number} width
 * @returns {(row: number, column: number) => number}
 */
function labels(layers, width) {
  const { mask, probability, threshold } = layers;
  if (probability && threshold !== null) {
    const least = leastLevel(probability, threshold);
    const { data } = probability;
    return (row, column) => (row >= 0 && column >= 0 && (data[row * width + column] ?? 0) >= least ? 1 : 0);
  }
  if (!mask) return () => 0;
  const { data } = mask;
  return (row, column) => (row >= 0 && column >= 0 ? (data[row * width + column] ?? 0) : 0);
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
 * Paint over what is there; the sheet holds straight, not premultiplied, colours.
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
