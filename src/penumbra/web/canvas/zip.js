/**
 * Files in one file: a zip that only stores. What goes in is PNG, which is packed already.
 */

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const DOS_EPOCH = 0x21; // 1980-01-01: the same files give the same bytes.
const UTF8 = 0x800;

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 255] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * @param {Record<string, Uint8Array<ArrayBuffer>>} files By name.
 * @returns {Blob}
 */
export function zip(files) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const parts = [];
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const directory = [];
  let offset = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const title = new TextEncoder().encode(name);
    const [crc, size] = [crc32(bytes), bytes.length];
    const shared = [20, UTF8, 0, 0, DOS_EPOCH, [crc], [size], [size], title.length, 0];
    const local = record([[0x04034b50], ...shared]);
    parts.push(local, title, bytes);
    directory.push(record([[0x02014b50], 20, ...shared, 0, 0, 0, [0], [offset]]), title);
    offset += local.length + title.length + size;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const count = directory.length / 2;
  const end = record([[0x06054b50], 0, 0, count, count, [length], [offset], 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/**
 * @param {(number | number[])[]} fields A number is two bytes, one in brackets is four; lowest first.
 */
function record(fields) {
  const bytes = fields.flatMap((field) => {
    const [value = 0, size] = typeof field === "number" ? [field, 2] : [field[0], 4];
    return Array.from({ length: size }, (_, index) => (value >>> (8 * index)) & 255);
  });
  return new Uint8Array(bytes);
}
