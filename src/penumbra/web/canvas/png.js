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
    const line = out.subarray(to, to + stride);
    line.set(raw.subarray(from, from + stride));
    const above = row ? out.subarray(to - stride, to) : new Uint8Array(stride);
    if (kind === 1) leftOf(line, step);
    else if (kind === 2) for (let at = 0; at < stride; at += 1) line[at] = byte(line, at) + byte(above, at);
    else if (kind > 2) mixed(line, above, step, kind === 3 ? mean : nearest);
  }
  return out;
}

/**
 * @param {Uint8Array} line
 * @param {number} at
 */
function byte(line, at) {
  return /** @type {number} */ (line[at]);
}

/**
 * @param {Uint8Array} line
 * @param {number} step
 */
function leftOf(line, step) {
  for (let at = step; at < line.length; at += 1) line[at] = byte(line, at) + byte(line, at - step);
}

/**
 * @param {Uint8Array} line
 * @param {Uint8Array} above
 * @param {number} step
 * @param {(left: number, up: number, corner: number) => number} predicted
 */
function mixed(line, above, step, predicted) {
  for (let at = 0; at < step; at += 1) line[at] = byte(line, at) + predicted(0, byte(above, at), 0);
  for (let at = step; at < line.length; at += 1) {
    line[at] = byte(line, at) + predicted(byte(line, at - step), byte(above, at), byte(above, at - step));
  }
}

/**
 * @param {number} left
 * @param {number} up
 */
function mean(left, up) {
  return (left + up) >> 1;
}

/**
 * Paeth's.
 *
 * @param {number} left
 * @param {number} up
 * @param {number} corner
 */
function nearest(left, up, corner) {
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
