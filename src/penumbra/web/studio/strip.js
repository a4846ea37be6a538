/**
 * The film strip: the images that were opened, and what is known of each.
 *
 * @import { Prompts, Size } from "../canvas/types.js"
 * @import { Prompted } from "./prompting.js"
 *
 * @typedef {object} Item
 * @property {string} name
 * @property {File} file
 * @property {Blob | null} source What the browser reads: the file, or the server's picture of it; null:
 *   it cannot read the file, and the server has not shown it yet.
 * @property {Size | null} size Of what the browser reads.
 * @property {ImageBitmap | null} bitmap Decoded, and not on the canvas yet.
 * @property {boolean} asks Whether the server has to show the image.
 * @property {ReturnType<typeof history>} prompts
 * @property {Prompted[]} prompted
 * @property {{model: string, prompts: Prompts, answer: object} | null} answered What `prompted` comes from.
 * @property {number | null} doubt Mean entropy of the last result.
 * @property {HTMLElement} element
 */

import { made, part } from "./dom.js";
import { history } from "./prompting.js";

const WIDTH = 172;
const HEIGHT = 128;

/**
 * @param {(item: Item) => void} choose
 * @param {(item: Item) => void} remove
 */
export function filmStrip(choose, remove) {
  const strip = part("strip", HTMLDivElement);
  /** @type {Item[]} */
  const items = [];
  /** @type {Item | null} */
  let current = null;
  let count = 0;

  strip.addEventListener("keydown", (event) => {
    if (event.key === "Delete" && current) {
      event.preventDefault();
      // The page's own key of that name clears prompts.
      event.stopPropagation();
      return remove(current);
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = step && current ? items[items.indexOf(current) + step] : undefined;
    if (!next) return;
    event.preventDefault();
    choose(next);
  });

  return {
    items,
    /**
     * @param {File} file
     * @returns {Promise<Item>}
     */
    async add(file) {
      const bitmap = await createImageBitmap(file).catch(() => null);
      const picture = made("canvas", { "aria-hidden": "true" });
      Object.assign(picture, { width: WIDTH, height: HEIGHT });
      if (bitmap) thumb(picture, bitmap);
      // For pointers; the key is Delete.
      const away = made("button", { type: "button", class: "away", tabindex: "-1", "aria-hidden": "true", "aria-label": `Remove ${file.name}` }, "Remove");
      const element = made("div", { class: "thumb", role: "option", "aria-selected": "false", title: file.name }, picture, made("span", {}, file.name), away);
      element.id = `image-${(count += 1)}`;
      const known = { source: bitmap && file, size: bitmap && sizeOf(bitmap), bitmap, asks: bitmap === null };
      /** @type {Item} */
      const item = { name: file.name, file, ...known, prompts: history(), prompted: [], answered: null, doubt: null, element };
      element.addEventListener("click", () => choose(item));
      away.addEventListener("click", (event) => {
        event.stopPropagation();
        remove(item);
      });
      items.push(item);
      strip.append(element);
      return item;
    },
    /** @param {Item} item */
    mark(item) {
      current = item;
      for (const each of items) each.element.setAttribute("aria-selected", String(each === item));
      strip.setAttribute("aria-activedescendant", item.element.id);
      item.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    },
    /** @param {Item} item @returns {Item | null} The one beside it. */
    remove(item) {
      const at = items.indexOf(item);
      items.splice(at, 1);
      item.element.remove();
      if (current === item) {
        current = null;
        strip.removeAttribute("aria-activedescendant");
      }
      return items[at] ?? items[at - 1] ?? null;
    },
    /**
     * @param {Item} item
     * @param {ImageBitmap} bitmap As the server shows it.
     */
    picture(item, bitmap) {
      item.bitmap = bitmap;
      item.size = sizeOf(bitmap);
      const canvas = item.element.querySelector("canvas");
      if (canvas) thumb(canvas, bitmap);
    },
    /** @param {Item} item @param {boolean} failed */
    failed(item, failed) {
      item.element.dataset["failed"] = String(failed);
      const words = item.element.querySelector("span");
      if (words) words.textContent = failed ? `Not read: ${item.name}` : item.name;
      item.element.title = words?.textContent ?? item.name;
    },
    /** The image with the most doubt after this one; without numbers, the one to the right. */
    next() {
      return nextByDoubt(items, current);
    },
  };
}

/**
 * The next image in order of falling doubt; those without a number come last, as they were opened.
 *
 * @template {{doubt: number | null}} Kind
 * @param {Kind[]} items
 * @param {Kind | null} current
 * @returns {Kind | undefined}
 */
export function nextByDoubt(items, current) {
  const order = [...items].sort((a, b) => (b.doubt ?? -1) - (a.doubt ?? -1));
  return order[(current ? order.indexOf(current) + 1 : 0) % Math.max(order.length, 1)];
}

/** @param {ImageBitmap} bitmap */
function sizeOf({ width, height }) {
  return { width, height };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} bitmap Cut to the thumb's shape about its middle.
 */
function thumb(canvas, bitmap) {
  const scale = Math.max(WIDTH / bitmap.width, HEIGHT / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const pen = canvas.getContext("2d");
  if (pen) pen.imageSmoothingQuality = "high";
  pen?.drawImage(bitmap, (WIDTH - width) / 2, (HEIGHT - height) / 2, width, height);
}
