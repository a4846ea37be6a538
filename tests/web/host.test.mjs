// What draws the canvas within Streamlit, where pages run again while the last one is still drawn.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { deflateSync } from "node:zlib";

import { hostOf } from "../../src/penumbra/serving/ui/canvas_host.js";

class Part {
  constructor(name) {
    Object.assign(this, { name, children: [], style: {}, dataset: {}, attributes: {}, heard: {}, parent: null });
  }
  append(...parts) {
    for (const part of parts) if (part instanceof Part) part.parent = this;
    this.children.push(...parts);
  }
  remove() {
    this.parent?.children.splice(this.parent.children.indexOf(this), 1);
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  addEventListener(name, hear) {
    this.heard[name] = hear;
  }
  find(wanted) {
    const all = this.children.filter((one) => one instanceof Part);
    return [...all.filter(wanted), ...all.flatMap((one) => one.find(wanted))];
  }
}

let log, decoding, begun, bitmaps, parent, host, canvases;

/** A canvas that refuses layers of another size than its image's, as the real one does. */
function mountCanvas() {
  let size = null;
  const held = { canvas: null, destroyed: false };
  const checked = (layer) => {
    if (layer && layer.width !== size?.width) throw new RangeError(`a layer of ${layer.width} over ${size?.width}`);
    return layer?.data[0] ?? null;
  };
  canvases.push(held);
  return {
    onCursor: (hear) => (held.cursor = hear),
    fit() {},
    setOpacity() {},
    hideOverlays() {},
    setThreshold: (value) => log.push(["threshold", value]),
    destroy: () => (held.destroyed = true),
    async setImage(bitmap) {
      assert.equal(bitmap.closed, false);
      if (bitmap.broken) throw new RangeError("too large");
      size = bitmap;
      log.push(["image", bitmap.name]);
    },
    setMask: (mask) => log.push(["mask", checked(mask)]),
    setHeat: (heat, map) => log.push(["heat", checked(heat), map]),
    setProbability: (field) => log.push(["probability", checked(field)]),
  };
}

globalThis.document = { createElement: (name) => new Part(name) };
/** What is read of an image is what `decoding` holds for it, once it lets go. */
globalThis.createImageBitmap = async (file) => {
  const name = await file.text();
  begun.push(name);
  const { wait, ...facts } = { width: 4, ...decoding[name] };
  await wait;
  const bitmap = { name, closed: false, close: () => (bitmap.closed = true), ...facts };
  bitmaps.push(bitmap);
  return bitmap;
};

beforeEach(() => {
  [log, decoding, begun, bitmaps, canvases] = [[], {}, [], [], []];
  parent = new Part("div");
  host = hostOf(Promise.resolve({ mountCanvas }));
});

const plane = (value, width = 4) => ({
  id: `${value} of ${width}`, width, height: 1, data: deflateSync(Buffer.alloc(width, value)).toString("base64"),
});
const heat = (value, width) => ({ ...plane(value, width), scale: [0, 1], label: "", unit: "nat", map: "doubt", own: false });
const message = (image, parts = {}) => ({
  height: 9, image: { id: image, png: btoa(image) }, mask: plane(1), palette: [[0, 0, 0]], classes: ["none", "nerve"],
  heat: heat(2), probability: plane(3), threshold: 0.5, ...parts,
});
const show = (data) => host({ parentElement: parent, data });
const alerts = () => parent.find((one) => one.attributes.role === "alert").map((one) => one.textContent);
const slider = () => parent.find((one) => one.name === "label" && one.children[0] === "Threshold")[0];
const ready = () => parent.find((one) => one.dataset.ready)[0]?.dataset.ready;

/** Wait until something holds; decompression takes as long as it takes. */
async function until(holds) {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `waited in vain; ${JSON.stringify(log)}, ${alerts()}`);
    await new Promise((done) => setTimeout(done, 1));
  }
}
const drawn = (mark) => until(() => JSON.stringify(log).includes(JSON.stringify(mark)));
function held() {
  let free;
  const wait = new Promise((done) => (free = done));
  return { wait, free };
}

test("everything that is asked for is drawn, the image first", async () => {
  show(message("A"));
  await drawn(["threshold", null]);
  assert.deepEqual(log, [["image", "A"], ["mask", 1], ["heat", 2, "doubt"], ["probability", 3], ["threshold", null]]);
  await until(ready);
  assert.equal(canvases.length, 1);
});

test("what does not change is not drawn again", async () => {
  show(message("A"));
  await drawn(["threshold", null]);
  log.length = 0;
  show(message("A", { heat: heat(7) }));
  await drawn(["heat", 7, "doubt"]);
  assert.deepEqual(log, [["heat", 7, "doubt"]]);
  assert.equal(bitmaps.length, 1);
});

test("a page that runs again while its image is read loses no mask", async () => {
  show(message("A"));
  await drawn(["threshold", null]);
  log.length = 0;
  const { wait, free } = held();
  decoding["B"] = { width: 6, wait };
  const wide = (value) => ({ mask: plane(4, 6), heat: heat(value, 6), probability: plane(5, 6) });
  show(message("B", wide(6)));
  show(message("B", wide(7)));
  free();
  await drawn(["probability", 5]);
  assert.deepEqual(log.slice(0, 4), [["image", "B"], ["mask", 4], ["heat", 7, "doubt"], ["probability", 5]]);
  assert.deepEqual(alerts(), []);
});

test("an older image that is read late is not drawn over a newer one", async () => {
  const { wait, free } = held();
  decoding["old"] = { wait };
  show(message("old"));
  show(message("new"));
  free();
  await drawn(["image", "new"]);
  assert.ok(!log.some(([, name]) => name === "old"));
});

test("of many that wait the newest alone is drawn", async () => {
  const { wait, free } = held();
  decoding["0"] = { wait };
  for (let number = 0; number < 6; number += 1) show(message(String(number)));
  free();
  await drawn(["image", "5"]);
  await until(ready);
  assert.deepEqual(log.filter(([what]) => what === "image"), [["image", "5"]]);
});

test("what could not be drawn is said, tried again, and taken back once it is drawn", async () => {
  decoding["A"] = { broken: true };
  show(message("A"));
  await until(() => alerts().length);
  assert.match(alerts()[0], /could not be drawn: too large/);
  assert.equal(ready(), undefined);
  show(message("A", { heat: heat(8) }));
  await until(() => bitmaps.length === 2 && bitmaps.every((one) => one.closed));
  delete decoding["A"];
  show(message("A"));
  await drawn(["mask", 1]);
  await until(() => !alerts().length);
});

test("a layer that is refused is drawn the next time", async () => {
  show(message("A", { mask: plane(1, 5) }));
  await until(() => alerts().length);
  log.length = 0;
  show(message("A", { mask: plane(1) }));
  await drawn(["mask", 1]);
  assert.deepEqual(log.map(([what]) => what), ["mask", "heat", "probability", "threshold"]);
  await until(() => !alerts().length);
});

test("only the image that is shown is held", async () => {
  for (const name of ["A", "B", "C"]) {
    show(message(name));
    await drawn(["image", name]);
  }
  await until(() => bitmaps.filter((one) => !one.closed).length === 1);
  assert.equal(bitmaps.find((one) => !one.closed).name, "C");
});

test("a moved threshold stays until the answer's is another", async () => {
  show(message("A"));
  await drawn(["threshold", null]);
  const input = slider().children[1];
  input.value = "0.8";
  input.heard.input();
  assert.deepEqual(log.at(-1), ["threshold", 0.8]);
  log.length = 0;
  show(message("A", { heat: heat(9) }));
  await drawn(["heat", 9, "doubt"]);
  assert.equal(input.value, "0.8");
  show(message("A", { heat: heat(9), threshold: 0.6 }));
  await drawn(["threshold", null]);
  assert.equal(input.value, "0.6");
});

test("without a map that the mask is cut from there is no slider", async () => {
  show(message("A"));
  await until(ready);
  assert.equal(slider().hidden, false);
  show(message("A", { probability: null, threshold: null }));
  await drawn(["probability", null]);
  assert.equal(slider().hidden, true);
  assert.deepEqual(log.at(-1), ["threshold", null]);
});

test("a canvas that is gone draws nothing and leaves nothing", async () => {
  const end = show(message("A"));
  await until(ready);
  const { wait, free } = held();
  decoding["B"] = { wait };
  show(message("B"));
  await until(() => begun.includes("B"));
  end();
  free();
  await until(() => bitmaps.length === 2 && bitmaps.every((one) => one.closed));
  assert.equal(canvases[0].destroyed, true);
  assert.deepEqual(parent.children, []);
  show(message("C"));
  await drawn(["image", "C"]);
  assert.equal(canvases.length, 2);
});

test("a canvas that cannot be loaded is said", async () => {
  host = hostOf(Promise.reject(new Error("no module")));
  show(message("A"));
  await until(() => alerts().length);
  assert.match(alerts()[0], /no module/);
});

test("what lies under the pointer is said in words", async () => {
  show(message("A"));
  await until(ready);
  canvases[0].cursor({ x: 2, y: 0, label: 1, value: 0.12345 });
  const under = parent.find((one) => one.className === "under")[0];
  assert.equal(under.textContent, "2, 0 · nerve · 0.123 nat");
  canvases[0].cursor(null);
  assert.equal(under.textContent, "");
});
