/**
 * What is under way, and what went wrong: said where the hand is.
 */

import { Problem } from "./api.js";
import { part } from "./dom.js";

/** @param {() => void} again */
export function notices(again) {
  const notice = part("notice", HTMLDivElement);
  const text = /** @type {HTMLParagraphElement} */ (notice.querySelector("p"));
  const retry = part("again", HTMLButtonElement);
  const busy = part("busy", HTMLParagraphElement);
  const status = part("status", HTMLSpanElement);

  function clear() {
    if (!notice.hidden) status.textContent = "";
    notice.hidden = true;
    for (const each of document.querySelectorAll(".error")) /** @type {HTMLElement} */ (each).hidden = true;
    for (const each of document.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  }

  /**
   * @param {string} field
   * @param {string} message
   */
  function at(field, message) {
    const place = document.getElementById(`error-${field}`);
    if (!place || place.closest("[hidden]:not(.error)")) return false;
    place.textContent = message;
    place.hidden = false;
    document.querySelector(`[aria-describedby="${place.id}"]`)?.setAttribute("aria-invalid", "true");
    return true;
  }

  /**
   * @param {unknown} error
   * @param {{again?: boolean}} [how] again: offer to try it again.
   */
  function problem(error, { again: offer = true } = {}) {
    const known = error instanceof Problem ? error : new Problem(0, "It did not work", error instanceof Error ? error.message : String(error));
    const left = known.errors.filter(({ field, message }) => !at(field, message));
    status.textContent = known.title;
    if (known.errors.length && !left.length) return;
    const title = document.createElement("strong");
    title.textContent = known.title;
    text.replaceChildren(title, left.length ? left.map(({ field, message }) => `${field}: ${message}`).join(" ") : known.message);
    retry.hidden = !offer;
    notice.hidden = false;
  }

  retry.addEventListener("click", () => {
    clear();
    again();
  });
  part("dismiss", HTMLButtonElement).addEventListener("click", clear);

  return {
    clear,
    at,
    problem,
    /** @param {string | null} words */
    busy(words) {
      busy.hidden = words === null;
      busy.textContent = words ?? "";
    },
    /** @param {string} words */
    status(words) {
      status.textContent = words;
    },
  };
}
