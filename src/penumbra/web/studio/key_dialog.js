/** Asks for the API key when the server does. */

import { part } from "./dom.js";

/**
 * @param {string} why
 * @returns {Promise<string | null>} null: not now.
 */
export function askKey(why) {
  const dialog = part("ask", HTMLDialogElement);
  const input = part("api-key", HTMLInputElement);
  part("ask-why", HTMLParagraphElement).textContent = `${why}It is kept in this tab only, until you close it.`;
  input.value = "";
  waiting ??= new Promise((done) => {
    dialog.addEventListener(
      "close",
      () => {
        waiting = null;
        done(dialog.returnValue === "use" ? input.value.trim() || null : null);
      },
      { once: true },
    );
    dialog.returnValue = "";
    dialog.showModal();
  });
  return waiting;
}

/** @type {Promise<string | null> | null} One dialog for all requests that wait for a key. */
let waiting = null;
