/** Run lengths, grey PNG, zip: against known bytes, and there and back. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 as reference, deflateSync, inflateSync } from "node:zlib";

import { decodeGrey } from "../../src/penumbra/web/canvas/png.js";
import { encodeGrey } from "../../src/penumbra/web/canvas/png_write.js";
import { compress, decode, decompress, encode, paint } from "../../src/penumbra/web/canvas/rle.js";
import { crc32, zip } from "../../src/penumbra/web/canvas/zip.js";

/** Numbers that are the same in every run. */
function numbers(seed) {
  let state = seed >>> 0;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

test("the COCO tools' strings", () => {
  assert.equal(compress([3, 2, 1, 40]), "321V1");
  assert.deepEqual(decompress("321V1"), [3, 2, 1, 40]);
  assert.equal(encode({ width: 2, height: 2, data: Uint8Array.of(0, 1, 1, 1) }).counts, "13");
});

test("masks come back as they were", () => {
  const draw = numbers(7);
  for (let round = 0; round < 60; round += 1) {
    const [width, height] = [1 + draw(23), 1 + draw(17)];
    const rare = 1 + draw(9);
    const data = Uint8Array.from({ length: width * height }, () => Number(draw(rare) === 0));
    const mask = { width, height, data };
    assert.deepEqual(decode([{ rle: encode(mask), value: 1 }], width, height), mask);
  }
});

test("runs longer than 32 bits of a shift survive", () => {
  const counts = [2 ** 31, 5, 2 ** 32 - 1, 2 ** 31 + 9];
  assert.deepEqual(decompress(compress(counts)), counts);
});

test("a crop is painted where it lies, and counts its pixels", () => {
  const mask = { width: 4, height: 3, data: new Uint8Array(12) };
  assert.equal(paint({ size: [2, 2], counts: [1, 3] }, mask, { value: 7, x: 2, y: 1 }), 3);
  assert.deepEqual([...mask.data], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 7]);
});

test("run lengths that fit nowhere are refused", () => {
  const mask = { width: 4, height: 3, data: new Uint8Array(12) };
  assert.throws(() => paint({ size: [2, 2], counts: [1, 4] }, mask), /Expected run lengths of 4 pixels, but got 5/);
  assert.throws(() => paint({ size: [2, 2], counts: [-1, 5] }, mask), /Expected run lengths/);
  assert.throws(() => paint({ size: [3, 4], counts: "<" }, mask, { x: 1 }), /inside its image/);
  assert.throws(() => decompress("\u007f"), /Expected characters/);
  assert.throws(() => decompress("ooo"), /Expected characters/);
});

/** A PNG written here, row by row with the filter that is asked for. */
function written(width, height, bytes, depth, filters) {
  const [step, stride] = [depth / 8, (width * depth) / 8];
  const raw = Buffer.alloc((stride + 1) * height);
  for (let row = 0; row < height; row += 1) {
    const kind = filters[row % filters.length];
    raw[row * (stride + 1)] = kind;
    for (let at = 0; at < stride; at += 1) {
      const left = at >= step ? bytes[row * stride + at - step] : 0;
      const up = row ? bytes[(row - 1) * stride + at] : 0;
      const corner = row && at >= step ? bytes[(row - 1) * stride + at - step] : 0;
      const guess = left + up - corner;
      const near = [left, up, corner].reduce((best, one) => (Math.abs(guess - one) < Math.abs(guess - best) ? one : best));
      const taken = [0, left, up, Math.floor((left + up) / 2), near][kind];
      raw[row * (stride + 1) + 1 + at] = bytes[row * stride + at] - taken;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = depth;
  const packed = deflateSync(raw);
  // Two parts of data, as large files have.
  const parts = [["IHDR", header], ["IDAT", packed.subarray(0, 5)], ["IDAT", packed.subarray(5)], ["IEND", Buffer.alloc(0)]];
  const chunks = parts.map(([kind, body]) => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    return Buffer.concat([head, Buffer.from(kind), body, Buffer.alloc(4)]);
  });
  const all = Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), ...chunks]);
  return all.buffer.slice(all.byteOffset, all.byteOffset + all.length);
}

test("grey PNG of 8 and 16 bits gives the levels that are in it, under every filter", async () => {
  const draw = numbers(3);
  for (const depth of [8, 16]) {
    for (const filters of [[0], [1], [2], [3], [4], [0, 1, 2, 3, 4]]) {
      const [width, height] = [1 + draw(30), 1 + draw(20)];
      const bytes = Buffer.from(Array.from({ length: (width * height * depth) / 8 }, () => draw(256)));
      const found = await decodeGrey(written(width, height, bytes, depth, filters));
      const wanted = depth === 8 ? [...bytes] : Array.from({ length: width * height }, (_, at) => bytes.readUInt16BE(at * 2));
      assert.deepEqual([found.width, found.height, [...found.data]], [width, height, wanted]);
    }
  }
});

test("what is no grey PNG is refused", async () => {
  const good = new Uint8Array(written(4, 4, Buffer.alloc(16), 8, [0]));
  await assert.rejects(decodeGrey(new ArrayBuffer(3)), /Expected a map to be a PNG/);
  const coloured = good.slice();
  coloured[25] = 2;
  await assert.rejects(decodeGrey(coloured.buffer), /grey PNG/);
  await assert.rejects(decodeGrey(good.slice(0, 40).buffer), /whole PNG/);
  const huge = good.slice();
  huge.set([0, 255, 0, 0], 16);
  huge.set([0, 255, 0, 0], 20);
  await assert.rejects(decodeGrey(huge.buffer), /at most/);
});

test("a written mask is read again", async () => {
  const mask = { width: 3, height: 2, data: Uint8Array.of(0, 1, 2, 255, 0, 7) };
  const bytes = await encodeGrey(mask);
  assert.deepEqual(await decodeGrey(bytes.buffer), mask);
  assert.ok(inflateSync(bytes.subarray(41, bytes.length - 16)).length === 8);
});

test("a zip holds its files where its directory says", async () => {
  const files = { "a.txt": new TextEncoder().encode("amber"), "maps/é.bin": Uint8Array.of(0, 255, 3) };
  const bytes = Buffer.from(await zip(files).arrayBuffer());
  const end = bytes.length - 22;
  assert.equal(bytes.readUInt32LE(end), 0x06054b50);
  assert.equal(bytes.readUInt16LE(end + 10), 2);
  let at = bytes.readUInt32LE(end + 16);
  for (const [name, content] of Object.entries(files)) {
    const length = bytes.readUInt16LE(at + 28);
    assert.equal(bytes.subarray(at + 46, at + 46 + length).toString(), name);
    assert.equal(bytes.readUInt32LE(at + 16), crc32(content));
    const local = bytes.readUInt32LE(at + 42);
    const start = local + 30 + bytes.readUInt16LE(local + 26);
    assert.deepEqual(new Uint8Array(bytes.subarray(start, start + content.length)), content);
    at += 46 + length;
  }
  assert.equal(at, end);
});

test("the checksum is the known one", () => {
  const known = new TextEncoder().encode("123456789");
  assert.equal(crc32(known), 0xcbf43926);
  if (reference) assert.equal(crc32(known), reference(known));
});
