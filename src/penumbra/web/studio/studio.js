/**
 * What the studio does: which image, which result, when to ask the server.
 *
 * @import { Canvas } from "../canvas/index.js"
 * @import { Api } from "./api.js"
 * @import { Result } from "./answers.js"
 * @import { Served } from "./panel.js"
 * @import { Mode, Settings } from "./settings.js"
 * @import { Item } from "./strip.js"
 *
 * @typedef {object} Parts
 * @property {Api} api
 * @property {Canvas} canvas
 * @property {ReturnType<typeof import("./strip.js").filmStrip>} strip
 * @property {ReturnType<typeof import("./notices.js").notices>} say
 * @property {() => void} changed Called when settings or result are others.
 *
 * @typedef {ReturnType<typeof createStudio>} Studio
 */

import { meanOf, noLayers } from "../canvas/layers.js";
import { cutsThere, layersOf } from "./answers.js";
import { Problem } from "./api.js";
import { infer } from "./infer.js";
import { keeper } from "./kept.js";
import { decoded, fits, release } from "./pictures.js";
import { overlaid, promptDesk } from "./prompts.js";
import { MODES, inferenceKey } from "./settings.js";
import { timingLine } from "./words.js";

const PAUSE = 300;

/**
 * @param {Parts} parts
 * @param {Settings} settings Changed in place.
 */
export function createStudio({ api, canvas, strip, say, changed }, settings) {
  const kept = keeper();
  const over = overlaid();
  /** @type {Served[]} */
  let models = [];
  /** @type {Item | null} */
  let current = null;
  /** @type {Item | null} The one whose picture is on the canvas; the server may still be reading the current one. */
  let shown = null;
  /** @type {Result | null} What is drawn over the picture on the canvas. */
  let drawn = null;
  /** @type {Result | null} What it is compared with. */
  let beside = null;
  /** @type {Set<string>} Models of which no map alone gives the mask: the server cuts it. */
  const cutting = new Set();
  let running = new AbortController();
  let active = false;
  let pause = 0;

  const served = () => models.find(({ name }) => name === settings.model) ?? models[0] ?? null;
  const promptable = () => (served()?.kind === "promptable" ? served() : (models.find(({ kind }) => kind === "promptable") ?? null));
  const wordsOf = (/** @type {Mode} */ mode) => MODES.find(([name]) => name === mode)?.[1] ?? "";
  const modelName = () => served()?.name ?? settings.model;
  const keyOf = (/** @type {Mode} */ mode) => inferenceKey({ ...settings, model: modelName() }, mode, cutting.has(modelName()));
  const onShow = () => (current === shown ? shown : null);
  const desk = promptDesk({ api, canvas, say }, { item: onShow, model: promptable, draw, changed });

  /** Take no setting that the models here cannot have. @param {boolean} named Whether the model was chosen anew. */
  function suit(named) {
    const gone = models.length > 0 && settings.model !== "" && !models.some(({ name }) => name === settings.model);
    if (named) say.stays("model", gone ? `“${settings.model}” is not served here. This is ${models[0]?.name}.` : null);
    if (gone) settings.model = "";
    // A method without a network has nothing that noise could be added to.
    if (served()?.network === false) Object.assign(settings, { mode: "disabled", compare: "off" });
  }

  /** @param {Result | null} next */
  function show(next) {
    drawn = next;
    draw();
    canvas.setDimmed(false);
  }

  /** Draw what is known; asks nobody. */
  function draw() {
    changed();
    const size = canvas.size;
    const item = onShow();
    if (!item || !size) return;
    const layers = drawn ? layersOf(drawn, settings) : noLayers();
    canvas.setLayers(item.prompted.length ? over(layers, size, item.prompted, promptedClass()) : layers);
    beside = settings.compare === "off" ? null : (kept.get(item, keyOf(settings.compare)) ?? beside);
    canvas.setCompare(beside && drawn ? layersOf(beside, settings) : null);
    canvas.setPrompts(item.prompts.now);
  }

  function promptedClass() {
    return Math.max(0, ...(drawn?.answer.masks.map((part) => part.class) ?? [])) + 1;
  }

  /**
   * Do something for an image; whatever was under way is given up.
   *
   * @param {Item} item
   * @param {(signal: AbortSignal) => Promise<void>} act
   */
  async function run(item, act) {
    clearTimeout(pause);
    running.abort();
    const mine = (running = new AbortController());
    [pause, active] = [0, true];
    say.clear();
    say.busy(null);
    changed();
    try {
      await act(mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) fail(item, error);
    } finally {
      if (running === mine) {
        active = false;
        say.busy(null);
        canvas.setDimmed(false);
        changed();
      }
    }
  }

  /** Show an image with what is known of it, and ask for the rest. @param {Item} item */
  async function select(item) {
    current = item;
    strip.mark(item);
    await run(item, async (signal) => {
      canvas.setDimmed(true);
      if (item !== shown && item.source) {
        if (!(await onCanvas(item, signal))) return;
        show(kept.get(item, keyOf(settings.mode)));
      }
      if (served()?.kind === "segmenter") await segment(item, signal);
      if (served()?.kind === "promptable") await embed(item, signal);
    });
  }

  /** @param {Item} item @param {AbortSignal} signal */
  async function embed(item, signal) {
    const model = modelName();
    canvas.setDimmed(true);
    say.busy("Embedding the image …");
    let session = await desk.open(item.file, item.name, model, item.asks);
    if (item.size && !item.asks && !fits(item.size, session.size)) {
      item.asks = true;
      session = await desk.open(item.file, item.name, model, true);
    }
    const picture = session.pictures?.["image"];
    if (item.asks && picture) await pictured(item, new Blob([await api.bytes(picture.href, signal)]), signal);
    if (!(await onCanvas(item, signal))) return;
    strip.failed(item, false);
    show(null);
    say.status(timingLine(session));
  }

  /** Show what is known for these settings, or ask. @param {Item} item @param {AbortSignal} signal */
  async function segment(item, signal) {
    const found = await resultOf(item, settings.mode, signal, (estimate) => {
      if (signal.aborted || item !== shown) return;
      show(estimate);
      canvas.setDimmed(true);
      say.busy(`${estimate.answer.passes} of ${settings.samples} passes`);
    });
    if (!(await finish(item, found, signal)) || settings.compare === "off") return;
    await resultOf(item, settings.compare, signal);
    if (!signal.aborted) draw();
  }

  /**
   * @param {Item} item
   * @param {Mode} mode
   * @param {AbortSignal} signal
   * @param {(result: Result) => void} [estimate]
   * @returns {Promise<Result>}
   */
  async function resultOf(item, mode, signal, estimate) {
    const [model, key] = [modelName(), keyOf(mode)];
    const known = kept.get(item, key);
    if (known) return known;
    canvas.setDimmed(true);
    say.busy(`${wordsOf(mode)} …`);
    const made = { ...settings, mode };
    const asked = { file: item.file, name: item.name, settings: made, mode, image: item.asks, size: item.size, cutsThere: cutting.has(model), signal };
    let found = await infer(api, item.size && estimate ? { ...asked, estimate } : asked);
    if (!found.image && item.size && !fits(item.size, found.answer.size)) {
      // The server turned or read the file otherwise than the browser: its picture is the one.
      item.asks = true;
      found = await infer(api, { ...asked, image: true });
    }
    found.asked = made;
    kept.put(item, key, found);
    if (!cutsThere(found.answer) || cutting.has(model)) return found;
    cutting.add(model);
    return settings.threshold === null ? found : resultOf(item, mode, signal, estimate);
  }

  /** Take the server's picture of an image. @param {Item} item @param {Blob} picture @param {AbortSignal} signal */
  async function pictured(item, picture, signal) {
    const bitmap = await createImageBitmap(picture);
    release(item);
    item.source = picture;
    strip.picture(item, bitmap);
    item.asks = false;
    if (signal.aborted) release(item);
  }

  /** @param {Item} item @param {AbortSignal} signal @returns {Promise<boolean>} false: another image was chosen meanwhile. */
  async function onCanvas(item, signal) {
    if (signal.aborted) return false;
    const there = shown === item && !item.bitmap && item.size && canvas.size && fits(item.size, canvas.size);
    if (there) return true;
    const bitmap = await decoded(item);
    if (signal.aborted) {
      bitmap.close();
      return false;
    }
    await canvas.setImage(bitmap);
    if (shown !== item) beside = null;
    shown = item;
    return true;
  }

  /** @param {Item} item @param {Result} found @param {AbortSignal} signal @returns {Promise<boolean>} Whether it is shown. */
  async function finish(item, found, signal) {
    if (found.image && item.asks) await pictured(item, found.image, signal);
    if (!(await onCanvas(item, signal))) return false;
    strip.failed(item, false);
    item.doubt = found.fields["entropy"] ? meanOf(found.fields["entropy"]) : null;
    show(found);
    const notes = [...(found.answer.flagged ? ["flagged for a second look"] : []), ...(found.answer.notes ?? [])];
    say.status([timingLine(found.answer, settings.samples), ...notes].filter(Boolean).join(" · "));
    return true;
  }

  /** @param {Item} item @param {unknown} error */
  function fail(item, error) {
    const about = error instanceof Problem && [413, 415, 422].includes(error.status) && !error.errors.length;
    if (about) strip.failed(item, true);
    if (shown === null && about) {
      current = null;
      changed();
      return void say.at("image", `${item.name}: ${/** @type {Problem} */ (error).message}`);
    }
    say.problem(error, about ? null : () => void select(item));
    if (shown === null || shown === item) return;
    // There is nothing to see of this file: what was on the canvas is the current one again.
    current = shown;
    strip.mark(shown);
    show(kept.get(shown, keyOf(settings.mode)) ?? drawn);
  }

  return {
    settings,
    select,
    draw,
    served,
    promptable,
    get current() {
      return current;
    },
    get shown() {
      return shown;
    },
    /** What is drawn, where it is of the current image. */
    get result() {
      return onShow() && drawn;
    },
    /** Whether what is shown is settled: a file, what was found in it, and nothing under way. */
    get settled() {
      return onShow() !== null && !active && pause === 0 && !desk.busy;
    },
    /** @returns {{name: string, area: number, index: number} | null} */
    get prompted() {
      const masks = onShow()?.prompted ?? [];
      if (!masks.length) return null;
      return { name: "Prompted", area: masks.reduce((sum, part) => sum + part.area_px, 0), index: promptedClass() };
    },
    /** @param {Served[]} next */
    setModels(next) {
      models = next;
      suit(true);
      changed();
    },
    /** @param {File[]} files */
    async add(files) {
      const items = [];
      for (const file of files) {
        const item = await strip.add(file);
        if (items.length) release(item);
        items.push(item);
      }
      if (items[0]) await select(items[0]);
    },
    /** @param {Item} item */
    async remove(item) {
      const next = strip.remove(item);
      kept.forget(item);
      desk.forget(item.file);
      release(item);
      const wasCurrent = item === current;
      if (item === shown) {
        shown = drawn = beside = null;
        canvas.clear();
      }
      if (!wasCurrent) return changed();
      current = null;
      running.abort();
      say.clear();
      if (shown ?? next) await select(/** @type {Item} */ (shown ?? next));
      else changed();
    },
    /** Take other settings; asks the server only for what it does not know. @param {Partial<Settings>} change */
    update(change) {
      const [before, compared, model] = [keyOf(settings.mode), settings.compare, modelName()];
      Object.assign(settings, change);
      suit("model" in change);
      if (compared !== settings.compare) beside = null;
      const same = before === keyOf(settings.mode) && model === modelName() && (compared === settings.compare || settings.compare === "off");
      if (same) return draw();
      clearTimeout(pause);
      pause = setTimeout(() => {
        pause = 0;
        if (current) void select(current);
      }, PAUSE);
      draw();
    },
    prompt: desk.add,
    clear: desk.clear,
    undo: desk.undo,
    redo: desk.redo,
    /** The run button: forgets the result, so that the server is asked again. */
    again() {
      if (!current) return;
      kept.forget(current, keyOf(settings.mode));
      void select(current);
    },
  };
}
