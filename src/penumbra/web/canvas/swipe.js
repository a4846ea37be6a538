/**
 * The handle between two results: a slider for hands, keys and screen readers.
 */

import { clamp } from "./view.js";

/**
 * @param {HTMLElement} parent
 * @param {(position: number) => void} moved Position from 0 to 1 of the width.
 */
export function swipeHandle(parent, moved) {
  const handle = document.createElement("div");
  handle.className = "pc-swipe";
  handle.hidden = true;
  handle.tabIndex = 0;
  handle.setAttribute("role", "slider");
  handle.setAttribute("aria-label", "Swipe between the two results");
  handle.setAttribute("aria-valuemin", "0");
  handle.setAttribute("aria-valuemax", "100");
  parent.append(handle);
  let position = 0.5;

  /** @param {number} next */
  function go(next) {
    moved(clamp(next, 0, 1));
  }

  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    event.preventDefault();
    event.stopPropagation();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const frame = parent.getBoundingClientRect();
    go((event.clientX - frame.left) / frame.width);
  });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageUp: 0.1, PageDown: -0.1 }[event.key];
    if (event.key === "Home") go(0);
    else if (event.key === "End") go(1);
    else if (step !== undefined) go(position + step);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return {
    /**
     * @param {boolean} shown
     * @param {number} at
     */
    show(shown, at) {
      position = at;
      handle.hidden = !shown;
      handle.style.left = `${at * 100}%`;
      handle.setAttribute("aria-valuenow", String(Math.round(at * 100)));
    },
  };
}
