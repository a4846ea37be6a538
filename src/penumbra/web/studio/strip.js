/**
 * The film strip: the images that were opened, and what is known of each.
 *
 * @import { Result } from "./answers.js"
 * @import { Prompted } from "./prompting.js"
 *
 * @typedef {object} Item
 * @property {string} name
 * @property {File} file
 * @property {ImageBitmap | null} bitmap null: the browser cannot read the file; the server shows it.
 * @property {boolean} asks Whether the server has to show the image.
 * @property {Map<string, Result>} results By what they depend on.
 * @property {ReturnType<typeof history>} prompts
 * @property {Prompted[]} prompted
 * @property {number | null} doubt Mean entropy of the last result.
 * @property {HTMLElement} element
 */

import { made, part } from "./dom.js";
import { history } from "./prompting.js";

const WIDTH = 172;
const HEIGHT = 128;

/** @param {(item: Item) => void} choose */
export function filmStrip(choose) {
  const strip = part("strip", HTMLDivElement);
  /** @type {Item[]} */
  const items = [];
  /** @type {Item | null} */
  let current = null;

  strip.addEventListener("keydown", (event) => {
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
      const element = made("div", { class: "thumb", role: "option", "aria-selected": "false", title: file.name }, picture, made("span", {}, file.name));
      element.id = `image-${items.length + 1}`;
      /** @type {Item} */
      const item = { name: file.name, file, bitmap, asks: bitmap === null, results: new Map(), prompts: history(), prompted: [], doubt: null, element };
      element.addEventListener("click", () => choose(item));
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
    /**
     * @param {Item} item
     * @param {ImageBitmap} bitmap As the server shows it.
     */
    picture(item, bitmap) {
      item.bitmap = bitmap;
      const canvas = item.element.querySelector("canvas");
      if (canvas) thumb(canvas, bitmap);
    },
    /** @param {Item} item @param {boolean} failed */
    failed(item, failed) {
      item.element.dataset["failed"] = String(failed);
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
