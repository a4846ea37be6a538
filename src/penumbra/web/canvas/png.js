/**
 * Grey PNG of 8 or 16 bits as the levels that it holds. A browser's own decoder gives 8 bits and
 * may correct colours; a map of doubt needs its numbers as they are.
 *
 * @typedef {{width: number, height: number, data: Uint8Array | Uint16Array}} Grey
 */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST_PIXELS = 100_000_000;

/**
 * @param {ArrayBuffer} buffer
 * @returns {Promise<Grey>}
 */
export async function decodeGrey(buffer) {
  const bytes = new Uint8Array(buffer);
  if (SIGNATURE.some((code, index) => bytes[index] !== code)) throw bad("a PNG");
  const { header, parts } = chunks(bytes, new DataView(buffer));
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  const depth = header.getUint8(8);
  const plain = header.getUint8(9) === 0 && header.getUint8(12) === 0;
  if (!plain || (depth !== 8 && depth !== 16)) throw bad("a grey PNG of 8 or 16 bits");
  if (width * height > MOST_PIXELS) throw bad(`at most ${MOST_PIXELS} pixels`);
  const raw = await inflate(parts, (1 + (width * depth) / 8) * height);
  const data = unfilter(raw, height, (width * depth) / 8, depth / 8);
  return { width, height, data: depth === 8 ? data : swapped(data) };
}

/**
 * @param {Uint8Array} bytes
 * @param {DataView} view
 */
function chunks(bytes, view) {
  /** @type {DataView | null} */
  let header = null;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) break;
    if (kind === "IHDR" && length >= 13) header = new DataView(view.buffer, at + 8, length);
    if (kind === "IDAT") parts.push(bytes.slice(at + 8, at + 8 + length));
    if (kind === "IEND") break;
    at += 12 + length;
  }
  if (!header || !parts.length) throw bad("a whole PNG");
  return { header, parts };
}

/**
 * @param {Uint8Array<ArrayBuffer>[]} parts
 * @param {number} size How many bytes must come out; reading stops there.
 */
async function inflate(parts, size) {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const raw = new Uint8Array(size);
  let filled = 0;
  while (filled < size) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = value.subarray(0, size - filled);
    raw.set(piece, filled);
    filled += piece.length;
  }
  await reader.cancel();
  if (filled < size) throw bad("a whole PNG");
  return raw;
}

/**
 * @param {Uint8Array} raw Rows, each after a byte that names its filter.
 * @param {number} height
 * @param {number} stride Bytes of a row.
 * @param {number} step Bytes of a pixel.
 */
function unfilter(raw, height, stride, step) {
  const out = new Uint8Array(stride * height);
  for (let row = 0; row < height; row += 1) {
    const from = row * (stride + 1) + 1;
    const to = row * stride;
    const kind = raw[from - 1] ?? 0;
    if (kind > 4) throw bad("a PNG with known filters");
    for (let at = 0; at < stride; at += 1) {
      const left = at >= step ? (out[to + at - step] ?? 0) : 0;
      const up = row ? (out[to + at - stride] ?? 0) : 0;
      const corner = row && at >= step ? (out[to + at - stride - step] ?? 0) : 0;
      out[to + at] = (raw[from + at] ?? 0) + predicted(kind, left, up, corner);
    }
  }
  return out;
}

/**
 * @param {number} kind
 * @param {number} left
 * @param {number} up
 * @param {number} corner
 */
function predicted(kind, left, up, corner) {
  if (kind === 0) return 0;
  if (kind === 1) return left;
  if (kind === 2) return up;
  if (kind === 3) return (left + up) >> 1;
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** @param {Uint8Array} bytes High byte first, as PNG has it. */
function swapped(bytes) {
  const out = new Uint16Array(bytes.length / 2);
  for (let at = 0; at < out.length; at += 1) {
    out[at] = ((bytes[at * 2] ?? 0) << 8) | (bytes[at * 2 + 1] ?? 0);
  }
  return out;
}

/** @param {string} toBe */
function bad(toBe) {
  return new RangeError(`Expected a map to be ${toBe}, but got other bytes. Try asking the server again.`);
}
