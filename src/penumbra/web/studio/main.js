/**
 * The studio page: puts its parts together.
 *
 * @import { Tool } from "../canvas/types.js"
 * @import { Mode } from "./settings.js"
 */

import { mountCanvas } from "../canvas/index.js";
import { shownMask } from "../canvas/layers.js";
import { figure } from "../canvas/scale.js";
import { readState, writeState } from "../canvas/state.js";
import { connect } from "./api.js";
import { part } from "./dom.js";
import { packed, save } from "./download.js";
import { askKey } from "./key_dialog.js";
import { keyboard } from "./keys.js";
import { notices } from "./notices.js";
import { panel } from "./panel.js";
import { phantom } from "./phantom.js";
import { LAYERS, MODES, readSettings, writeSettings } from "./settings.js";
import { filmStrip } from "./strip.js";
import { createStudio } from "./studio.js";
import { theme } from "./theme.js";

const address = new URLSearchParams(location.hash.slice(1));
const stage = part("stage", HTMLElement);
const file = part("file", HTMLInputElement);
const place = part("canvas", HTMLDivElement);
const settings = readSettings(address);
const say = notices();
const waiting = (/** @type {number} */ seconds, /** @type {string} */ why) => say.busy(seconds ? `${why}. Goes on in ${Math.ceil(seconds)} s` : null, "waiting");
const api = connect({ askKey, waiting });
const canvas = mountCanvas(place, { label: "Image, mask and doubt. Press ? for the keys.", keys: document, state: readState(address) });
const strip = filmStrip((item) => void studio.select(item), (item) => void studio.remove(item));
const studio = createStudio({ api, canvas, strip, say, changed }, settings);
const controls = panel({
  settings: (change) => studio.update(change),
  opacity: (layer, value) => canvas.setOpacity(layer, value),
});
let phantoms = 0;
let writing = 0;

function changed() {
  place.hidden = studio.shown === null;
  const empty = part("empty", HTMLDivElement);
  empty.hidden = !place.hidden;
  empty.dataset["waiting"] = studio.current && !studio.shown ? `Reading ${studio.current.name} …` : "";
  part("download", HTMLButtonElement).disabled = !savable();
  part("file-name", HTMLSpanElement).textContent = studio.current?.name ?? "";
  const prompts = studio.promptable() !== null;
  for (const button of document.querySelectorAll("[data-needs=prompts]")) {
    const tool = /** @type {HTMLButtonElement} */ (button);
    tool.disabled = !prompts;
    tool.title = prompts ? "" : "Needs a promptable model: penumbra serve --promptable NAME";
  }
  const beside = settings.compare !== "off" && studio.result ? settings.compare : null;
  part("side-a", HTMLSpanElement).textContent = beside === null ? "" : wordsOf(settings.mode);
  part("side-b", HTMLSpanElement).textContent = beside === null ? "" : wordsOf(beside);
  showPanel();
  remember();
}

/** @param {Mode} mode */
function wordsOf(mode) {
  return MODES.find(([name]) => name === mode)?.[1] ?? "";
}

function showPanel() {
  controls.show({ result: studio.result, settings, state: canvas.state, served: studio.served(), prompted: studio.prompted });
}

/** Keep the address up to date, a little later: browsers refuse it on every frame. */
function remember() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const now = new URLSearchParams();
    writeSettings(settings, now);
    writeState(canvas.state, now);
    const text = now.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }, 200);
}

/** @param {Tool} tool */
function take(tool) {
  const button = document.querySelector(`[data-tool=${tool}]`);
  if (!(button instanceof HTMLButtonElement) || button.disabled) return;
  canvas.setTool(tool);
  for (const each of document.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", String(each === button));
}

/** What is shown of an image, where it belongs to it and nothing is under way that would change it. */
function savable() {
  return studio.settled && (studio.result !== null || studio.prompted !== null);
}

async function download() {
  const item = studio.shown;
  const mask = shownMask(canvas.layers);
  if (!item || !mask || !savable()) return;
  const { name, blob } = await packed(item, studio.result, mask, { ...settings });
  save(name, blob);
  say.status(`Saved ${name}.`);
}

async function draw() {
  await studio.add([await phantom((phantoms += 1))]);
}

/** @param {number} step */
function nextLayer(step) {
  const known = LAYERS.map(([name]) => name).filter((name) => !name || !studio.result || studio.result.fields[name]);
  const at = known.indexOf(settings.layer) + step;
  studio.update({ layer: known[(at + known.length) % known.length] ?? "" });
}

function compare() {
  if (studio.served()?.network === false) return void say.status("This method makes one pass: there are no modes to compare.");
  const other = settings.mode === "disabled" ? "monte_carlo" : "disabled";
  studio.update({ compare: settings.compare === "off" ? other : "off" });
}

/** @param {Iterable<File>} files */
function open(files) {
  const list = [...files];
  if (list.length) studio.add(list).catch((error) => say.problem(error));
}

file.addEventListener("change", () => {
  open(file.files ?? []);
  file.value = "";
});
for (const id of ["open", "choose"]) part(id, HTMLButtonElement).addEventListener("click", () => file.click());
part("phantom", HTMLButtonElement).addEventListener("click", () => void draw());
part("run", HTMLButtonElement).addEventListener("click", () => studio.again());
part("download", HTMLButtonElement).addEventListener("click", () => void download());
part("fit", HTMLButtonElement).addEventListener("click", () => canvas.fit());
part("undo", HTMLButtonElement).addEventListener("click", () => studio.undo());
part("clear", HTMLButtonElement).addEventListener("click", () => studio.clear());
const hide = part("hide", HTMLButtonElement);
for (const name of ["pointerdown", "pointerup", "pointerleave", "pointercancel"]) {
  hide.addEventListener(name, () => canvas.hideOverlays(name === "pointerdown"));
}
hide.addEventListener("keydown", (event) => {
  if (event.key === " " || event.key === "Enter") canvas.hideOverlays(true);
});
for (const name of ["keyup", "blur"]) hide.addEventListener(name, () => canvas.hideOverlays(false));
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => take(/** @type {Tool} */ (/** @type {HTMLElement} */ (button).dataset["tool"])));
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.dataset["over"] = "true";
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) stage.dataset["over"] = "false";
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.dataset["over"] = "false";
  open(event.dataTransfer?.files ?? []);
});
document.addEventListener("paste", (event) => open(event.clipboardData?.files ?? []));
window.addEventListener("hashchange", () => {
  const now = new URLSearchParams(location.hash.slice(1));
  canvas.setState(readState(now));
  studio.update(readSettings(now));
});
canvas.onPrompt((prompt) => studio.prompt(prompt));
canvas.onChange(() => {
  showPanel();
  remember();
});
canvas.onCursor((cursor) => {
  const unit = studio.result?.fields[settings.layer]?.unit ?? "";
  const name = cursor && studio.result?.answer.masks.find((each) => each.class === cursor.label)?.name;
  const value = cursor?.value == null ? [] : [`${figure(cursor.value)} ${unit}`.trim()];
  const words = cursor ? [`x ${cursor.x}  y ${cursor.y}`, name ?? (cursor.label ? "prompted" : "background"), ...value, `${Math.round(canvas.view.zoom * 100)} %`] : [];
  part("readout", HTMLSpanElement).textContent = words.join(" · ");
});

keyboard([
  ["V", "move the image", () => take("move")],
  ["P", "point at an object", () => take("point")],
  ["X", "point at what is not part of it", () => take("exclude")],
  ["B", "draw a box around an object", () => take("box")],
  ["Enter", "prompt at the middle of the view", null],
  ["Z", "undo", () => studio.undo()],
  ["⇧Z", "redo", () => studio.redo()],
  ["⌫", "clear the prompts", () => studio.clear()],
  ["Del", "on the strip: remove the image", null],
  ["space", "hold to pan", null],
  ["wheel", "zoom at the cursor", null],
  ["+ −", "zoom", null],
  ["← ↑ → ↓", "pan, on the image", null],
  ["F", "fit the image", null],
  ["H", "hold to hide all overlays", null],
  ["1–9", "choose a class", (event) => /** @type {HTMLElement | null} */ (document.querySelectorAll("#classes input")[Number(event.key) - 1])?.focus()],
  ["L", "next map", () => nextLayer(1)],
  ["⇧L", "map before", () => nextLayer(-1)],
  ["S", "stretch colours to this image", () => studio.update({ own: !settings.own })],
  ["C", "compare two modes", compare],
  ["R", "run again", () => studio.again()],
  ["N", "next image by doubt", () => strip.next() && void studio.select(/** @type {import("./strip.js").Item} */ (strip.next()))],
  ["O", "open images", () => file.click()],
  ["D", "download all", () => void download()],
  ["T", "dark or light", theme()],
]);
changed();

async function load() {
  try {
    const { models } = await api.json("/v1/models");
    controls.models(models);
    studio.setModels(models);
    say.status(models.length ? "Ready." : "This server has no model.");
    if (studio.current) await studio.select(studio.current);
  } catch (error) {
    say.problem(error, () => void load());
  }
}

await load();
