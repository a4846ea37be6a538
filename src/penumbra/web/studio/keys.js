/**
 * Every key of the page, in one table: it acts, and `?` shows it.
 *
 * @typedef {[key: string, words: string, act: ((event: KeyboardEvent) => void) | null]} Key
 *   Those without an act belong to the canvas and are here to be shown.
 */

import { typing } from "../canvas/gestures.js";
import { made, part } from "./dom.js";

/** @param {Key[]} keys */
export function keyboard(keys) {
  const dialog = part("keys", HTMLDialogElement);
  const list = part("key-list", HTMLDListElement);
  for (const [key, words] of [...keys, /** @type {const} */ (["?", "show these keys"])]) {
    list.append(made("dt", {}, made("kbd", {}, key)), made("dd", {}, words));
  }
  const show = () => dialog.open || dialog.showModal();
  part("help", HTMLButtonElement).addEventListener("click", show);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event) || document.querySelector("dialog[open]")) return;
    if (event.key === "?") return void show();
    const pressed = named(event);
    const found = keys.find(([key, , act]) => act && key === pressed);
    if (!found?.[2]) return;
    event.preventDefault();
    found[2](event);
  });
}

/** @param {KeyboardEvent} event */
function named(event) {
  if (event.key === "Backspace" || event.key === "Delete") return "⌫";
  if (/^[1-9]$/.test(event.key)) return "1–9";
  return (event.shiftKey ? "⇧" : "") + event.key.toUpperCase();
}
