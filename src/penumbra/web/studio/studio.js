/**
 * What the studio does: which image, which result, when to ask the server.
 *
 * @import { Canvas } from "../canvas/index.js"
 * @import { Prompt } from "../canvas/types.js"
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

import { shownMask } from "../canvas/layers.js";
import { noPrompts } from "../canvas/marks.js";
import { layersOf } from "./answers.js";
import { Problem } from "./api.js";
import { infer } from "./infer.js";
import { added, isEmpty, painted, prompter } from "./prompting.js";
import { MODES, inferenceKey } from "./settings.js";
import { meanOf } from "../canvas/layers.js";
import { timingLine } from "./words.js";

const MOST_RESULTS = 6;
const PAUSE = 300;

/**
 * @param {Parts} parts
 * @param {Settings} settings Changed in place.
 */
export function createStudio({ api, canvas, strip, say, changed }, settings) {
  const prompts = prompter(api);
  /** @type {Served[]} */
  let models = [];
  /** @type {Item | null} */
  let current = null;
  /** @type {Item | null} The one whose picture is on the canvas; the server may still be reading the current one. */
  let shown = null;
  /** @type {Result | null} What is shown. */
  let result = null;
  let running = new AbortController();
  let prompting = new AbortController();
  let pause = 0;

  const served = () => models.find(({ name }) => name === settings.model) ?? models[0] ?? null;
  const promptable = () => (served()?.kind === "promptable" ? served() : (models.find(({ kind }) => kind === "promptable") ?? null));
  const wordsOf = (/** @type {Mode} */ mode) => MODES.find(([name]) => name === mode)?.[1] ?? "";

  /** A method without a network has nothing that noise could be added to. */
  function suit() {
    if (served()?.network === false) Object.assign(settings, { mode: "disabled", compare: "off" });
  }

  /** @param {Result | null} next */
  function show(next) {
    result = next;
    draw();
    canvas.setDimmed(false);
  }

  /** Draw what is known; asks nobody. */
  function draw() {
    changed();
    const size = canvas.size;
    if (!current || current !== shown || !size) return;
    const nothing = { mask: { ...size, data: new Uint8Array(size.width * size.height) }, heat: null, map: /** @type {const} */ ("doubt"), window: /** @type {[number, number]} */ ([0, 1]), probability: null, threshold: null };
    const layers = result ? layersOf(result, settings) : nothing;
    if (current.prompted.length) {
      const below = shownMask(layers) ?? nothing.mask;
      canvas.setLayers({ ...layers, mask: painted(below, current.prompted, promptedClass()), threshold: null });
    } else canvas.setLayers(layers);
    const beside = settings.compare === "off" ? null : current.results.get(inferenceKey(settings, settings.compare));
    canvas.setCompare(beside && result ? layersOf(beside, settings) : null);
    canvas.setPrompts(current.prompts.now);
  }

  function promptedClass() {
    return Math.max(0, ...(result?.answer.masks.map((part) => part.class) ?? [])) + 1;
  }

  /** @param {Item} item */
  async function select(item) {
    current = item;
    running.abort();
    strip.mark(item);
    say.clear();
    if (item.bitmap) {
      await canvas.setImage(item.bitmap);
      shown = item;
      show(null);
    } else canvas.setDimmed(true);
    await refresh();
    if (promptable() && served()?.kind === "promptable") await embed(item);
  }

  /** @param {Item} item */
  async function embed(item) {
    const model = promptable();
    if (!model) return;
    say.busy("Embedding the image …");
    try {
      let session = await prompts.open(item.file, item.name, model.name, item.asks);
      if (item.bitmap && !item.asks && !fits(item.bitmap, session.size)) {
        item.asks = true;
        session = await prompts.open(item.file, item.name, model.name, true);
      }
      const picture = session.pictures?.["image"];
      if (item.asks && picture) await pictured(item, new Blob([await api.bytes(picture.href)]));
      if (item !== current) return;
      await onCanvas(item);
      show(null);
      say.status(timingLine(session));
    } catch (error) {
      fail(item, error);
    }
    say.busy(null);
  }

  /** Show what is known for these settings, or ask. */
  async function refresh() {
    clearTimeout(pause);
    if (!current || served()?.kind !== "segmenter") return;
    const item = current;
    running.abort();
    const mine = (running = new AbortController());
    say.clear();
    try {
      const found = await resultOf(item, settings.mode, mine.signal, (estimate) => {
        if (mine.signal.aborted) return;
        show(estimate);
        canvas.setDimmed(true);
        say.busy(`${estimate.answer.passes} of ${settings.samples} passes`);
      });
      if (mine.signal.aborted) return;
      await finish(item, found);
      if (settings.compare !== "off") {
        await resultOf(item, settings.compare, mine.signal);
        if (!mine.signal.aborted) draw();
      }
    } catch (error) {
      if (!mine.signal.aborted) fail(item, error);
    } finally {
      if (running === mine) {
        say.busy(null);
        canvas.setDimmed(false);
      }
    }
  }

  /**
   * @param {Item} item
   * @param {Mode} mode
   * @param {AbortSignal} signal
   * @param {(result: Result) => void} [estimate]
   */
  async function resultOf(item, mode, signal, estimate) {
    const key = inferenceKey(settings, mode);
    const known = item.results.get(key);
    if (known) return known;
    if (item === current) canvas.setDimmed(true);
    say.busy(`${wordsOf(mode)} …`);
    const pixels = item.bitmap ? item.bitmap.width * item.bitmap.height : 0;
    const asked = { file: item.file, name: item.name, settings: { ...settings }, mode, image: item.asks, pixels, signal };
    let found = await infer(api, item.bitmap && estimate ? { ...asked, estimate } : asked);
    const { width, height } = found.answer.size;
    if (!found.image && item.bitmap && !fits(item.bitmap, { width, height })) {
      // The server turned or read the file otherwise than the browser: its picture is the one.
      item.asks = true;
      found = await infer(api, { ...asked, image: true });
    }
    item.results.set(key, found);
    for (const old of [...item.results.keys()].slice(0, -MOST_RESULTS)) item.results.delete(old);
    return found;
  }

  /** Take the server's picture of an image. @param {Item} item @param {Blob} picture */
  async function pictured(item, picture) {
    strip.picture(item, await createImageBitmap(picture));
    item.asks = false;
  }

  /** @param {Item} item */
  async function onCanvas(item) {
    const picture = item.bitmap;
    if (!picture) throw new Problem(415, "This image cannot be shown", "Neither the browser nor the server could draw it. Try a PNG of it.");
    if (shown !== item || !canvas.size || !fits(picture, canvas.size)) await canvas.setImage(picture);
    shown = item;
  }

  /** @param {Item} item @param {Result} found */
  async function finish(item, found) {
    if (found.image && item.asks) await pictured(item, found.image);
    await onCanvas(item);
    strip.failed(item, false);
    item.doubt = found.fields["entropy"] ? meanOf(found.fields["entropy"]) : null;
    show(found);
    const notes = [...(found.answer.flagged ? ["flagged for a second look"] : []), ...(found.answer.notes ?? [])];
    say.status([timingLine(found.answer, settings.samples), ...notes].filter(Boolean).join(" · "));
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
    say.problem(error, { again: !about });
    if (shown === null || shown === item) return;
    // There is nothing to see of this file: what was on the canvas is the current one again.
    current = shown;
    strip.mark(shown);
    show(shown.results.get(inferenceKey(settings)) ?? result);
  }

  /** @param {boolean} retake Whether the prompts are others than those that were asked last. */
  async function askPrompts(retake = true) {
    const item = current;
    const model = promptable();
    if (!item || !model || !retake) return;
    prompting.abort();
    const mine = (prompting = new AbortController());
    canvas.setPrompts(item.prompts.now);
    if (isEmpty(item.prompts.now)) {
      item.prompted = [];
      return draw();
    }
    say.clear();
    try {
      const answer = await prompts.ask(item.file, item.name, model.name, item.prompts.now, mine.signal);
      if (mine.signal.aborted) return;
      item.prompted = answer.masks;
      draw();
      const quality = answer.masks[0]?.predicted_iou;
      say.status([timingLine(answer), quality === undefined ? "" : `predicted IoU ${quality.toFixed(2)}`].filter(Boolean).join(" · "));
    } catch (error) {
      if (!mine.signal.aborted) say.problem(error);
    }
  }

  return {
    settings,
    select,
    refresh,
    draw,
    served,
    promptable,
    get current() {
      return current;
    },
    get result() {
      return result;
    },
    /** @returns {{name: string, area: number, index: number} | null} */
    get prompted() {
      if (!current?.prompted.length) return null;
      const area = current.prompted.reduce((sum, part) => sum + part.area_px, 0);
      return { name: "Prompted", area, index: promptedClass() };
    },
    /** @param {Served[]} next */
    setModels(next) {
      models = next;
      suit();
      changed();
    },
    /** @param {File[]} files */
    async add(files) {
      const items = [];
      for (const file of files) items.push(await strip.add(file));
      if (items[0]) await select(items[0]);
    },
    /** Take other settings; asks the server only for what it does not know. @param {Partial<Settings>} change */
    update(change) {
      const before = inferenceKey(settings);
      const compared = settings.compare;
      Object.assign(settings, change);
      suit();
      const same = before === inferenceKey(settings) && (compared === settings.compare || settings.compare === "off");
      if (same) return draw();
      changed();
      clearTimeout(pause);
      pause = setTimeout(() => void ("model" in change && current ? select(current) : refresh()), PAUSE);
    },
    /** @param {Prompt} prompt */
    prompt(prompt) {
      if (!current || current !== shown) return;
      current.prompts.push(added(current.prompts.now, prompt));
      void askPrompts();
    },
    clear() {
      if (!current || isEmpty(current.prompts.now)) return;
      current.prompts.push(noPrompts());
      void askPrompts();
    },
    undo: () => void askPrompts(current?.prompts.undo()),
    redo: () => void askPrompts(current?.prompts.redo()),
    get shown() {
      return shown;
    },
    /** The run button: forgets the result, so that the server is asked again. */
    again() {
      current?.results.delete(inferenceKey(settings));
      void refresh();
    },
  };
}

/**
 * @param {import("../canvas/types.js").Size} one
 * @param {import("../canvas/types.js").Size} other
 */
function fits(one, other) {
  return one.width === other.width && one.height === other.height;
}
