/** Beside the page: a grey PNG to its levels, and how many pixels have at least each of them. */

import { countsOf } from "../canvas/layers.js";
import { decodeGrey } from "../canvas/png.js";

/** @param {MessageEvent<{id: number, bytes: ArrayBuffer}>} event */
async function decode({ data: { id, bytes } }) {
  try {
    const grey = await decodeGrey(bytes);
    const counts = countsOf(grey.data, grey.data instanceof Uint8Array ? 255 : 65535);
    self.postMessage({ id, grey, counts }, { transfer: [grey.data.buffer, counts.buffer] });
  } catch (error) {
    self.postMessage({ id, wrong: error instanceof Error ? error.message : String(error) });
  }
}

self.addEventListener("message", (event) => void decode(event));
