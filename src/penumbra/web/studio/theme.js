/** Dark or light: the system's choice, until a person makes another. */

import { part } from "./dom.js";

const KEPT = "penumbra-theme";

export function theme() {
  const button = part("theme", HTMLButtonElement);
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const dark = () => (root.dataset["theme"] ? root.dataset["theme"] === "dark" : system.matches);

  function name() {
    if (button.firstChild) button.firstChild.textContent = dark() ? "Light " : "Dark ";
  }
  function toggle() {
    root.dataset["theme"] = dark() ? "light" : "dark";
    localStorage.setItem(KEPT, root.dataset["theme"]);
    name();
  }
  const kept = localStorage.getItem(KEPT);
  if (kept === "dark" || kept === "light") root.dataset["theme"] = kept;
  name();
  system.addEventListener("change", name);
  button.addEventListener("click", toggle);
  return toggle;
}
