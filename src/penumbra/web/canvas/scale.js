/**
 * The bar that says which colour is which number. A heat map without one is decoration.
 *
 * @import { Layers } from "./types.js"
 */

import { table } from "./colour.js";
import { valueOf } from "./layers.js";

/**
 * @param {number} value
 * @returns {string} Three significant digits.
 */
export function figure(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 0.001 || size >= 10000 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/**
 * @param {Element} parent
 * @param {"left" | "right"} [side]
 */
export function scaleBar(parent, side = "left") {
  const box = document.createElement("div");
  const title = document.createElement("span");
  const bar = document.createElement("canvas");
  const ends = document.createElement("div");
  box.className = "pc-scale";
  box.dataset["side"] = side;
  box.hidden = true;
  box.setAttribute("role", "img");
  Object.assign(bar, { width: 256, height: 1 });
  box.append(title, bar, ends);
  parent.append(box);

  /** @param {Layers} layers */
  function show(layers) {
    const { heat } = layers;
    box.hidden = heat === null;
    if (!heat) return;
    const marks = [0, 0.5, 1].map((share) => {
      const place = layers.window[0] + share * (layers.window[1] - layers.window[0]);
      return figure(valueOf(heat, place * heat.most));
    });
    const name = [heat.label || "Doubt", heat.unit].filter(Boolean).join(", ");
    if (title.textContent !== name) title.textContent = name;
    ends.replaceChildren(
      ...marks.map((mark) => Object.assign(document.createElement("span"), { textContent: mark })),
    );
    box.setAttribute("aria-label", `${name}: from ${marks[0]} to ${marks[2]}`);
    const picture = new ImageData(256, 1);
    picture.data.set(table(layers.map));
    bar.getContext("2d")?.putImageData(picture, 0, 0);
  }
  return { show };
}
