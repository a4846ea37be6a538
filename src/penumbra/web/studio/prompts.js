/**
 * The prompts of the image that is shown: every change of them is one small question to its session.
 *
 * @import { Canvas } from "../canvas/index.js"
 * @import { ClassMask, Layers, Prompt, Size } from "../canvas/types.js"
 * @import { Api } from "./api.js"
 * @import { Served } from "./panel.js"
 * @import { Prompted } from "./prompting.js"
 * @import { Item } from "./strip.js"
 *
 * @typedef {object} Host What the studio knows and does.
 * @property {() => Item | null} item The image that can be prompted now.
 * @property {() => Served | null} model
 * @property {() => void} draw
 * @property {() => void} changed
 */

import { shownMask } from "../canvas/layers.js";
import { noPrompts } from "../canvas/marks.js";
import { added, isEmpty, painted, prompter } from "./prompting.js";
import { timingLine } from "./words.js";

/**
 * @param {{api: Api, canvas: Canvas, say: ReturnType<typeof import("./notices.js").notices>}} parts
 * @param {Host} host
 */
export function promptDesk({ api, canvas, say }, host) {
  const sessions = prompter(api);
  let running = new AbortController();
  let active = false;

  /** Ask about the prompts as they are now. */
  async function ask() {
    const [item, model] = [host.item(), host.model()];
    running.abort();
    const mine = (running = new AbortController());
    active = false;
    say.busy(null, "prompts");
    if (!item || !model) return;
    const asked = item.prompts.now;
    canvas.setPrompts(asked);
    if (isEmpty(asked)) {
      Object.assign(item, { prompted: [], answered: null });
      return host.draw();
    }
    say.clear();
    active = true;
    say.busy("Asking about the prompts …", "prompts");
    host.changed();
    try {
      const answer = await sessions.ask(item.file, item.name, model.name, asked, mine.signal);
      if (mine.signal.aborted) return;
      Object.assign(item, { prompted: answer.masks, answered: { model: model.name, prompts: asked, answer } });
      if (item !== host.item()) return;
      const quality = answer.masks[0]?.predicted_iou;
      say.status([timingLine(answer), quality === undefined ? "" : `predicted IoU ${quality.toFixed(2)}`].filter(Boolean).join(" · "));
    } catch (error) {
      if (!mine.signal.aborted && item === host.item()) say.problem(error, () => void ask());
    } finally {
      if (running === mine) {
        active = false;
        say.busy(null, "prompts");
        host.draw();
      }
    }
  }

  return {
    open: sessions.open,
    forget: sessions.forget,
    get busy() {
      return active;
    },
    /** @param {Prompt} prompt */
    add(prompt) {
      const item = host.item();
      if (!item) return;
      item.prompts.push(added(item.prompts.now, prompt));
      void ask();
    },
    clear() {
      const item = host.item();
      if (!item || isEmpty(item.prompts.now)) return;
      item.prompts.push(noPrompts());
      void ask();
    },
    undo: () => void (host.item()?.prompts.undo() && ask()),
    redo: () => void (host.item()?.prompts.redo() && ask()),
  };
}

/**
 * What was found by prompts laid over what was found without; worked out once for each of both.
 *
 * @returns {(layers: Layers, size: Size, prompted: Prompted[], value: number) => Layers}
 */
export function overlaid() {
  /** @type {unknown[]} */
  let known = [];
  /** @type {ClassMask | null} */
  let mask = null;
  return (layers, size, prompted, value) => {
    const cut = layers.threshold === null ? null : layers.probability;
    const now = [layers.mask, cut, cut && layers.threshold, prompted, value];
    if (!mask || now.some((each, at) => each !== known[at])) {
      const below = shownMask(layers) ?? { ...size, data: new Uint8Array(size.width * size.height) };
      mask = painted(below, prompted, value);
      known = now;
    }
    return { ...layers, mask, threshold: null };
  };
}
