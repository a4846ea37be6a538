/**
 * Hands to actions: pointer, wheel and keys. Nothing here draws.
 *
 * @import { Prompt, Tool } from "./types.js"
 *
 * @typedef {object} Hands What the canvas does when a gesture asks for it.
 * @property {() => Tool} tool
 * @property {(by: [number, number]) => void} pan CSS pixels.
 * @property {(factor: number, at?: [number, number]) => void} zoom
 * @property {() => void} fit
 * @property {(hidden: boolean) => void} hide
 * @property {(at: [number, number]) => [number, number]} toImage
 * @property {(box: [number, number, number, number] | null) => void} draft
 * @property {() => [number, number] | null} corner The first corner of a box drawn by keys.
 * @property {(corner: [number, number] | null, words: string) => void} begin Sets it, and says so.
 * @property {(prompt: Prompt) => void} prompt
 * @property {(at: [number, number] | null) => void} hover
 * @property {(moving: boolean) => void} moving
 */

const CLICK = 4;
const STEP = 48;

/**
 * @param {HTMLElement} element
 * @param {EventTarget} keys Where keys are listened for: the element, or the page that it rules.
 * @param {Hands} hands
 * @returns {() => void} Stops listening.
 */
export function listen(element, keys, hands) {
  const ending = new AbortController();
  const { signal } = ending;
  let space = false;
  /** @type {{at: [number, number], from: [number, number], kind: "pan" | Tool, far: boolean, exclude: boolean} | null} */
  let drag = null;
  /** @type {Map<number, [number, number]>} Where each pointer is that is down. */
  const fingers = new Map();

  /** @param {PointerEvent | WheelEvent} event @returns {[number, number]} */
  const place = (event) => {
    const frame = element.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };

  /** @param {PointerEvent} event */
  function down(event) {
    if (event.target instanceof Element && event.target.closest("[role=slider]")) return;
    fingers.set(event.pointerId, place(event));
    if (fingers.size > 1) return pinch(event);
    const tool = hands.tool();
    const pan = event.button === 1 || space || tool === "move";
    if (event.button === 2 && tool === "move") return;
    element.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const at = place(event);
    const exclude = tool === "exclude" || event.button === 2 || event.shiftKey;
    drag = { at, from: at, kind: pan ? "pan" : tool, far: false, exclude };
    hands.moving(pan);
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  function move(event) {
    const at = place(event);
    hands.hover(at);
    if (fingers.size > 1) return pinched(event.pointerId, at);
    if (!drag) return;
    drag.far ||= Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > CLICK;
    if (drag.kind === "box") hands.draft(box(hands.toImage(drag.from), hands.toImage(at)));
    else if (drag.kind === "pan" || drag.far) {
      hands.moving(true);
      hands.pan([at[0] - drag.at[0], at[1] - drag.at[1]]);
    }
    drag.at = at;
  }

  /** From the second finger on it is the view that moves: what the first one began is given up. @param {PointerEvent} event */
  function pinch(event) {
    drag = null;
    hands.draft(null);
    hands.moving(true);
    element.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  /**
   * Two fingers hold two places of the image.
   *
   * @param {number} id
   * @param {[number, number]} at Where this finger is now.
   */
  function pinched(id, at) {
    const before = fingers.get(id);
    const other = [...fingers].find(([each]) => each !== id)?.[1];
    if (!before || !other || [...fingers.keys()].indexOf(id) > 1) return;
    fingers.set(id, at);
    const [was, is] = [before, at].map((place) => Math.hypot(place[0] - other[0], place[1] - other[1]));
    hands.pan([(at[0] - before[0]) / 2, (at[1] - before[1]) / 2]);
    if (was && is) hands.zoom(is / was, [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
  }

  /** @param {PointerEvent} event */
  function up(event) {
    fingers.delete(event.pointerId);
    const done = drag;
    drag = null;
    hands.moving(false);
    if (!done || done.kind === "pan" || done.kind === "move") return;
    const at = place(event);
    if (done.kind === "box") {
      hands.draft(null);
      if (done.far) hands.prompt({ kind: "box", box: box(hands.toImage(done.from), hands.toImage(at)) });
    } else if (!done.far) {
      hands.prompt({ kind: "point", point: hands.toImage(at), label: done.exclude ? 0 : 1 });
    }
  }

  /** @param {WheelEvent} event */
  function wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    // A pinch on a trackpad comes as a wheel with the control key, and with small steps.
    const speed = event.ctrlKey ? 0.01 : 0.0016;
    hands.zoom(Math.exp(-event.deltaY * lines * speed), place(event));
  }

  /** @param {KeyboardEvent} event */
  function keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
    if (event.code === "Space" && !pressable(event)) {
      space = true;
      event.preventDefault();
    } else if (event.key.toLowerCase() === "h") hands.hide(true);
    else if (event.key.toLowerCase() === "f" && !event.repeat) hands.fit();
    else if (event.key === "+" || event.key === "=") hands.zoom(1.25);
    else if (event.key === "-") hands.zoom(0.8);
    else if (event.target === element) onElement(event);
  }

  /** @param {KeyboardEvent} event */
  function onElement(event) {
    const by = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    if (by) {
      hands.pan([by[0] ?? 0, by[1] ?? 0]);
      event.preventDefault();
    } else if (event.key === "Enter") enter();
    else if (event.key === "Escape") {
      if (hands.corner()) hands.begin(null, "The box was given up.");
      hands.draft(null);
    }
  }

  /** Enter puts the prompt at the middle of the view, so that no mouse is needed. */
  function enter() {
    const tool = hands.tool();
    const at = hands.toImage([element.clientWidth / 2, element.clientHeight / 2]);
    if (tool === "point" || tool === "exclude") hands.prompt({ kind: "point", point: at, label: tool === "point" ? 1 : 0 });
    if (tool !== "box") return;
    const corner = hands.corner();
    if (corner) hands.prompt({ kind: "box", box: box(corner, at) });
    const [x, y] = at.map(Math.round);
    if (corner) hands.begin(null, "The box is drawn.");
    else hands.begin(at, `First corner at ${x}, ${y}. Move the image with the arrow keys, then press Enter for the corner opposite.`);
  }

  /** @param {KeyboardEvent} event */
  function keyup(event) {
    if (event.code === "Space") space = false;
    if (event.key.toLowerCase() === "h") hands.hide(false);
  }

  element.addEventListener("pointerdown", down, { signal });
  element.addEventListener("pointermove", move, { signal });
  element.addEventListener("pointerup", up, { signal });
  element.addEventListener("pointercancel", (event) => {
    fingers.delete(event.pointerId);
    drag = null;
    hands.draft(null);
    hands.moving(false);
  }, { signal });
  element.addEventListener("lostpointercapture", (event) => fingers.delete(event.pointerId), { signal });
  element.addEventListener("pointerleave", () => hands.hover(null), { signal });
  element.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
  element.addEventListener("wheel", wheel, { signal, passive: false });
  keys.addEventListener("keydown", (event) => keydown(/** @type {KeyboardEvent} */ (event)), { signal });
  keys.addEventListener("keyup", (event) => keyup(/** @type {KeyboardEvent} */ (event)), { signal });
  window.addEventListener("blur", () => {
    // A key that is let go elsewhere is never heard of.
    space = false;
    hands.hide(false);
  }, { signal });
  return () => ending.abort();
}

/**
 * @param {[number, number]} one
 * @param {[number, number]} other
 * @returns {[number, number, number, number]} With the smaller coordinates first.
 */
export function box(one, other) {
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[0], other[0]), Math.max(one[1], other[1])];
}

/**
 * Whether the key belongs to something that is typed in, where no letter is a command.
 *
 * @param {Event} event
 */
export function typing(event) {
  const target = event.composedPath()[0];
  if (target instanceof HTMLInputElement) return !["range", "radio", "checkbox", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** @param {Event} event */
function pressable(event) {
  const target = event.composedPath()[0];
  return target instanceof Element && target.matches("button, a, input, summary, [role=button]");
}
