/**
 * What is under way, and what went wrong: said where the hand is.
 */

import { Problem } from "./api.js";
import { part } from "./dom.js";

export function notices() {
  const notice = part("notice", HTMLDivElement);
  const text = /** @type {HTMLParagraphElement} */ (notice.querySelector("p"));
  const retry = part("again", HTMLButtonElement);
  const busy = part("busy", HTMLParagraphElement);
  const status = part("status", HTMLSpanElement);
  /** @type {Map<string, string>} What is under way, by what it is about; the latest is said. */
  const doing = new Map();
  /** @type {(() => void) | null} What failed, to be done once more. */
  let again = null;

  function clear() {
    if (!notice.hidden) status.textContent = "";
    notice.hidden = true;
    for (const each of document.querySelectorAll(".error:not([data-stays])")) /** @type {HTMLElement} */ (each).hidden = true;
    for (const each of document.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  }

  /**
   * Something about a field that holds until it is taken back.
   *
   * @param {string} field
   * @param {string | null} message null: no longer.
   */
  function stays(field, message) {
    const place = part(`error-${field}`, HTMLElement);
    place.toggleAttribute("data-stays", message !== null);
    place.textContent = message ?? "";
    place.hidden = message === null;
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
   * @param {(() => void) | null} [act] What failed: it is offered to try it again.
   */
  function problem(error, act = null) {
    const known = error instanceof Problem ? error : new Problem(0, "It did not work", error instanceof Error ? error.message : String(error));
    const left = known.errors.filter(({ field, message }) => !at(field, message));
    status.textContent = known.title;
    if (known.errors.length && !left.length) return;
    const title = document.createElement("strong");
    title.textContent = known.title;
    text.replaceChildren(title, left.length ? left.map(({ field, message }) => `${field}: ${message}`).join(" ") : known.message);
    again = act;
    retry.hidden = act === null;
    notice.hidden = false;
  }

  retry.addEventListener("click", () => {
    clear();
    again?.();
  });
  part("dismiss", HTMLButtonElement).addEventListener("click", clear);

  return {
    clear,
    at,
    stays,
    problem,
    /** @param {string | null} words null: it is done. @param {string} [what] */
    busy(words, what = "image") {
      doing.delete(what);
      if (words) doing.set(what, words);
      const now = [...doing.values()].at(-1) ?? "";
      if (busy.textContent !== now) busy.textContent = now;
    },
    /** @param {string} words */
    status(words) {
      status.textContent = words;
    },
  };
}
