/**
 * Layers and sliders: shows the settings and what is known of the result, tells what was changed.
 *
 * @import { CanvasState } from "../canvas/state.js"
 * @import { Result } from "./answers.js"
 * @import { Mode, Settings } from "./settings.js"
 *
 * @typedef {object} Served A model as `GET /v1/models` describes it.
 * @property {string} name
 * @property {"segmenter" | "promptable"} kind
 * @property {number} [threshold]
 * @property {string} [sampler]
 * @property {boolean} [network] false: a method without a network, which has no noise.
 *
 * @typedef {object} Changes
 * @property {(change: Partial<Settings>) => void} settings
 * @property {(layer: "mask" | "heat" | `class:${number}`, value: number) => void} opacity
 */

import { classColour, css } from "../canvas/colour.js";
import { meanOf } from "../canvas/layers.js";
import { figure } from "../canvas/scale.js";
import { classesOf, cutMap, cutsThere } from "./answers.js";
import { made, part, slide } from "./dom.js";
import { LAYERS, MODES } from "./settings.js";
import { percent, whole } from "./words.js";

/** @param {Changes} changes */
export function panel(changes) {
  const range = (/** @type {string} */ id) => part(id, HTMLInputElement);
  const [threshold, strength, samples, seed] = [range("threshold"), range("strength"), range("samples"), range("seed")];
  const [maskOpacity, heatOpacity, own] = [range("o-mask"), range("o-heat"), range("own")];
  const [pattern, compare, model] = [part("pattern", HTMLSelectElement), part("compare", HTMLSelectElement), part("model", HTMLSelectElement)];
  const classes = part("classes", HTMLUListElement);
  const layers = part("layers", HTMLDivElement);
  let shown = "";

  for (const [name, words] of MODES) part("modes", HTMLDivElement).append(radio("mode", name, words, (value) => changes.settings({ mode: /** @type {Mode} */ (value) })));
  for (const [name, words] of LAYERS) {
    const label = radio("layer", name, words, (value) => changes.settings({ layer: value }));
    label.append(made("span", { class: "mean", title: "Mean over the image" }));
    layers.append(label);
  }
  compare.append(new Option("Nothing", "off"), ...MODES.map(([name, words]) => new Option(words, name)));

  threshold.addEventListener("input", () => changes.settings({ threshold: Number(threshold.value) }));
  strength.addEventListener("input", () => changes.settings({ strength: Number(strength.value) }));
  samples.addEventListener("input", () => changes.settings({ samples: Number(samples.value) }));
  seed.addEventListener("change", () => changes.settings({ seed: Math.max(0, Math.round(Number(seed.value) || 0)) }));
  pattern.addEventListener("change", () => changes.settings({ pattern: pattern.value }));
  own.addEventListener("change", () => changes.settings({ own: own.checked }));
  model.addEventListener("change", () => changes.settings({ model: model.value }));
  compare.addEventListener("change", () => changes.settings({ compare: /** @type {Mode | "off"} */ (compare.value) }));
  maskOpacity.addEventListener("input", () => changes.opacity("mask", Number(maskOpacity.value)));
  heatOpacity.addEventListener("input", () => changes.opacity("heat", Number(heatOpacity.value)));
  for (const [input, change] of /** @type {const} */ ([[strength, { strength: null }], [threshold, { threshold: null }]])) {
    const [reset, own] = [part(`own-${input.id}`, HTMLButtonElement), () => changes.settings(change)];
    reset.addEventListener("click", own);
    input.addEventListener("dblclick", own);
    input.title = "Delete or double-click for the run’s own";
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Delete") return;
      event.preventDefault();
      // The page's own key of that name clears prompts.
      event.stopPropagation();
      own();
    });
  }

  /**
   * @param {Result | null} result
   * @param {Settings} settings
   * @param {CanvasState} state
   * @param {{name: string, area: number, index: number} | null} prompted
   */
  function showClasses(result, settings, state, prompted) {
    const rows = [...(result ? classesOf(result, settings) : []), ...(prompted ? [prompted] : [])];
    const key = rows.map(({ index, name }) => `${index}:${name}`).join();
    if (key !== shown) {
      shown = key;
      classes.replaceChildren(...rows.map(({ index, name }) => classRow(index, name, changes.opacity)));
    }
    const size = result?.answer.size;
    rows.forEach(({ index, area }, place) => {
      const row = classes.children[place];
      const area_ = row?.querySelector("output");
      if (area_) area_.textContent = `${whole(area)} px`;
      if (area_ && size) area_.title = `${((100 * area) / (size.width * size.height)).toFixed(2)} % of the image`;
      const input = row?.querySelector("input");
      const share = state.opacity.classes[index] ?? 1;
      if (input) slide(input, share, percent(share));
    });
  }

  /** @param {Result | null} result @param {Settings} settings */
  function showLayers(result, settings) {
    for (const label of layers.children) {
      const input = /** @type {HTMLInputElement} */ (label.querySelector("input"));
      const field = result?.fields[input.value];
      input.checked = input.value === settings.layer;
      input.disabled = Boolean(result && input.value && !field);
      const mean = label.querySelector(".mean");
      if (mean) mean.textContent = field ? figure(meanOf(field)) : "";
    }
    own.checked = settings.own;
    own.disabled = settings.layer === "";
    heatOpacity.disabled = settings.layer === "";
  }

  /** @param {Result | null} result @param {Settings} settings @param {Served | null} served */
  function showNumbers(result, settings, served) {
    const at = settings.threshold ?? result?.answer.threshold ?? served?.threshold ?? 0.5;
    threshold.disabled = Boolean(result && cutMap(result.answer) === null && !cutsThere(result.answer));
    const words = threshold.disabled ? "largest wins" : at.toFixed(2);
    slide(threshold, at, settings.threshold === null && !threshold.disabled ? `own ${words}` : words);
    say("threshold", words);
    part("own-threshold", HTMLButtonElement).disabled = threshold.disabled || settings.threshold === null;
    part("emptied", HTMLParagraphElement).hidden = !result?.answer.emptied;
    const used = settings.strength ?? result?.answer.noise_strength ?? null;
    const power = settings.strength === null ? `own${used === null ? "" : ` ${figure(used)}`}` : `${settings.strength.toFixed(2)} σ`;
    slide(strength, used ?? 0.3, power);
    say("strength", power);
    slide(samples, settings.samples, String(settings.samples));
    say("samples", String(settings.samples));
    if (document.activeElement !== seed) seed.value = String(settings.seed);
    const noisy = settings.mode !== "disabled" && settings.mode !== "";
    strength.disabled = pattern.disabled = !noisy;
    part("own-strength", HTMLButtonElement).disabled = !noisy || settings.strength === null;
    seed.disabled = settings.mode === "disabled";
    samples.disabled = !noisy || settings.mode === "single";
  }

  return {
    /** @param {Served[]} served */
    models(served) {
      model.replaceChildren(...served.map(({ name, kind }) => new Option(kind === "promptable" ? `${name} (prompts)` : name, name)));
    },
    /**
     * @param {object} what
     * @param {Result | null} what.result
     * @param {Settings} what.settings
     * @param {CanvasState} what.state
     * @param {Served | null} what.served
     * @param {{name: string, area: number, index: number} | null} what.prompted
     */
    show({ result, settings, state, served, prompted }) {
      showClasses(result, settings, state, prompted);
      showLayers(result, settings);
      showNumbers(result, settings, served);
      slide(maskOpacity, state.opacity.mask, percent(state.opacity.mask));
      slide(heatOpacity, state.opacity.heat, percent(state.opacity.heat));
      say("o-mask", percent(state.opacity.mask));
      say("o-heat", percent(state.opacity.heat));
      for (const input of document.querySelectorAll('input[name="mode"]')) {
        const mode = /** @type {HTMLInputElement} */ (input);
        mode.checked = mode.value === settings.mode;
        mode.disabled = served?.network === false && mode.value !== "disabled";
      }
      pattern.value = settings.pattern;
      compare.value = settings.compare;
      if (served) model.value = served.name;
      const prompts = served?.kind === "promptable";
      for (const id of ["noise", "maps"]) part(id, HTMLElement).hidden = prompts;
      threshold.closest("div")?.toggleAttribute("hidden", prompts);
      part("how", HTMLElement).hidden = !prompts || prompted !== null;
      part("beside", HTMLElement).hidden = prompts || served?.network === false;
    },
  };
}

/**
 * @param {string} id
 * @param {string} words
 */
function say(id, words) {
  part(`v-${id}`, HTMLOutputElement).textContent = words;
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} words
 * @param {(value: string) => void} chosen
 */
function radio(name, value, words, chosen) {
  const input = made("input", { type: "radio", name, value });
  input.addEventListener("change", () => chosen(value));
  return made("label", {}, input, made("span", {}, words));
}

/**
 * @param {number} index
 * @param {string} name
 * @param {Changes["opacity"]} opacity
 */
function classRow(index, name, opacity) {
  const input = made("input", { type: "range", min: "0", max: "1", step: "0.05", "aria-label": `Opacity of ${name}` });
  input.addEventListener("input", () => opacity(`class:${index}`, Number(input.value)));
  const swatch = made("span", { class: "swatch" });
  swatch.style.background = css(classColour(index));
  return made("li", {}, swatch, made("span", { class: "name", title: name }, name), made("output"), input);
}
