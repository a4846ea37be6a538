/**
 * Everything about an image as one zip: the file, the mask as shown, the maps as the server sent
 * them, and the answer with which it can be had again bit for bit.
 *
 * @import { ClassMask } from "../canvas/types.js"
 * @import { Result } from "./answers.js"
 * @import { Settings } from "./settings.js"
 */

import { encodeGrey } from "../canvas/png_write.js";
import { zip } from "../canvas/zip.js";
import { stem } from "./words.js";

/**
 * @param {File} file
 * @param {Result | null} result
 * @param {ClassMask} mask
 * @param {Settings} settings
 */
export async function packed(file, result, mask, settings) {
  /** @type {Record<string, Uint8Array<ArrayBuffer>>} */
  const files = {};
  files[file.name] = new Uint8Array(await file.arrayBuffer());
  files["mask.png"] = await encodeGrey(mask);
  for (const [name, bytes] of Object.entries(result?.files ?? {})) files[`maps/${name}`] = new Uint8Array(bytes);
  const facts = { settings, answer: result?.answer ?? null };
  files["answer.json"] = new TextEncoder().encode(`${JSON.stringify(facts, null, 2)}\n`);
  return { name: `${stem(file.name)}_penumbra.zip`, blob: zip(files) };
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
