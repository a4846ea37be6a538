"use strict";
(() => {
  const all = (query, from = document) => Array.from(from.querySelectorAll(query));
  const byId = (id) => document.getElementById(id);

  // Theme: the system's until the reader chooses; kept where the browser allows it for files.
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const recall = () => { try { return localStorage.getItem("penumbra-theme"); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem("penumbra-theme", value); } catch { /* private */ } };
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { byId("theme").textContent = isDark() ? "Light theme" : "Dark theme"; };
  const asked = new URLSearchParams(location.search).get("theme") || recall();
  if (asked === "dark" || asked === "light") root.dataset.theme = asked;
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep(root.dataset.theme);
    nameTheme();
  });
  system.addEventListener("change", nameTheme);
  nameTheme();

  // Enlarging.
  const viewer = byId("viewer");
  const large = viewer.querySelector("img");
  const buttons = all(".panel:not([hidden]) .zoom");
  let current = 0;
  const show = (index) => {
    current = (index + buttons.length) % buttons.length;
    const image = buttons[current].querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    large.dataset.plain = image.dataset.plain || image.id;
    large.style.setProperty("--shape", image.width / image.height);
    byId("viewer-title").textContent = image.alt;
  };
  buttons.forEach((button, index) => button.addEventListener("click", () => {
    show(index);
    viewer.showModal();
  }));
  viewer.addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => buttons[current].focus());

  // Holding H shows the bare image in place of every overlay.
  const overlays = () => all("img[data-plain]");
  let bare = false;
  const strip = () => {
    if (bare) return;
    bare = true;
    overlays().forEach((image) => {
      const plain = byId(image.dataset.plain);
      if (!plain) return;
      image.dataset.overlay = image.src;
      image.src = plain.src;
    });
  };
  const restore = () => {
    if (!bare) return;
    bare = false;
    overlays().forEach((image) => {
      if (image.dataset.overlay) image.src = image.dataset.overlay;
      delete image.dataset.overlay;
    });
  };
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "h" || event.key === "H") strip();
    if (viewer.open && event.key === "ArrowRight") { restore(); show(current + 1); }
    if (viewer.open && event.key === "ArrowLeft") { restore(); show(current - 1); }
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === "h" || event.key === "H") restore();
  });
  window.addEventListener("blur", restore);

  // Tables: a click sorts, a second click turns the order round; what is undefined stays last.
  const sort = (head, column) => {
    const body = head.closest("table").tBodies[0];
    const numeric = head.classList.contains("n");
    const up = head.getAttribute("aria-sort") !== "ascending";
    all("th", head.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = Array.from(body.rows, (row) => [row.cells[column].dataset.key, row]);
    const compare = numeric
      ? (a, b) => a - b
      : (a, b) => a.localeCompare(b, undefined, { numeric: true });
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return up ? compare(a, b) : compare(b, a);
    });
    body.append(...keyed.map(([, row]) => row));
  };
  all("thead th").forEach((head) => {
    head.querySelector("button").addEventListener("click", () => sort(head, head.cellIndex));
  });

  const filter = byId("filter");
  if (filter) {
    const rows = all("#all tbody tr");
    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
  }

  const copy = byId("copy");
  if (copy) {
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(byId("command").textContent);
        copy.textContent = "Copied";
      } catch {
        // Without permission the text is at least selected, one key away from being copied.
        getSelection().selectAllChildren(byId("command"));
      }
    });
  }
})();
