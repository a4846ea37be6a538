/** The canvas's logic: colours, views, states, layers. Run by `node --test`. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { classColour, classPalette, contrast, css, rgb, table } from "../../src/penumbra/web/canvas/colour.js";
import { alike, areasAbove, beside, labelAt, leastLevel, meanOf, noLayers, ownWindow, shownMask, toLevels, valueOf } from "../../src/penumbra/web/canvas/layers.js";
import { box, listen } from "../../src/penumbra/web/canvas/gestures.js";
import { ends, overlays } from "../../src/penumbra/web/canvas/overlays.js";
import { figure } from "../../src/penumbra/web/canvas/scale.js";
import { firstState, readState, writeState } from "../../src/penumbra/web/canvas/state.js";
import { bounded, fit, formatView, panned, parseView, toImage, toScreen, zoomAt } from "../../src/penumbra/web/canvas/view.js";

const IMAGE = { width: 580, height: 420 };
const BOX = { width: 900, height: 640 };

test("the first class is teal, and no two of the first forty have one colour", () => {
  assert.deepEqual(classColour(1), rgb("#12A594"));
  assert.deepEqual(classColour(0), [0, 0, 0]);
  assert.equal(new Set(classPalette(41).map(css)).size, 41);
});

test("doubt goes from transparent over amber to white-hot, evenly", () => {
  const heat = table("doubt");
  assert.equal(heat[3], 0);
  assert.deepEqual([...heat.slice(508, 511)].map((value, at) => Math.abs(value - rgb("E89B1C")[at]) < 3), [true, true, true]);
  assert.deepEqual([...heat.slice(-4)], [255, 250, 240, 255]);
  for (let index = 1; index < 256; index += 1) assert.ok(heat[index * 4 + 3] >= heat[index * 4 - 1]);
});

test("viridis begins and ends where it should, and grows lighter all the way", () => {
  const map = table("viridis");
  assert.deepEqual([...map.slice(0, 4)], [0x44, 0x01, 0x54, 255]);
  assert.deepEqual([...map.slice(-4)], [0xfd, 0xe7, 0x25, 255]);
  const light = (index) => contrast([map[index * 4], map[index * 4 + 1], map[index * 4 + 2]], [0, 0, 0]);
  for (let index = 8; index < 256; index += 8) assert.ok(light(index) > light(index - 8));
});

test("every text colour of the page has the contrast that AA asks for, in both themes", () => {
  const sheet = readFileSync(new URL("../../src/penumbra/web/style.css", import.meta.url), "utf8");
  const themes = [...sheet.matchAll(/color-scheme: (light|dark);([^}]*)\}/g)].map((found) =>
    Object.fromEntries([...found[2].matchAll(/--([\w-]+): (#[0-9A-F]{6})/g)].map(([, name, code]) => [name, rgb(code)])),
  );
  assert.equal(themes.length, 3);
  for (const theme of themes) {
    for (const ground of ["paper", "raised", "mat", "wash"]) {
      for (const ink of ["ink", "muted", "wrong"]) {
        assert.ok(contrast(theme[ink], theme[ground]) >= 4.5, `${ink} on ${ground}: ${contrast(theme[ink], theme[ground])}`);
      }
    }
    assert.ok(contrast(theme["on-ink"], theme.ink) >= 4.5);
    assert.ok(contrast(theme.edge, theme.paper) >= 3, "edges of controls");
  }
  assert.deepEqual(themes[1], themes[2]);
});

test("what lies under the pointer stays there while one zooms", () => {
  let view = fit(IMAGE, BOX);
  const at = [300, 500];
  const before = toImage(view, at, BOX);
  for (const factor of [1.3, 1.3, 0.7, 2.5]) view = zoomAt(view, factor, at, IMAGE, BOX);
  const after = toImage(view, at, BOX);
  assert.ok(Math.hypot(before[0] - after[0], before[1] - after[1]) < 1e-9);
});

test("screen to image and back is the same place", () => {
  const view = { zoom: 3.7, x: 41, y: 99 };
  const [x, y] = toScreen(view, toImage(view, [12, 345], BOX), BOX);
  assert.ok(Math.abs(x - 12) < 1e-9 && Math.abs(y - 345) < 1e-9);
});

test("the whole image fits, with a margin", () => {
  const view = fit(IMAGE, BOX);
  const [left, top] = toScreen(view, [0, 0], BOX);
  const [right, bottom] = toScreen(view, [580, 420], BOX);
  assert.ok(left >= 24 && top >= 24 && right <= 876 && bottom <= 616);
  assert.ok(Math.min(left, top) < 25);
});

test("no pan or zoom loses the image", () => {
  let view = panned(fit(IMAGE, BOX), [1e7, -1e7], IMAGE, BOX);
  assert.deepEqual([view.x, view.y], [0, 420]);
  view = bounded({ zoom: 1e9, x: Number.MAX_VALUE, y: 3 }, IMAGE, BOX);
  assert.deepEqual(view, { zoom: 64, x: 580, y: 3 });
});

test("the address keeps the view and every opacity", () => {
  const state = { view: { zoom: 2.5, x: 101.25, y: 7 }, opacity: { image: 1, mask: 0.6, heat: 0, classes: { 2: 0.25, 3: 1 } }, swipe: 0.3 };
  const address = new URLSearchParams();
  writeState(state, address);
  const read = readState(new URLSearchParams(address.toString()));
  assert.deepEqual(read, { ...state, opacity: { ...state.opacity, classes: { 2: 0.25 } } });
  const first = new URLSearchParams();
  writeState(firstState(), first);
  assert.equal(first.toString(), "");
});

test("a broken address changes nothing", () => {
  const broken = new URLSearchParams("view=1,x,3&o-mask=&o-heat=foo&o-classes=a:1,999999:1,,:&swipe=NaN");
  assert.deepEqual(readState(broken), firstState());
  assert.equal(readState(new URLSearchParams("o-mask=7")).opacity.mask, 1);
  assert.equal(parseView("0,1,2"), null);
  assert.deepEqual(parseView(formatView({ zoom: 1 / 3, x: 1, y: 2 })), { zoom: 0.333333, x: 1, y: 2 });
});

const FIELD = { width: 4, height: 1, data: Float32Array.of(0, 0.25, 0.5, 1), scale: [0, 1] };

test("floats become levels that mean the same, and what is no number is no doubt", () => {
  const levels = toLevels({ ...FIELD, data: Float32Array.of(Number.NaN, 0.25, 2, -1) });
  assert.deepEqual([...levels.data], [0, 16384, 65535, 0]);
  assert.ok(Math.abs(valueOf(levels, levels.data[1]) - 0.25) < 1e-5);
  assert.throws(() => toLevels({ ...FIELD, width: 5 }), /Expected a field of 5 values, but got 4/);
});

test("a threshold draws what is at least as probable, and its area is known at once", () => {
  const probability = toLevels(FIELD);
  const layers = { ...noLayers(), mask: { width: 4, height: 1, data: Uint8Array.of(1, 0, 0, 0) }, probability };
  assert.deepEqual([0, 1, 2, 3].map((at) => labelAt(layers, at)), [1, 0, 0, 0]);
  const areas = areasAbove(probability);
  for (const threshold of [0.01, 0.2, 0.25, 0.5, 0.51, 0.99]) {
    const mask = shownMask({ ...layers, threshold });
    const wanted = [...FIELD.data].map((value) => Number(value >= threshold - 1e-5));
    assert.deepEqual([...mask.data], wanted);
    assert.equal(areas[leastLevel(probability, threshold)], wanted.reduce((sum, one) => sum + one, 0));
  }
});

test("stretched colours end at the field's own values", () => {
  const data = new Uint8Array(10_000).fill(40);
  data[7] = 255;
  const levels = toLevels({ width: 100, height: 100, data, scale: [0, 2] });
  assert.deepEqual(ownWindow(levels), [0, 40 / 255]);
  assert.ok(Math.abs(meanOf(levels) - (2 * (40 * 9999 + 255)) / 10_000 / 255) < 1e-9);
});

test("beside each other, one colour means one value", () => {
  const field = (scale, label = "Variance") => toLevels({ width: 2, height: 1, data: Uint8Array.of(0, 255), scale, label });
  const layers = (heat, window = [0, 1]) => ({ ...noLayers(), heat, window });
  const ends = ({ heat, window }) => window.map((share) => valueOf(heat, share * heat.most));
  for (const [one, other, wanted] of [
    [layers(field([0, 0.02])), layers(field([0, 0.08])), [0, 0.08]],
    [layers(field([0, 0.02])), layers(field([0, 0.08]), [0, 0.5]), [0, 0.04]],
    [layers(field([0.1, 0.2])), layers(field([0, 0.15])), [0, 0.2]],
    [layers(field([0, 0])), layers(field([0, 0.5])), [0, 0.5]],
  ]) {
    const pair = beside(one, other);
    assert.ok(alike(one, other));
    for (const [place, low] of wanted.entries()) if (pair[0].heat.scale[1] > 0) assert.ok(Math.abs(ends(pair[0])[place] - low) < 1e-12);
    for (const [place, low] of wanted.entries()) assert.ok(Math.abs(ends(pair[1])[place] - low) < 1e-12);
  }
  const apart = [layers(field([0, 1])), layers(field([0, 2], "Entropy"))];
  assert.equal(alike(...apart), false);
  assert.deepEqual(beside(...apart), apart);
  assert.deepEqual(beside(apart[0], null), [apart[0], null]);
});

test("overlays: fill, glow and a line inside the mask's edge", () => {
  const side = 8;
  const data = new Uint8Array(64);
  for (let row = 2; row < 6; row += 1) data.fill(1, row * side + 2, row * side + 6);
  const scene = {
    width: 80, height: 80, ratio: 1, size: { width: side, height: side }, view: { zoom: 10, x: 4, y: 4 },
    opacity: { image: 1, mask: 0.35, heat: 1, classes: {} }, palette: classPalette(2), overlays: true, other: null, swipe: 1,
  };
  const picture = { data: new Uint8ClampedArray(80 * 80 * 4) };
  overlays().compose(picture, scene, { ...noLayers(), mask: { width: side, height: side, data } }, 0, 80);
  const at = (x, y) => [...picture.data.slice((y * 80 + x) * 4, (y * 80 + x) * 4 + 4)];
  assert.deepEqual(at(5, 5), [0, 0, 0, 0]);
  assert.deepEqual(at(40, 40), [0x12, 0xa5, 0x94, 89]);
  assert.deepEqual(at(20, 40), [0x12, 0xa5, 0x94, 255]);
  assert.deepEqual(at(19, 40), [0, 0, 0, 0]);
  scene.opacity.classes[1] = 0;
  picture.data.fill(0);
  overlays().compose(picture, scene, { ...noLayers(), mask: { width: side, height: side, data } }, 0, 80);
  assert.ok(picture.data.every((value) => value === 0));
});

test("the image ends where its overlays end, at whole screen pixels", () => {
  for (const zoom of [0.37, 1, 1.5, 2.2109, 7.3]) {
    const [left, right] = ends(900, 127.3, zoom, 256);
    const inside = (pixel) => {
      const place = 127.3 + (pixel + 0.5 - 450) / zoom;
      return place >= 0 && place < 256;
    };
    assert.deepEqual([left - 1, left, right - 1, right].map(inside), [false, true, true, false]);
  }
});

test("a box has its smaller corner first, whichever way it is drawn", () => {
  assert.deepEqual(box([9, 2], [3, 7]), [3, 2, 9, 7]);
});

/** What hands do, told to an element that is none. */
function touched({ tool = "move" } = {}) {
  globalThis.Element ??= class {};
  for (const name of ["HTMLInputElement", "HTMLTextAreaElement", "HTMLSelectElement"]) globalThis[name] ??= class {};
  globalThis.window ??= new EventTarget();
  const heard = {};
  const element = {
    clientWidth: 400, clientHeight: 300,
    addEventListener: (name, act) => (heard[name] = act),
    getBoundingClientRect: () => ({ left: 0, top: 0 }),
    focus() {}, setPointerCapture() {},
  };
  let view = { zoom: 1, x: 100, y: 100 };
  const size = { width: 400, height: 300 };
  const seen = { prompts: [], drafts: [], corner: null, words: "" };
  const image = { width: 200, height: 200 };
  listen(element, { addEventListener: (name, act) => (heard[name] = act) }, {
    tool: () => tool,
    pan: (by) => (view = panned(view, by, image, size)),
    zoom: (factor, at) => (view = zoomAt(view, factor, at, image, size)),
    toImage: (at) => toImage(view, at, size),
    draft: (next) => seen.drafts.push(next),
    prompt: (prompt) => seen.prompts.push(prompt),
    corner: () => seen.corner,
    begin: (corner, words) => Object.assign(seen, { corner, words }),
    fit() {}, hide() {}, hover() {}, moving() {},
  });
  const finger = (name, id, x, y) => heard[name]({ pointerId: id, clientX: x, clientY: y, button: 0, preventDefault() {} });
  const key = (name) => heard.keydown({ key: name, code: name, target: element, composedPath: () => [element], preventDefault() {} });
  return { finger, key, seen, now: () => view, under: (at) => toImage(view, at, size) };
}

test("two fingers hold two places of the image", () => {
  const { finger, now, under } = touched();
  finger("pointerdown", 1, 150, 150);
  finger("pointerdown", 2, 250, 150);
  const held = [under([150, 150]), under([250, 150])];
  for (let step = 1; step <= 50; step += 1) {
    finger("pointermove", 1, 150 - step, 150 + step / 5);
    finger("pointermove", 2, 250 + step, 150 + step / 5);
  }
  assert.ok(Math.abs(now().zoom - 2) < 0.05, `twice as far apart: ${now().zoom}`);
  for (const [place, at] of [[100, 160], [300, 160]].entries()) {
    assert.ok(Math.hypot(under(at)[0] - held[place][0], under(at)[1] - held[place][1]) < 1);
  }
});

test("what one finger began, the second gives up; the last one does nothing more", () => {
  const { finger, seen, now } = touched({ tool: "box" });
  finger("pointerdown", 1, 100, 100);
  finger("pointermove", 1, 140, 140);
  finger("pointerdown", 2, 300, 100);
  assert.equal(seen.drafts.at(-1), null);
  finger("pointerup", 1, 140, 140);
  const before = now();
  finger("pointermove", 2, 350, 120);
  finger("pointerup", 2, 350, 120);
  assert.deepEqual([seen.prompts, now()], [[], before]);
  finger("pointerdown", 3, 110, 110);
  finger("pointermove", 3, 150, 150);
  finger("pointerup", 3, 150, 150);
  assert.equal(seen.prompts.length, 1, "and the next finger draws again");
});

test("a finger that is lost counts no longer", () => {
  const { finger, seen } = touched({ tool: "point" });
  finger("pointerdown", 1, 100, 100);
  finger("pointercancel", 1, 100, 100);
  finger("pointerdown", 2, 150, 150);
  finger("pointerup", 2, 150, 150);
  assert.equal(seen.prompts.length, 1);
});

test("a box by keys says where its first corner is, and can be given up", () => {
  const { key, seen } = touched({ tool: "box" });
  key("Enter");
  assert.deepEqual([seen.corner, seen.words.startsWith("First corner at 100, 100.")], [[100, 100], true]);
  key("Escape");
  assert.deepEqual([seen.corner, seen.prompts], [null, []]);
  key("Enter");
  key("ArrowLeft");
  key("Enter");
  assert.deepEqual([seen.prompts, seen.corner], [[{ kind: "box", box: [52, 100, 100, 100] }], null]);
});

test("numbers on the scale bar are short", () => {
  assert.deepEqual([0, 0.693147, 12.5, 1234567, 0.00002].map(figure), ["0", "0.693", "12.5", "1.2e+6", "2.0e-5"]);
});
