/**
 * The one canvas of Penumbra: an image, its mask, its doubt, and a person's prompts. It knows no
 * server; the studio, Streamlit and whatever else comes are its hosts.
 *
 * @import { ClassMask, Cursor, Field, Layers, MapName, Prompt, Prompts, Renderer, Rgb, Size, Tool, View } from "./types.js"
 * @import { CanvasState } from "./state.js"
 *
 * @typedef {object} Options
 * @property {string} [label] What a screen reader says the canvas is.
 * @property {EventTarget} [keys] Where keys are listened for; without it, the canvas itself.
 * @property {"auto" | "pixels" | "webgl"} [renderer] "pixels" keeps off WebGL, "webgl" takes it
 *   even where it is slow.
 * @property {CanvasState} [state] Where to begin.
 *
 * @typedef {ReturnType<typeof mountCanvas>} Canvas
 */

import { classPalette, rgb } from "./colour.js";
import { box as boxOf, listen } from "./gestures.js";
import { glRenderer } from "./gl.js";
import { alike, beside, labelAt, noLayers, ownWindow, toLevels, valueOf } from "./layers.js";
import { drawMarks, inside, noPrompts } from "./marks.js";
import { pixelRenderer } from "./pixels.js";
import { scaleBar } from "./scale.js";
import { style } from "./sheet.js";
import { firstState } from "./state.js";
import { swipeHandle } from "./swipe.js";
import { bounded, fit, panned, toImage, zoomAt } from "./view.js";

/**
 * Put a canvas into an element, which gives it its size.
 *
 * @param {HTMLElement} element
 * @param {Options} [options]
 */
export function mountCanvas(element, options = {}) {
  const root = document.createElement("div");
  root.className = "pc";
  root.tabIndex = 0;
  root.setAttribute("role", "application");
  root.setAttribute("aria-label", options.label ?? "Image with its mask");
  element.append(root);
  style(root);

  const surface = () => Object.assign(document.createElement("canvas"), { className: "pc-pixels" });
  let sheet = surface();
  const marks = document.createElement("canvas");
  root.append(sheet, marks);
  const pen = marks.getContext("2d");
  const scales = [scaleBar(root), scaleBar(root, "right")];
  const said = Object.assign(document.createElement("div"), { className: "pc-said" });
  said.setAttribute("role", "status");
  root.append(said);
  const swipe = swipeHandle(root, (position) => {
    state.swipe = position;
    invalidate();
    tell();
  });

  const state = options.state ?? firstState();
  /** @type {Layers} */
  let layers = noLayers();
  /** @type {Layers | null} */
  let other = null;
  /** @type {Rgb[]} */
  let palette = classPalette(256);
  /** @type {Size | null} */
  let size = null;
  /** @type {ImageBitmap | null} */
  let bitmap = null;
  /** @type {Prompts} */
  let prompts = noPrompts();
  /** @type {[number, number, number, number] | null} */
  let draft = null;
  /** @type {[number, number] | null} The first corner of a box drawn by keys; the other is the middle of the view. */
  let corner = null;
  let turns = 0;
  /** @type {Tool} */
  let tool = "move";
  let hidden = false;
  let frame = 0;
  /** @type {{prompt: Set<(prompt: Prompt) => void>, change: Set<(state: CanvasState) => void>, cursor: Set<(cursor: Cursor | null) => void>}} */
  const heard = { prompt: new Set(), change: new Set(), cursor: new Set() };
  /** @type {Renderer} */
  let renderer = (options.renderer !== "pixels" && glRenderer(sheet, { software: options.renderer === "webgl" })) || fallback();

  function fallback() {
    // A canvas that once had WebGL gives no other kind of drawing.
    const fresh = surface();
    sheet.replaceWith(fresh);
    sheet = fresh;
    return pixelRenderer(sheet);
  }

  /** @returns {Size} */
  const box = () => ({ width: Math.max(root.clientWidth, 1), height: Math.max(root.clientHeight, 1) });
  const view = () => (size ? bounded(state.view ?? fit(size, box()), size, box()) : { zoom: 1, x: 0, y: 0 });

  function invalidate() {
    frame ||= requestAnimationFrame(draw);
  }

  function tell() {
    for (const hear of heard.change) hear(state);
  }

  function draw() {
    frame = 0;
    const ratio = window.devicePixelRatio || 1;
    const room = box();
    const [width, height] = [Math.round(room.width * ratio), Math.round(room.height * ratio)];
    for (const each of [sheet, marks]) if (each.width !== width || each.height !== height) Object.assign(each, { width, height });
    const [left, right] = beside(layers, other);
    if (size) {
      const scene = { width, height, ratio, view: view(), size, layers: left, other: right, swipe: state.swipe, opacity: state.opacity, palette, overlays: !hidden };
      renderer.draw(scene);
    }
    const aim = root.matches(":focus-visible") && tool !== "move";
    const half = corner ? boxOf(corner, middle()) : draft;
    if (pen) drawMarks(pen, { view: view(), box: room, ratio, prompts: hidden ? noPrompts() : prompts, draft: half, corner, aim });
    const shown = hidden ? [] : bars(left, right);
    scales.forEach((bar, side) => bar.show(shown[side] ?? noLayers()));
    swipe.show(other !== null && size !== null, state.swipe);
  }

  /** @param {View} next */
  function look(next) {
    state.view = next;
    invalidate();
    tell();
  }

  const middle = () => toImage(view(), [box().width / 2, box().height / 2], box());

  /** @param {[number, number] | null} at @param {string} words For whoever does not see it. */
  function begin(at, words) {
    corner = at;
    draft = null;
    said.textContent = words;
    invalidate();
  }

  /** @param {[number, number] | null} at */
  function hover(at) {
    if (!size || !heard.cursor.size) return;
    const [x, y] = at ? toImage(view(), at, box()).map(Math.floor) : [-1, -1];
    /** @type {Cursor | null} */
    let cursor = null;
    if (x !== undefined && y !== undefined && x >= 0 && y >= 0 && x < size.width && y < size.height) {
      const side = other && at && at[0] / box().width > state.swipe ? other : layers;
      const place = y * size.width + x;
      const value = side.heat ? valueOf(side.heat, side.heat.data[place] ?? 0) : null;
      cursor = { x, y, label: labelAt(side, place), value };
    }
    for (const hear of heard.cursor) hear(cursor);
  }

  const stop = listen(root, options.keys ?? root, {
    tool: () => tool,
    pan: (by) => size && look(panned(view(), by, size, box())),
    zoom: (factor, at) => size && look(zoomAt(view(), factor, at ?? [box().width / 2, box().height / 2], size, box())),
    fit: showAll,
    hide: (next) => {
      hidden = next;
      invalidate();
    },
    toImage: (at) => toImage(view(), at, box()),
    draft: (next) => {
      draft = next;
      invalidate();
    },
    corner: () => corner,
    begin,
    prompt(prompt) {
      const asked = size && inside(prompt, size);
      if (asked) for (const hear of heard.prompt) hear(asked);
    },
    hover,
    moving: (moving) => (root.dataset["moving"] = String(moving)),
  });
  root.dataset["tool"] = tool;
  const watching = new ResizeObserver(invalidate);
  watching.observe(root);
  for (const name of ["focus", "blur"]) root.addEventListener(name, invalidate);
  sheet.addEventListener("webglcontextlost", () => {
    renderer = fallback();
    if (bitmap) renderer.setImage(bitmap);
    invalidate();
  });

  function showAll() {
    state.view = null;
    invalidate();
    tell();
  }

  return {
    element: root,
    /** Which renderer draws: "webgl" or "pixels". */
    get renderer() {
      return renderer.name;
    },
    /** What is drawn over the image; hand it to `setCompare` to keep it beside the next one. */
    get layers() {
      return layers;
    },
    /** @returns {Size | null} Of the image. */
    get size() {
      return size;
    },
    get state() {
      return state;
    },
    get view() {
      return view();
    },
    set view(next) {
      look(next);
    },
    /**
     * Show an image; what lay over the one before is taken away when the size is another. A bitmap
     * belongs to the canvas from now on, which closes it when it shows another.
     *
     * @param {ImageBitmap | ImageData | Blob | string} source
     */
    async setImage(source) {
      const turn = (turns += 1);
      const picture = typeof source === "string" ? await (await fetch(source)).blob() : source;
      const next = picture instanceof ImageBitmap ? picture : await createImageBitmap(picture);
      if (turn !== turns) return next.close();
      const before = size;
      try {
        renderer.setImage(next);
      } catch {
        // Larger than the graphics card's textures: the other renderer has no such limit.
        renderer = fallback();
        renderer.setImage(next);
      }
      if (bitmap !== next) bitmap?.close();
      bitmap = next;
      begin(null, "");
      size = { width: next.width, height: next.height };
      if (before && (before.width !== size.width || before.height !== size.height)) {
        layers = noLayers();
        other = null;
        state.view = null;
      }
      invalidate();
    },
    /** Show nothing over the image, and give the memory of it back. */
    clear() {
      [layers, other, prompts] = [noLayers(), null, noPrompts()];
      begin(null, "");
    },
    /** @param {CanvasState} next */
    setState(next) {
      Object.assign(state, next);
      invalidate();
      tell();
    },
    /** @param {ClassMask | null} mask @param {(Rgb | string)[]} [colours] Of classes 0, 1, … */
    setMask(mask, colours) {
      if (mask) checked(mask, size);
      if (colours) palette = colours.map((colour) => (typeof colour === "string" ? rgb(colour) : colour));
      layers = { ...layers, mask };
      invalidate();
    },
    /** @param {Field | null} field @param {MapName} [map] @param {{own?: boolean}} [how] own: stretch the map to this field's own values. */
    setHeat(field, map = "doubt", { own = false } = {}) {
      if (field) checked(field, size);
      const heat = field && toLevels(field);
      layers = { ...layers, heat, map, window: heat && own ? ownWindow(heat) : [0, 1] };
      invalidate();
    },
    /** @param {Field | null} field Probability of class 1, from which `setThreshold` draws. */
    setProbability(field) {
      if (field) checked(field, size);
      layers = { ...layers, probability: field && toLevels(field) };
      invalidate();
    },
    /** @param {number | null} threshold null: the mask as it was given. */
    setThreshold(threshold) {
      layers = { ...layers, threshold };
      invalidate();
    },
    /** Everything over the image at once. @param {Layers} next */
    setLayers(next) {
      for (const part of [next.mask, next.heat, next.probability]) if (part) checked(part, size);
      layers = next;
      invalidate();
    },
    /** @param {"image" | "mask" | "heat" | `class:${number}`} layer @param {number} value From 0 to 1. */
    setOpacity(layer, value) {
      if (layer.startsWith("class:")) state.opacity.classes[Number(layer.slice(6))] = value;
      else state.opacity[/** @type {"image" | "mask" | "heat"} */ (layer)] = value;
      invalidate();
      tell();
    },
    /** @param {Prompts | null} next */
    setPrompts(next) {
      prompts = next ?? noPrompts();
      invalidate();
    },
    /** @param {Tool} next */
    setTool(next) {
      tool = next;
      root.dataset["tool"] = next;
      begin(null, "");
    },
    /** @param {Layers | null} next Of the other result. @param {number} [position] Of the swipe, from 0 to 1. */
    setCompare(next, position) {
      if (next?.mask) checked(next.mask, size);
      other = next;
      if (position !== undefined) state.swipe = position;
      invalidate();
    },
    /** @param {boolean} next */
    hideOverlays(next) {
      hidden = next;
      invalidate();
    },
    /** The old result stays, dimmed, until the new one is there. @param {boolean} dimmed */
    setDimmed(dimmed) {
      root.dataset["dimmed"] = String(dimmed);
    },
    fit: showAll,
    /** @param {number} factor */
    zoomBy(factor) {
      if (size) look(zoomAt(view(), factor, [box().width / 2, box().height / 2], size, box()));
    },
    /** @param {(prompt: Prompt) => void} hear @returns {() => void} Stops it. */
    onPrompt: (hear) => subscribed(heard.prompt, hear),
    /** @param {(state: CanvasState) => void} hear @returns {() => void} */
    onChange: (hear) => subscribed(heard.change, hear),
    /** @param {(cursor: Cursor | null) => void} hear @returns {() => void} */
    onCursor: (hear) => subscribed(heard.cursor, hear),
    destroy() {
      stop();
      watching.disconnect();
      cancelAnimationFrame(frame);
      renderer.destroy();
      bitmap?.close();
      bitmap = null;
      turns += 1;
      root.remove();
    },
  };
}

/**
 * What the bars of colour are of: one, where both sides have one scale.
 *
 * @param {Layers} left
 * @param {Layers | null} right
 * @returns {(Layers | null)[]}
 */
function bars(left, right) {
  return alike(left, right) ? [left] : [left, right];
}

/**
 * @template Heard
 * @param {Set<(value: Heard) => void>} all
 * @param {(value: Heard) => void} hear
 */
function subscribed(all, hear) {
  all.add(hear);
  return () => {
    all.delete(hear);
  };
}

/**
 * @param {Size} part
 * @param {Size | null} size
 */
function checked(part, size) {
  if (size && part.width === size.width && part.height === size.height) return;
  const wanted = size ? `${size.width}×${size.height}` : "an image first";
  throw new RangeError(`Expected a layer of the image's size, ${wanted}, but got ${part.width}×${part.height}. Try setImage before it.`);
}
