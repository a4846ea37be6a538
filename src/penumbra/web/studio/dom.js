/** Parts of the page, with their types. */

/**
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`Expected #${id} in the page, but it is not there.`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string>} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/**
 * Set a slider, and how much of its track is filled.
 *
 * @param {HTMLInputElement} input
 * @param {number} value
 * @param {string} words What a screen reader says for the value.
 */
export function slide(input, value, words) {
  input.setAttribute("aria-valuetext", words);
  input.value = String(value);
  const [least, most] = [Number(input.min), Number(input.max)];
  input.style.setProperty("--fill", `${((Number(input.value) - least) / (most - least)) * 100}%`);
}
