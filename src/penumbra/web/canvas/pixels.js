/**
 * The renderer without WebGL: the browser scales the image, and the overlays are worked out for
 * the screen's pixels only, so that the cost does not grow with the image.
 *
 * @import { Renderer, Scene } from "./types.js"
 */

import { ends, overlays } from "./overlays.js";

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
  const composer = overlays();
  let picture = new ImageData(1, 1);

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
    // Whole screen pixels, those that the overlays cover: no half-covered line at the edges.
    const [left, right] = ends(width, view.x, zoom, size.width);
    const [top, bottom] = ends(height, view.y, zoom, size.height);
    screen.drawImage(source, left, top, right - left, bottom - top);
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
      if (picture.width !== width || picture.height !== height) picture = new ImageData(width, height);
      else picture.data.fill(0);
      const split = scene.other ? Math.round(scene.swipe * width) : width;
      composer.compose(picture, scene, scene.layers, 0, split);
      if (scene.other) composer.compose(picture, scene, scene.other, split, width);
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
