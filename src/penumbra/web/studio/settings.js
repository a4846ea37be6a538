/**
 * What a person chose, as plain values: what goes into the address, and what needs the network to
 * run again.
 *
 * @typedef {"" | "disabled" | "single" | "ensemble" | "monte_carlo"} Mode "" is the run's own.
 *
 * @typedef {object} Settings
 * @property {string} model "" is the server's first.
 * @property {Mode} mode
 * @property {number | null} strength null: the run's own.
 * @property {number} samples
 * @property {string} pattern "" is the run's own.
 * @property {number} seed
 * @property {number | null} threshold null: the run's own.
 * @property {string} layer "" for none.
 * @property {boolean} own Stretch the colours of the map to the image's own values.
 * @property {Mode | "off"} compare The mode right of the swipe.
 */

/** @type {readonly [Mode, string][]} */
export const MODES = [
  ["disabled", "Disabled"],
  ["single", "Single"],
  ["ensemble", "Ensemble"],
  ["monte_carlo", "Monte Carlo"],
  ["", "The run’s own"],
];

/** @type {readonly [string, string][]} */
export const LAYERS = [
  ["", "None"],
  ["entropy", "Entropy"],
  ["expected_entropy", "Expected entropy"],
  ["mutual_information", "Mutual information"],
  ["variance", "Variance"],
  ["standard_error", "Standard error"],
  ["confidence", "Confidence"],
  ["probability", "Probability"],
];
const OF_SAMPLES = ["expected_entropy", "mutual_information", "variance", "standard_error"];
const PATTERNS = ["gaussian", "lattice", "perlin", "simplex"];

/** @returns {Settings} */
export function firstSettings() {
  return {
    model: "",
    mode: "monte_carlo",
    strength: null,
    samples: 8,
    pattern: "",
    seed: 0,
    threshold: null,
    layer: "entropy",
    own: false,
    compare: "off",
  };
}

/**
 * What an answer depends on; as long as this stays, no slider asks the server. The threshold is
 * part of it only where the page cannot cut the mask from a map by itself.
 *
 * @param {Settings} settings
 * @param {Mode} [mode] Instead of the settings' own.
 * @param {boolean} [cutsThere] Whether the server has to cut the mask.
 */
export function inferenceKey(settings, mode = settings.mode, cutsThere = false) {
  const noisy = mode !== "disabled" && mode !== "";
  const many = mode === "ensemble" || mode === "monte_carlo";
  return JSON.stringify([
    settings.model,
    mode,
    noisy ? settings.strength : null,
    noisy ? settings.pattern : "",
    many ? settings.samples : 1,
    mode === "disabled" ? 0 : settings.seed,
    cutsThere ? settings.threshold : null,
  ]);
}

/**
 * The outputs that a mode has.
 *
 * @param {Mode} mode
 * @param {boolean} image Whether the server is asked to show the image, too.
 */
export function outputsOf(mode, image) {
  const outputs = ["mask", "mask_probability", "probability", "confidence", "entropy"];
  if (mode === "monte_carlo" || mode === "ensemble") outputs.push(...OF_SAMPLES);
  if (image) outputs.push("image");
  return outputs;
}

/**
 * The fields of a request.
 *
 * @param {Settings} settings
 * @param {{mode: Mode, image: boolean, bits: 8 | 16, cutsThere?: boolean}} what
 * @returns {Record<string, string>}
 */
export function fieldsOf(settings, { mode, image, bits, cutsThere = false }) {
  /** @type {Record<string, string>} */
  const fields = { outputs: outputsOf(mode, image).join(","), masks_as: "rle", bits: String(bits) };
  if (settings.model) fields["model"] = settings.model;
  fields["seed"] = String(settings.seed);
  if (cutsThere && settings.threshold !== null) fields["threshold"] = String(settings.threshold);
  if (mode === "") return fields;
  fields["noise_mode"] = mode;
  if (mode === "disabled") return fields;
  if (settings.strength !== null) fields["noise_strength"] = String(settings.strength);
  if (settings.pattern) fields["pattern"] = settings.pattern;
  if (mode !== "single") fields["samples"] = String(settings.samples);
  return fields;
}

/**
 * @param {Settings} settings
 * @param {URLSearchParams} into What is as at first is left out.
 */
export function writeSettings(settings, into) {
  for (const [name, value] of Object.entries(firstSettings())) {
    const now = settings[/** @type {keyof Settings} */ (name)];
    if (now === value) into.delete(name);
    else into.set(name, now === "" ? "own" : String(now));
  }
  if (settings.layer === "") into.set("layer", "none");
}

/**
 * Read what `writeSettings` wrote; whatever makes no sense stays as at first.
 *
 * @param {URLSearchParams} from
 * @returns {Settings}
 */
export function readSettings(from) {
  const first = firstSettings();
  const modes = MODES.map(([mode]) => mode || "own");
  const layers = LAYERS.map(([layer]) => layer || "none");
  const mode = oneOf(from.get("mode"), modes, first.mode);
  const layer = oneOf(from.get("layer"), layers, first.layer);
  const compare = oneOf(from.get("compare"), [...modes, "off"], first.compare);
  return {
    model: /^[\w.-]{1,64}$/.test(from.get("model") ?? "") ? String(from.get("model")) : "",
    mode: /** @type {Mode} */ (mode === "own" ? "" : mode),
    strength: number(from.get("strength"), 0, 2, first.strength),
    samples: Math.round(number(from.get("samples"), 1, 64, first.samples) ?? first.samples),
    pattern: oneOf(from.get("pattern"), PATTERNS, ""),
    seed: Math.round(number(from.get("seed"), 0, Number.MAX_SAFE_INTEGER, 0) ?? 0),
    threshold: number(from.get("threshold"), 0.01, 0.99, first.threshold),
    layer: layer === "none" ? "" : layer,
    own: from.get("own") === "true",
    compare: /** @type {Mode | "off"} */ (compare === "own" ? "" : compare),
  };
}

/**
 * @param {string | null} text
 * @param {readonly string[]} known
 * @param {string} otherwise
 */
function oneOf(text, known, otherwise) {
  return text !== null && known.includes(text) ? text : otherwise;
}

/**
 * @param {string | null} text
 * @param {number} least
 * @param {number} most
 * @param {number | null} otherwise
 */
function number(text, least, most, otherwise) {
  const value = text === null || text.trim() === "" ? Number.NaN : Number(text);
  return value >= least && value <= most ? value : otherwise;
}
