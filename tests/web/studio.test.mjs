/** The studio's logic: settings and addresses, events, answers, prompts, words. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { toLevels } from "../../src/penumbra/web/canvas/layers.js";
import { classesOf, cutMap, cutsThere, layersOf } from "../../src/penumbra/web/studio/answers.js";
import { Problem, fromDocument } from "../../src/penumbra/web/studio/api.js";
import { packed } from "../../src/penumbra/web/studio/download.js";
import { messageParser } from "../../src/penumbra/web/studio/events.js";
import { keeper } from "../../src/penumbra/web/studio/kept.js";
import { added, history, isEmpty, painted } from "../../src/penumbra/web/studio/prompting.js";
import { fieldsOf, firstSettings, inferenceKey, readSettings, writeSettings } from "../../src/penumbra/web/studio/settings.js";
import { nextByDoubt } from "../../src/penumbra/web/studio/strip.js";
import { span, stem, timingLine, whole } from "../../src/penumbra/web/studio/words.js";

test("the address keeps every setting, and nothing that is as at first", () => {
  const settings = { model: "lung-2", mode: "", strength: 0, samples: 33, pattern: "perlin", seed: 12, threshold: 0.4, layer: "", own: true, compare: "single" };
  const address = new URLSearchParams();
  writeSettings(settings, address);
  assert.deepEqual(readSettings(new URLSearchParams(address.toString())), settings);
  const first = new URLSearchParams();
  writeSettings(firstSettings(), first);
  assert.equal(first.toString(), "");
});

test("a broken address changes nothing", () => {
  const broken = new URLSearchParams("model=../x&mode=evil&strength=9&samples=1e9&pattern=x&seed=-1&threshold=2&layer=z&own=1&compare=q");
  assert.deepEqual(readSettings(broken), firstSettings());
});

test("only what the network needs decides whether it runs again", () => {
  const settings = firstSettings();
  const key = inferenceKey(settings);
  for (const change of [{ threshold: 0.9 }, { layer: "variance" }, { own: true }, { compare: "single" }]) {
    assert.equal(inferenceKey({ ...settings, ...change }), key);
  }
  for (const change of [{ strength: 0.5 }, { samples: 9 }, { pattern: "perlin" }, { seed: 1 }, { model: "b" }, { mode: "single" }]) {
    assert.notEqual(inferenceKey({ ...settings, ...change }), key);
  }
  const still = { ...settings, mode: "disabled" };
  assert.equal(inferenceKey({ ...still, strength: 1, samples: 3, seed: 9 }), inferenceKey(still));
});

test("a request names what its mode has, and no more", () => {
  const settings = { ...firstSettings(), strength: 0.5, pattern: "simplex", samples: 12, model: "a" };
  const many = fieldsOf(settings, { mode: "monte_carlo", image: true, bits: 16 });
  assert.deepEqual([many.noise_mode, many.noise_strength, many.pattern, many.samples], ["monte_carlo", "0.5", "simplex", "12"]);
  assert.ok(many.outputs.split(",").includes("mutual_information") && many.outputs.endsWith("image"));
  const still = fieldsOf(settings, { mode: "disabled", image: false, bits: 8 });
  assert.deepEqual(Object.keys(still).sort(), ["bits", "masks_as", "model", "noise_mode", "outputs", "seed"]);
  assert.equal("noise_mode" in fieldsOf(settings, { mode: "", image: false, bits: 8 }), false);
  assert.equal("threshold" in many, false);
});

test("events come out whole, however the text is cut", () => {
  const text = 'event: estimate\r\ndata: {"a":1}\r\n\r\n: still here\n\nevent: done\ndata: one\ndata: two\n\n';
  const wanted = [{ event: "estimate", data: '{"a":1}' }, { event: "done", data: "one\ntwo" }];
  for (let size = 1; size <= text.length; size += 1) {
    const parse = messageParser();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...parse(text.slice(at, at + size)));
    assert.deepEqual(found, wanted);
  }
});

test("problem documents become errors with their fields", () => {
  const problem = fromDocument({ title: "The request does not fit", status: 422, detail: "No.", errors: [{ field: "samples", message: "Too many" }] }, 500);
  assert.ok(problem instanceof Problem);
  assert.deepEqual([problem.status, problem.title, problem.message], [422, "The request does not fit", "No."]);
  assert.deepEqual(problem.errors, [{ field: "samples", message: "Too many" }]);
  assert.equal(fromDocument({}, 503).status, 503);
});

function resultOf(values) {
  const probability = toLevels({ width: values.length, height: 1, data: Float32Array.from(values), scale: [0, 1] });
  const mask = { width: values.length, height: 1, data: Uint8Array.from(values, (value) => Number(value >= 0.5)) };
  const masks = [{ class: 1, name: "nerve", area_px: mask.data.reduce((sum, one) => sum + one, 0), rle: { size: [1, 1], counts: "" } }];
  const answer = { masks, threshold: 0.5, size: { width: values.length, height: 1 } };
  return { answer, mask, fields: { probability, entropy: probability }, files: {}, cut: probability, image: null };
}

test("the server's own mask is shown until the threshold is moved", () => {
  const result = resultOf([0.1, 0.4, 0.6, 0.9]);
  const settings = firstSettings();
  assert.equal(layersOf(result, settings).threshold, null);
  assert.equal(layersOf(result, { ...settings, threshold: 0.5 }).threshold, null);
  assert.equal(layersOf(result, { ...settings, threshold: 0.3 }).threshold, 0.3);
  assert.deepEqual(classesOf(result, settings), [{ index: 1, name: "nerve", area: 2 }]);
  assert.equal(classesOf(result, { ...settings, threshold: 0.3 })[0].area, 3);
  assert.equal(layersOf({ ...result, cut: null }, { ...settings, threshold: 0.3 }).threshold, null);
});

test("the document says which map the mask is cut from, and who cuts it", () => {
  const binary = ["background", "nerve"];
  assert.equal(cutMap({ classes: binary, threshold_map: "mask_probability" }), "mask_probability");
  assert.equal(cutMap({ classes: binary, threshold_map: null }), null);
  assert.equal(cutMap({ classes: binary }), "probability");
  assert.equal(cutMap({ classes: [...binary, "vein"] }), null);
  assert.equal(cutsThere({ classes: binary, threshold_map: null }), true);
  assert.equal(cutsThere({ classes: [...binary, "vein"], threshold_map: null }), false, "the largest wins");
  assert.equal(cutsThere({ classes: binary }), false);
});

test("where the server cuts the mask, the threshold is part of the question", () => {
  const settings = { ...firstSettings(), threshold: 0.3 };
  const what = { mode: "disabled", image: false, bits: 8, cutsThere: true };
  assert.equal(fieldsOf(settings, what).threshold, "0.3");
  assert.equal("threshold" in fieldsOf(firstSettings(), what), false);
  const key = (threshold, there) => inferenceKey({ ...settings, threshold }, "disabled", there);
  assert.notEqual(key(0.3, true), key(0.4, true));
  assert.equal(key(0.3, false), key(0.4, false));
  assert.equal(key(null, true), key(0.4, false), "the run's own is known already");
});

test("results are kept within their bytes, the latest looked at the longest", () => {
  const [one, other] = [{}, {}];
  const kept = keeper(100);
  const result = (size) => ({ mask: { data: new Uint8Array(size) }, fields: {}, files: { "a.png": new ArrayBuffer(10) } });
  const [a, b, c] = [result(30), result(30), result(20)];
  kept.put(one, "a", a);
  kept.put(other, "a", b);
  assert.equal(kept.get(one, "a"), a);
  kept.put(one, "b", c);
  assert.deepEqual([kept.get(one, "a"), kept.get(other, "a"), kept.get(one, "b")], [a, null, c]);
  kept.put(other, "large", result(1000));
  assert.ok(kept.get(other, "large") && kept.get(one, "b"), "the two that may be on the canvas stay");
  kept.forget(one);
  assert.equal(kept.get(one, "b"), null);
});

test("no file of a download takes the place of another", async () => {
  const mask = { width: 2, height: 1, data: Uint8Array.of(0, 1) };
  const result = { ...resultOf([0.1, 0.9]), files: { "entropy.png": new ArrayBuffer(3) }, asked: { ...firstSettings(), strength: 0.4 } };
  const answered = { model: "sam", prompts: { boxes: [], points: [[1, 2]], labels: [1] }, answer: { masks: [] } };
  for (const name of ["mask.png", "Mask.PNG", "answer.json", "maps"]) {
    const { blob } = await packed({ file: new File(["bytes"], name), answered }, result, mask, { ...firstSettings(), strength: 1.9, threshold: 0.2 });
    const text = new TextDecoder("latin1").decode(await blob.arrayBuffer());
    assert.ok(text.includes(`image_${name}`) && text.includes("maps/entropy.png"));
    const facts = JSON.parse(text.slice(text.indexOf("{\n"), text.lastIndexOf("\n}\n") + 3));
    assert.deepEqual(facts.prompted, answered);
    assert.deepEqual([facts.settings.strength, facts.settings.threshold], [0.4, 0.2], "those of the answer, and of the drawing");
  }
});

test("probability is drawn by viridis, doubt as a glow, and an unknown map not at all", () => {
  const result = resultOf([0.1, 0.9]);
  assert.equal(layersOf(result, { ...firstSettings(), layer: "probability" }).map, "viridis");
  assert.equal(layersOf(result, firstSettings()).map, "doubt");
  assert.equal(layersOf(result, { ...firstSettings(), layer: "variance" }).heat, null);
});

test("points refine, a box begins anew, and every step can be taken back", () => {
  const steps = history();
  steps.push(added(steps.now, { kind: "point", point: [1, 2], label: 1 }));
  steps.push(added(steps.now, { kind: "point", point: [3, 4], label: 0 }));
  assert.deepEqual(steps.now, { boxes: [], points: [[1, 2], [3, 4]], labels: [1, 0] });
  steps.push(added(steps.now, { kind: "box", box: [0, 0, 9, 9] }));
  assert.deepEqual(steps.now, { boxes: [[0, 0, 9, 9]], points: [], labels: [] });
  assert.equal(steps.undo() && steps.undo(), true);
  assert.deepEqual(steps.now.labels, [1]);
  assert.equal(steps.redo(), true);
  assert.deepEqual(steps.now.labels, [1, 0]);
  steps.push(added(steps.now, { kind: "point", point: [5, 6], label: 1 }));
  assert.equal(steps.redo(), false);
  while (steps.undo());
  assert.equal(isEmpty(steps.now), true);
});

test("prompted masks lie over the others, and leave these as they were", () => {
  const below = { width: 3, height: 1, data: Uint8Array.of(1, 1, 0) };
  const over = painted(below, [{ box: [1, 0, 3, 1], rle: { size: [1, 2], counts: [0, 2] }, area_px: 2 }], 2);
  assert.deepEqual([...over.data], [1, 2, 2]);
  assert.deepEqual([...below.data], [1, 1, 0]);
});

test("next by doubt goes from the most doubtful on, and around", () => {
  const items = [{ doubt: 0.1 }, { doubt: null }, { doubt: 0.4 }];
  assert.equal(nextByDoubt(items, null), items[2]);
  assert.equal(nextByDoubt(items, items[2]), items[0]);
  assert.equal(nextByDoubt(items, items[0]), items[1]);
  assert.equal(nextByDoubt(items, items[1]), items[2]);
  assert.equal(nextByDoubt([], null), undefined);
});

test("numbers as people read them", () => {
  assert.deepEqual([0.0004, 0.009, 0.412, 1.5, 62].map(span), ["0.4 ms", "9 ms", "412 ms", "1.50 s", "62.0 s"]);
  assert.equal(whole(1234567), "1\u2009234\u2009567");
  assert.equal(timingLine({ timings: { decode: 0.009, network: 0.412, queue: 0.00001 }, passes: 6, converged: true }, 16), "decode 9 ms · network 412 ms · 16 passes, 6 needed");
  assert.equal(timingLine({ passes: 1 }), "1 pass");
  assert.equal(stem("../My scan (1).tar.dcm"), ".._My_scan_1_.tar");
});
