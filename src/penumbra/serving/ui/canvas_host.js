/**
 * What stands between Streamlit and the canvas: it draws what a run of the page says, the newest
 * alone, and keeps sliders under the image that ask nobody.
 *
 * @import { Canvas } from "../../web/canvas/index.js"
 * @import { Cursor, MapName, Rgb } from "../../web/canvas/types.js"
 *
 * @typedef {{mountCanvas: (element: HTMLElement, options: {label: string}) => Canvas}} Entry
 *
 * @typedef {object} Plane Levels from 0 to 255, row after row, deflated, in base 64.
 * @property {string} id Of the content.
 * @property {number} width
 * @property {number} height
 * @property {string} data
 *
 * @typedef {Plane & {scale: [number, number], label: string, unit: string, map: MapName, own: boolean}} Heat
 *
 * @typedef {object} Message What is to be drawn; canvas.py writes it.
 * @property {number} height Of the canvas in CSS pixels.
 * @property {{id: string, png: string}} image
 * @property {Plane | null} mask
 * @property {Rgb[]} palette
 * @property {string[]} classes
 * @property {Heat | null} heat
 * @property {Plane | null} probability Whose cut at `threshold` is the mask.
 * @property {number | null} threshold
 *
 * @typedef {{element: HTMLElement, set: (value?: number) => void}} Slider
 */

/**
 * Make the component's entry point.
 *
 * @param {Promise<Entry>} entry The canvas's module.
 */
export function hostOf(entry) {
  /** @type {WeakMap<HTMLElement, Host>} */
  const shown = new WeakMap();

  return function host(/** @type {{parentElement: HTMLElement, data: Message}} */ { parentElement, data }) {
    const one = shown.get(parentElement) ?? new Host(parentElement, entry);
    shown.set(parentElement, one);
    one.ask(data);
    return () => {
      if (shown.get(parentElement) === one) shown.delete(parentElement);
      one.end();
    };
  };
}

/** One canvas: what it is asked to draw, one thing after the other. */
class Host {
  /** @param {HTMLElement} parent @param {Promise<Entry>} entry */
  constructor(parent, entry) {
    this.parent = parent;
    this.entry = entry;
    this.queue = Promise.resolve();
    /** @type {Message | null} */
    this.wanted = null;
    /** @type {Mounted | null} */
    this.mounted = null;
    /** @type {HTMLElement | null} */
    this.failed = null;
  }

  /** @param {Message} data */
  ask(data) {
    this.wanted = data;
    this.queue = this.queue.then(() => this.draw(data));
  }

  end() {
    this.wanted = null;
    this.mounted?.destroy();
  }

  /** @param {Message} data */
  async draw(data) {
    const isWanted = () => this.wanted === data;
    try {
      const { mountCanvas } = await this.entry;
      if (!isWanted()) return;
      this.mounted ??= new Mounted(this.parent, mountCanvas);
      const drawn = await this.mounted.show(data, isWanted);
      if (drawn) this.say(null);
    } catch (error) {
      if (isWanted()) this.say(`The canvas could not be drawn: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** @param {string | null} words */
  say(words) {
    this.failed?.remove();
    this.failed = null;
    if (words === null) return;
    this.failed = element("p", "failed");
    this.failed.setAttribute("role", "alert");
    this.failed.textContent = words;
    this.parent.append(this.failed);
  }
}

class Mounted {
  /** @param {HTMLElement} parent @param {Entry["mountCanvas"]} mountCanvas */
  constructor(parent, mountCanvas) {
    this.frame = element("div", "frame");
    this.place = element("div", "place");
    this.bar = element("div", "bar");
    this.frame.append(this.place, this.bar);
    parent.append(this.frame);
    this.canvas = mountCanvas(this.place, { label: "Image with mask and doubt" });
    /** @type {Record<string, string | undefined>} Ids of what the canvas holds. */
    this.drawn = {};
    /** @type {ImageBitmap | null} */
    this.bitmap = null;
    /** @type {number | null} */
    this.threshold = null;
    this.unit = "";
    /** @type {string[]} */
    this.classes = [];
    this.opacity("mask", "Mask", 0.35);
    this.heatSlider = this.opacity("heat", "Map", 0.85);
    this.cutSlider = this.slider("Threshold", "Threshold, drawn here at once", (value) => this.cut(value));
    this.under = element("output", "under");
    this.canvas.onCursor((cursor) => this.read(cursor));
    const fit = this.button("Fit", "Show the whole image");
    fit.addEventListener("click", () => this.canvas.fit());
    this.bar.append(this.under, fit, this.hide());
  }

  /**
   * A slider that asks nobody.
   *
   * @param {string} words
   * @param {string} says
   * @param {(value: number) => string} said Is told its value and gives the words beside it.
   * @returns {Slider}
   */
  slider(words, says, said) {
    const label = element("label", "");
    const input = /** @type {HTMLInputElement} */ (element("input", ""));
    const value = element("output", "");
    Object.assign(input, { type: "range", min: 0, max: 1, step: 0.01 });
    input.setAttribute("aria-label", says);
    const set = (/** @type {number | undefined} */ next) => {
      if (next !== undefined) input.value = String(next);
      value.textContent = said(Number(input.value));
    };
    input.addEventListener("input", () => set(undefined));
    label.append(words, input, value);
    this.bar.append(label);
    return { element: label, set };
  }

  /** @param {"mask" | "heat"} layer @param {string} words @param {number} first */
  opacity(layer, words, first) {
    const made = this.slider(words, `Opacity of the ${words.toLowerCase()}`, (value) => {
      this.canvas.setOpacity(layer, value);
      return `${Math.round(value * 100)} %`;
    });
    made.set(first);
    return made;
  }

  /** Draw the mask that another threshold would give; the answer itself stays as it is. @param {number} threshold */
  cut(threshold) {
    const own = this.threshold === null || Math.abs(threshold - this.threshold) < 0.005;
    this.canvas.setThreshold(own ? null : threshold);
    return threshold.toFixed(2);
  }

  /** @param {string} words @param {string} says */
  button(words, says) {
    const button = element("button", "");
    Object.assign(button, { type: "button", textContent: words, title: says });
    return button;
  }

  hide() {
    const button = this.button("Hold to hide", "Hold to see the image alone; key H on the canvas");
    const set = (/** @type {boolean} */ hidden) => () => this.canvas.hideOverlays(hidden);
    button.addEventListener("pointerdown", set(true));
    for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
      button.addEventListener(name, set(false));
    }
    button.addEventListener("keydown", (event) => {
      if (event.key === " " || event.key === "Enter") set(true)();
    });
    button.addEventListener("keyup", set(false));
    return button;
  }

  /**
   * Read everything first, then draw it in one go: an image never stands with another one's mask.
   *
   * @param {Message} data
   * @param {() => boolean} isWanted Whether nothing newer was asked for meanwhile.
   * @returns {Promise<boolean>} Whether it was drawn.
   */
  async show(data, isWanted) {
    const another = this.drawn["image"] !== data.image.id;
    const changed = (/** @type {"mask" | "heat" | "probability"} */ name) => another || this.drawn[name] !== data[name]?.id;
    const bitmap = another ? await createImageBitmap(new Blob([bytes(data.image.png)], { type: "image/png" })) : null;
    try {
      const mask = changed("mask") ? await planeOf(data.mask) : undefined;
      const heat = changed("heat") ? await planeOf(data.heat) : undefined;
      const probability = changed("probability") ? await planeOf(data.probability) : undefined;
      if (!isWanted()) {
        bitmap?.close();
        return false;
      }
      this.place.style.height = `${data.height}px`;
      if (bitmap) await this.take(bitmap, data.image.id);
      if (mask !== undefined) this.canvas.setMask(mask, data.palette);
      this.drawn["mask"] = data.mask?.id;
      if (heat !== undefined) this.heat(heat, data.heat);
      this.drawn["heat"] = data.heat?.id;
      this.levels(probability, data);
      this.drawn["probability"] = data.probability?.id;
    } catch (error) {
      if (bitmap && this.bitmap !== bitmap) bitmap.close();
      throw error;
    }
    this.classes = data.classes;
    this.frame.dataset["ready"] = JSON.stringify(this.drawn);
    return true;
  }

  /** @param {ImageBitmap} bitmap @param {string} id */
  async take(bitmap, id) {
    await this.canvas.setImage(bitmap);
    this.bitmap?.close();
    this.bitmap = bitmap;
    // Of the one before nothing is kept: what lay over it belongs to it alone.
    this.drawn = { image: id };
    this.frame.dataset["image"] = id;
  }

  /** @param {Awaited<ReturnType<typeof planeOf>>} plane @param {Heat | null} heat */
  heat(plane, heat) {
    const field = plane && heat && { ...plane, scale: heat.scale, label: heat.label, unit: heat.unit };
    this.canvas.setHeat(field, heat?.map ?? "doubt", { own: heat?.own ?? false });
    this.unit = heat?.unit ?? "";
    this.heatSlider.element.hidden = !heat;
  }

  /** @param {Awaited<ReturnType<typeof planeOf>> | undefined} plane undefined: as before. @param {Message} data */
  levels(plane, data) {
    if (plane !== undefined) this.canvas.setProbability(plane && { ...plane, scale: [0, 1] });
    if (plane !== undefined || this.threshold !== data.threshold) {
      this.threshold = data.threshold;
      this.cutSlider.set(data.threshold ?? 0.5);
    }
    this.cutSlider.element.hidden = !data.probability;
  }

  destroy() {
    this.canvas.destroy();
    this.bitmap?.close();
    this.frame.remove();
  }

  /** @param {Cursor | null} cursor */
  read(cursor) {
    if (!cursor) {
      this.under.textContent = "";
      return;
    }
    const name = this.classes[cursor.label] ?? cursor.label;
    const value = cursor.value === null ? "" : ` · ${Number(cursor.value.toPrecision(3))} ${this.unit}`;
    this.under.textContent = `${cursor.x}, ${cursor.y} · ${name}${value}`;
  }
}

/** @param {string} name @param {string} kind */
function element(name, kind) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  return made;
}

/** @param {string} text */
function bytes(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

/** @param {Plane | null} plane */
async function planeOf(plane) {
  if (!plane) return null;
  const packed = new Blob([bytes(plane.data)]).stream();
  const raw = await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  return { width: plane.width, height: plane.height, data: new Uint8Array(raw) };
}
