/**
 * Everything about an image as one zip: the file, the mask as shown, the maps as the server sent
 * them, and the answers and prompts with which it can be had again bit for bit.
 *
 * @import { ClassMask } from "../canvas/types.js"
 * @import { Result } from "./answers.js"
 * @import { Settings } from "./settings.js"
 * @import { Item } from "./strip.js"
 */

import { encodeGrey } from "../canvas/png_write.js";
import { zip } from "../canvas/zip.js";
import { stem } from "./words.js";

const OWN = ["mask.png", "answer.json", "maps"];

/**
 * @param {Pick<Item, "file" | "answered">} item
 * @param {Result | null} result
 * @param {ClassMask} mask
 * @param {Settings} settings
 */
export async function packed({ file, answered }, result, mask, settings) {
  /** @type {Record<string, Uint8Array<ArrayBuffer>>} */
  const files = {};
  // Not every system tells capital letters apart.
  const taken = OWN.includes(file.name.toLowerCase());
  files[taken ? `image_${file.name}` : file.name] = new Uint8Array(await file.arrayBuffer());
  files["mask.png"] = await encodeGrey(mask);
  for (const [name, bytes] of Object.entries(result?.files ?? {})) files[`maps/${name}`] = new Uint8Array(bytes);
  const facts = { settings: madeWith(settings, result), answer: result?.answer ?? null, prompted: answered };
  files["answer.json"] = new TextEncoder().encode(`${JSON.stringify(facts, null, 2)}\n`);
  return { name: `${stem(file.name)}_penumbra.zip`, blob: zip(files) };
}

/**
 * The settings that give this result: those that it was asked for with, and those that only the
 * page's own drawing follows.
 *
 * @param {Settings} settings
 * @param {Result | null} result
 * @returns {Settings}
 */
function madeWith(settings, result) {
  if (!result?.asked) return settings;
  const { layer, own, compare } = settings;
  return { ...result.asked, threshold: (result.cut ? settings : result.asked).threshold, layer, own, compare };
}

/**
 * @param {string} name
 * @param {Blob} blob
 */
export function save(name, blob) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
