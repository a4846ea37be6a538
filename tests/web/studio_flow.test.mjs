/** What the studio asks and shows when answers are late, refused or of another kind. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { compress } from "../../src/penumbra/web/canvas/rle.js";
import { connect } from "../../src/penumbra/web/studio/api.js";
import { history } from "../../src/penumbra/web/studio/prompting.js";
import { firstSettings } from "../../src/penumbra/web/studio/settings.js";
import { createStudio } from "../../src/penumbra/web/studio/studio.js";

globalThis.document = { baseURI: "http://studio.test/" };
const keys = new Map();
globalThis.sessionStorage = { getItem: (name) => keys.get(name) ?? null, setItem: (name, value) => keys.set(name, value) };

/** Bitmaps by what they were decoded from; `closed` says which were given back. */
const closed = [];
const bitmap = (of, width = 2, height = 2) => ({ of, width, height, close: () => closed.push(of) });
let decoding = Promise.resolve();
globalThis.createImageBitmap = async (blob) => {
  const wait = decoding;
  const of = blob.name ?? (await blob.text());
  await wait;
  return bitmap(of);
};

const json = (body, status = 200, headers = {}) => new Response(JSON.stringify(body), { status, headers });
const problem = (status, detail = "x", headers = {}, errors = undefined) => json({ title: `Problem ${status}`, detail, status, errors }, status, headers);
const NERVE = { name: "nerve", kind: "segmenter" };
const SAM = { name: "sam", kind: "promptable" };
const PIXEL = { box: [0, 0, 1, 1], rle: { size: [1, 1], counts: [0, 1] }, area_px: 1, predicted_iou: 0.9 };

function answer(more = {}, [width, height] = [2, 2]) {
  const masks = [{ class: 1, name: "nerve", area_px: width * height, rle: { size: [height, width], counts: compress([0, width * height]) } }];
  return { id: "1", classes: ["background", "nerve"], size: { width, height }, masks, maps: {}, timings: {}, passes: 1, threshold: 0.5, ...more };
}

function gate() {
  let open;
  const wait = new Promise((done) => (open = done));
  return { wait, open };
}

/** Polls until it holds; the test's own deadline ends it otherwise. */
async function until(holds, what) {
  for (let tries = 0; tries < 4000; tries += 1) {
    if (holds()) return;
    await new Promise((done) => setTimeout(done, 1));
  }
  assert.fail(`never came: ${what}`);
}

function world(server, { models = [NERVE, SAM], settings = {} } = {}) {
  const asked = [];
  const forms = [];
  globalThis.fetch = async (url, init = {}) => {
    const path = new URL(url).pathname;
    asked.push(path);
    forms.push(init.body);
    const reply = await server(path, init, asked);
    if (init.signal?.aborted) throw init.signal.reason;
    return reply;
  };
  const seen = { busy: new Map(), problem: null, again: null, stays: {}, image: null };
  const say = {
    clear: () => Object.assign(seen, { problem: null, again: null }),
    at: (field, words) => (seen.image = words),
    stays: (field, words) => (seen.stays[field] = words),
    problem: (error, again = null) => Object.assign(seen, { problem: error.message, again }),
    busy: (words, what = "image") => (words ? seen.busy.set(what, words) : seen.busy.delete(what)),
    status: (words) => (seen.status = words),
  };
  const canvas = {
    size: null,
    layers: { mask: null },
    drawn: [],
    setImage: async (next) => Object.assign(canvas, { picture: next, size: { width: next.width, height: next.height } }),
    setDimmed: (dimmed) => (canvas.dimmed = dimmed),
    setCompare: (next) => (canvas.compared = next),
    setPrompts() {},
    clear: () => (canvas.layers = { mask: null }),
    setLayers(next) {
      for (const part of [next.mask, next.heat, next.probability]) {
        if (part) assert.deepEqual([part.width, part.height], [canvas.size.width, canvas.size.height], "layers fit the picture");
      }
      canvas.layers = next;
      canvas.drawn.push(next.mask);
    },
  };
  const items = [];
  const strip = {
    items,
    mark() {},
    failed: (item, failed) => (item.failed = failed),
    picture: (item, next) => Object.assign(item, { bitmap: next, size: { width: next.width, height: next.height } }),
    add: async (file) => items[items.push(item(file.name, file.readable !== false)) - 1],
    remove: (gone) => items.splice(items.indexOf(gone), 1) && (items[0] ?? null),
  };
  const waiting = (seconds, why) => say.busy(seconds ? why : null, "waiting");
  const api = connect({ askKey: async () => null, waiting });
  const studio = createStudio({ api, canvas, strip, say, changed() {} }, { ...firstSettings(), mode: "disabled", ...settings });
  studio.setModels(models);
  return { studio, asked, forms, seen, canvas, strip };
}

function item(name, readable = true, size = [2, 2]) {
  const file = new File([name], name);
  const known = readable ? { source: file, size: { width: size[0], height: size[1] }, bitmap: bitmap(name, ...size) } : { source: null, size: null, bitmap: null };
  return { name, file, ...known, asks: !readable, prompts: history(), prompted: [], answered: null, doubt: null };
}

const pictured = (body = {}) => answer({ pictures: { image: { href: "/v1/results/1/image.png" } }, ...body });

test("while another image is read, nothing of the first one can be taken for it", async () => {
  const held = gate();
  const { studio, canvas } = world(async (path, init) => {
    if (path.includes("/results/")) return new Response("the server's B");
    if (init.body.get("image").name === "B.dcm") await held.wait;
    return json(init.body.get("image").name === "B.dcm" ? pictured() : answer());
  });
  const [a, b] = [item("A.png"), item("B.dcm", false)];
  await studio.select(a);
  assert.ok(studio.settled && studio.result);
  const reading = studio.select(b);
  assert.deepEqual([studio.current, studio.shown, studio.result, studio.settled], [b, a, null, false]);
  assert.equal(canvas.dimmed, true, "the old one is still to be seen");
  held.open();
  await reading;
  assert.deepEqual([studio.shown, studio.settled, canvas.picture.of], [b, true, "the server's B"]);
});

test("an image that cannot be read gives the one before back, with its result", async () => {
  const { studio, canvas } = world(async (path, init) => (init.body.get("image").name === "B.dcm" ? problem(415) : json(answer())));
  const [a, b] = [item("A.png"), item("B.dcm", false)];
  await studio.select(a);
  const before = studio.result;
  await studio.select(b);
  assert.deepEqual([studio.current, studio.result, b.failed, studio.settled, canvas.dimmed], [a, before, true, true, false]);
});

test("a late picture from the server does not lie under another image's mask", async () => {
  for (const models of [[NERVE], [SAM]]) {
    const held = gate();
    const { studio, canvas } = world(async (path) => {
      if (path.includes("/results/")) return new Response("late");
      if (path === "/v1/sessions") return json({ id: "s", size: { width: 2, height: 2 }, timings: {}, pictures: { image: { href: "/v1/results/1/image.png" } } });
      return json(pictured());
    }, { models });
    const [a, b] = [item("A.tif", false), item("B.png")];
    await studio.select(b);
    decoding = held.wait;
    const late = studio.select(a);
    await until(() => a.file && studio.current === a, "the choice");
    await new Promise((done) => setTimeout(done, 20));
    decoding = Promise.resolve();
    await studio.select(b);
    held.open();
    await late;
    assert.deepEqual([canvas.picture.of, studio.shown, studio.current], ["B.png", b, b]);
    assert.equal(studio.settled, true);
  }
});

test("answers out of order: the last setting is the one that is shown", async () => {
  const slow = gate();
  const { studio, canvas } = world(async (path, init) => {
    if (init.body.get("seed") === "1") await slow.wait;
    return json(answer({ id: init.body.get("seed") }));
  }, { settings: { mode: "single", seed: 1 } });
  const first = studio.select(item("A.png"));
  studio.update({ seed: 2 });
  assert.equal(studio.settled, false);
  await until(() => studio.settled, "the second answer");
  assert.equal(studio.result.answer.id, "2");
  slow.open();
  await first;
  assert.deepEqual([studio.result.answer.id, canvas.dimmed], ["2", false]);
});

test("another image during a stream ends it, and keeps its estimates away", async () => {
  const line = (kind, more) => new TextEncoder().encode(`event: ${kind}\ndata: ${JSON.stringify(answer(more))}\n\n`);
  let feed;
  const { studio, seen, canvas } = world(async (path, init) => {
    if (init.body.get("image").name === "A.png") return new Response(new ReadableStream({ start: (stream) => (feed = stream) }));
    return new Response(line("done", { id: "B", passes: 8 }));
  }, { settings: { mode: "monte_carlo" } });
  const [a, b] = [item("A.png"), item("B.png")];
  void studio.select(a);
  await until(() => feed, "the stream");
  feed.enqueue(line("estimate", { passes: 2 }));
  await until(() => studio.result?.answer.passes === 2, "the estimate");
  assert.deepEqual([seen.busy.get("image"), studio.settled, canvas.dimmed], ["2 of 8 passes", false, true]);
  await studio.select(b);
  feed.enqueue(line("estimate", { passes: 4 }));
  feed.enqueue(line("done", { id: "A", passes: 8 }));
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual([studio.current, studio.result.answer.id, seen.busy.size, canvas.dimmed], [b, "B", 0, false]);
});

test("estimates of another size are passed over, and the server's picture is taken", async () => {
  let cancelled = 0;
  const { studio, canvas, asked, forms } = world(async (path, init) => {
    if (path.includes("/results/")) return new Response("turned");
    const turned = answer(init.body.get("outputs").endsWith("image") ? { pictures: { image: { href: "/v1/results/1/image.png" } } } : {}, [2, 2]);
    const text = `event: estimate\ndata: ${JSON.stringify(turned)}\n\nevent: done\ndata: ${JSON.stringify(turned)}\n\n`;
    return new Response(new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode(text)), cancel: () => void (cancelled += 1) }));
  }, { settings: { mode: "monte_carlo" } });
  const one = item("photo.jpg", true, [2, 3]);
  await studio.select(one);
  assert.deepEqual(asked.filter((path) => path === "/v1/uncertainty").length, 2);
  assert.ok(forms[1].get("outputs").endsWith("image"));
  assert.deepEqual([canvas.picture.of, one.size, studio.settled], ["turned", { width: 2, height: 2 }, true]);
  await until(() => cancelled === 2, "both bodies are let go of");
});

test("Try again does again what failed: an inference, an embedding, a prompt", async () => {
  let broken = true;
  const server = async (path) => {
    if (broken) return problem(500, "Boom");
    if (path === "/v1/sessions") return json({ id: "s", size: { width: 2, height: 2 }, timings: {} });
    return json(path.endsWith("/prompt") ? { masks: [PIXEL], timings: {} } : answer());
  };
  for (const [models, path] of [[[NERVE], "/v1/segment"], [[SAM], "/v1/sessions"]]) {
    broken = true;
    const { studio, asked, seen } = world(server, { models });
    await studio.select(item("A.png"));
    assert.equal(seen.problem, "Boom");
    broken = false;
    const before = asked.length;
    seen.again();
    await until(() => studio.settled, "the second try");
    assert.deepEqual([asked.slice(before), seen.problem], [[path], null]);
  }
  const { studio, asked, seen } = world(server);
  await studio.select(item("A.png"));
  broken = true;
  studio.prompt({ kind: "point", point: [1, 1], label: 1 });
  await until(() => seen.problem, "the problem");
  broken = false;
  const before = asked.length;
  seen.again();
  await until(() => studio.prompted, "the prompted mask");
  assert.deepEqual(asked.slice(before), ["/v1/sessions", "/v1/sessions/s/prompt"]);
});

test("a prompt says that it is under way, waits at 429, and is silent afterwards", async () => {
  let refusals = 1;
  const held = gate();
  const { studio, seen, canvas } = world(async (path) => {
    if (path === "/v1/sessions") return json({ id: "s", size: { width: 2, height: 2 }, timings: {} });
    if (!path.endsWith("/prompt")) return json(answer());
    if (refusals-- > 0) return problem(429, "full", { "Retry-After": "0.02" });
    await held.wait;
    return json({ masks: [PIXEL], timings: {} });
  });
  await studio.select(item("A.png"));
  studio.prompt({ kind: "point", point: [0, 0], label: 1 });
  await until(() => seen.busy.get("waiting") === "Problem 429", "the waiting");
  await until(() => !seen.busy.has("waiting"), "its end");
  assert.deepEqual([[...seen.busy.keys()], studio.settled], [["prompts"], false]);
  held.open();
  await until(() => studio.settled, "the answer");
  assert.deepEqual([seen.busy.size, seen.problem, [...canvas.layers.mask.data]], [0, null, [2, 1, 1, 1]]);
  assert.deepEqual(studio.current.answered.prompts.points, [[0, 0]]);
});

test("of two prompts the later answer is the one that counts, whichever comes first", async () => {
  const held = gate();
  let prompts = 0;
  const { studio } = world(async (path) => {
    if (path === "/v1/sessions") return json({ id: "s", size: { width: 2, height: 2 }, timings: {} });
    if (!path.endsWith("/prompt")) return json(answer());
    prompts += 1;
    const mine = prompts;
    if (mine === 1) await held.wait;
    return json({ masks: [{ ...PIXEL, area_px: mine }], timings: {} });
  });
  await studio.select(item("A.png"));
  studio.prompt({ kind: "point", point: [0, 0], label: 1 });
  await until(() => prompts === 1, "the first prompt");
  studio.prompt({ kind: "point", point: [1, 1], label: 1 });
  await until(() => studio.prompted?.area === 2, "the second answer");
  held.open();
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual([studio.prompted.area, studio.settled], [2, true]);
});

test("a link to a model that is not here names it, and goes on with the first", async () => {
  const { studio, forms, seen } = world(async () => json(answer()), { settings: { model: "gone" } });
  assert.match(seen.stays.model, /gone.*nerve/);
  await studio.select(item("A.png"));
  assert.equal(forms[0].get("model"), null);
  assert.equal(seen.problem, null);
  studio.update({ seed: 4, model: "gone, too" });
  assert.deepEqual([studio.settings.model, /gone, too/.test(seen.stays.model)], ["", true]);
  studio.update({ model: "nerve" });
  assert.equal(seen.stays.model, null);
  await until(() => studio.settled, "rest");
});

test("another model keeps the old result until the new one is there", async () => {
  const held = gate();
  const models = [NERVE, { name: "vein", kind: "segmenter" }];
  const { studio, canvas } = world(async (path, init) => {
    if (init.body.get("model") === "vein") await held.wait;
    return json(answer({ id: init.body.get("model") ?? "first" }));
  }, { models });
  await studio.select(item("A.png"));
  canvas.drawn.length = 0;
  studio.update({ ...studio.settings, model: "vein", layer: "variance" });
  await until(() => canvas.dimmed, "the question");
  assert.equal(studio.result.answer.id, "first");
  held.open();
  await until(() => studio.settled, "the answer");
  assert.equal(studio.result.answer.id, "vein");
  assert.ok(canvas.drawn.length > 0 && canvas.drawn.every(Boolean), "never a blank");
});

test("where no map gives the mask, a moved threshold asks the server", async () => {
  const { studio, forms, seen } = world(async (path, init) => {
    const threshold = Number(init.body.get("threshold") ?? 0.5);
    return json(answer({ threshold_map: null, threshold, emptied: threshold > 0.8 }));
  }, { settings: { threshold: 0.7 } });
  const thresholds = () => forms.map((form) => form.get("threshold"));
  await studio.select(item("A.png"));
  assert.deepEqual(thresholds(), [null, "0.7"], "the first answer tells that it must be asked");
  studio.update({ threshold: 0.81 });
  studio.update({ threshold: 0.9 });
  await until(() => studio.settled, "the answer");
  assert.deepEqual(thresholds(), [null, "0.7", "0.9"], "once for a whole drag");
  assert.equal(studio.result.answer.emptied, true);
  studio.update({ threshold: null });
  await until(() => studio.settled, "the run's own");
  assert.deepEqual([forms.length, studio.result.answer.threshold, seen.problem], [3, 0.5, null], "which was known");
});

test("a removed image is forgotten; the next one is shown, or none", async () => {
  const held = gate();
  const { studio, canvas, strip } = world(async (path, init) => {
    if (init.body.get("image").name === "slow.png") await held.wait;
    return json(answer({ id: init.body.get("image").name }));
  });
  await studio.add([new File(["a"], "A.png"), new File(["b"], "slow.png"), new File(["c"], "C.png")]);
  assert.ok(closed.includes("slow.png") && closed.includes("C.png"), "only the one that is shown stays decoded");
  void studio.select(strip.items[1]);
  await until(() => studio.shown?.name === "slow.png", "the picture");
  await studio.remove(strip.items[1]);
  assert.deepEqual([studio.current.name, studio.result.answer.id, canvas.picture.of], ["A.png", "A.png", "A.png"]);
  await studio.remove(strip.items[1]);
  assert.deepEqual([studio.current.name, studio.settled], ["A.png", true], "another's going changes nothing");
  await studio.remove(strip.items[0]);
  assert.deepEqual([studio.current, studio.shown, studio.result, canvas.layers.mask], [null, null, null, null]);
  held.open();
});
