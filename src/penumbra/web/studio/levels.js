/**
 * Maps are decoded beside the page, so that no slider waits for one; where a browser starts no
 * worker, in the page itself.
 *
 * @import { Grey } from "../canvas/png.js"
 *
 * @typedef {object} Wanted
 * @property {ArrayBuffer} bytes
 * @property {(grey: Grey | Promise<Grey>) => void} done
 * @property {(why: Error) => void} failed
 */

import { takeCounts } from "../canvas/layers.js";
import { decodeGrey } from "../canvas/png.js";

/** @type {Map<number, Wanted>} */
const wanted = new Map();
/** @type {Worker | null | undefined} null: there is none here. */
let worker = undefined;
let count = 0;

/**
 * @param {ArrayBuffer} bytes A grey PNG; it stays as it is.
 * @returns {Promise<Grey>}
 */
export function greyOf(bytes) {
  if (worker === undefined) worker = started();
  const beside = worker;
  if (!beside) return decodeGrey(bytes);
  return new Promise((done, failed) => {
    const id = (count += 1);
    wanted.set(id, { bytes, done, failed });
    beside.postMessage({ id, bytes });
  });
}

function started() {
  if (typeof Worker === "undefined") return null;
  const made = new Worker(new URL("./levels_worker.js", import.meta.url), { type: "module" });
  made.addEventListener("message", ({ data: { id, grey, counts, wrong } }) => {
    const asked = wanted.get(id);
    wanted.delete(id);
    if (!grey) return asked?.failed(new RangeError(wrong));
    takeCounts(grey.data, counts);
    asked?.done(grey);
  });
  made.addEventListener("error", () => {
    worker = null;
    for (const { bytes, done } of wanted.values()) done(decodeGrey(bytes));
    wanted.clear();
  });
  return made;
}
