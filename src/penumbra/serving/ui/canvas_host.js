// What stands between Streamlit and the canvas: `entry` is a promise of the canvas's module.

const shown = new WeakMap();

export default function host({ parentElement, data }) {
  let mounted = shown.get(parentElement);
  if (!mounted) {
    mounted = entry.then((module) => new Mounted(parentElement, module.mountCanvas));
    shown.set(parentElement, mounted);
  }
  const failed = (error) => say(parentElement, `The canvas could not be drawn: ${error.message}`);
  mounted.then((one) => one.show(data)).catch(failed);
  return () => {
    shown.delete(parentElement);
    mounted.then((one) => one.canvas.destroy(), () => {});
  };
}

class Mounted {
  constructor(parent, mountCanvas) {
    this.frame = element("div", "frame");
    this.place = element("div", "place");
    this.bar = element("div", "bar");
    this.frame.append(this.place, this.bar);
    parent.append(this.frame);
    this.canvas = mountCanvas(this.place, { label: "Image with mask and doubt" });
    this.drawn = {};
    this.sliders = { mask: this.opacity("mask", "Mask", 0.35), heat: this.opacity("heat", "Map", 0.85) };
    this.sliders.threshold = this.slider("Threshold", "Threshold, drawn here at once", (value) => this.cut(value));
    this.under = element("output", "under");
    this.canvas.onCursor((cursor) => this.read(cursor));
    const fit = this.button("Fit", "Show the whole image");
    fit.addEventListener("click", () => this.canvas.fit());
    this.bar.append(this.under, fit, this.hide());
  }

  /** A slider that asks nobody: `said` is told its value and gives the words beside it. */
  slider(words, says, said) {
    const label = element("label", "");
    const input = element("input", "");
    const value = element("output", "");
    Object.assign(input, { type: "range", min: 0, max: 1, step: 0.01 });
    input.setAttribute("aria-label", says);
    label.set = (next) => {
      if (next !== undefined) input.value = next;
      value.textContent = said(Number(input.value));
    };
    input.addEventListener("input", () => label.set());
    label.append(words, input, value);
    this.bar.append(label);
    return label;
  }

  opacity(layer, words, first) {
    const label = this.slider(words, `Opacity of the ${words.toLowerCase()}`, (value) => {
      this.canvas.setOpacity(layer, value);
      return `${Math.round(value * 100)} %`;
    });
    label.set(first);
    return label;
  }

  /** Draw the mask that another threshold would give; the answer itself stays as it is. */
  cut(threshold) {
    const own = Math.abs(threshold - this.threshold) < 0.005;
    this.canvas.setThreshold(own ? null : threshold);
    return threshold.toFixed(2);
  }

  button(words, says) {
    const button = element("button", "");
    button.type = "button";
    button.textContent = words;
    button.title = says;
    return button;
  }

  hide() {
    const button = this.button("Hold to hide", "Hold to see the image alone; key H on the canvas");
    const set = (hidden) => () => this.canvas.hideOverlays(hidden);
    button.addEventListener("pointerdown", set(true));
    for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
      button.addEventListener(name, set(false));
    }
    button.addEventListener("keydown", (event) => {
      if (event.key === " " || event.key === "Enter") set(true)();
    });
    button.addEventListener("keyup", set(false));
    return button;
  }

  async show(data) {
    this.place.style.height = `${data.height}px`;
    this.frame.dataset.image = data.image.id;
    if (this.drawn.image !== data.image.id) {
      this.drawn = { image: data.image.id };
      const file = new Blob([bytes(data.image.png)], { type: "image/png" });
      await this.canvas.setImage(await createImageBitmap(file));
    }
    if (this.drawn.mask !== data.mask?.id) {
      this.drawn.mask = data.mask?.id;
      const mask = data.mask && (await plane(data.mask));
      this.canvas.setMask(mask ?? null, data.palette);
    }
    if (this.drawn.heat !== data.heat?.id) {
      this.drawn.heat = data.heat?.id;
      const { scale, label, unit } = data.heat ?? {};
      const heat = data.heat && { ...(await plane(data.heat)), scale, label, unit };
      this.canvas.setHeat(heat ?? null, data.heat?.map ?? "doubt", { own: data.heat?.own ?? false });
    }
    if (this.drawn.probability !== data.probability?.id || this.threshold !== data.threshold) {
      this.drawn.probability = data.probability?.id;
      this.threshold = data.threshold;
      this.canvas.setProbability(data.probability && { ...(await plane(data.probability)), scale: [0, 1] });
      this.sliders.threshold.set(data.threshold ?? 0.5);
    }
    this.sliders.threshold.hidden = !data.probability;
    this.sliders.heat.hidden = !data.heat;
    this.unit = data.heat?.unit ?? "";
    this.classes = data.classes;
    this.frame.dataset.ready = JSON.stringify(this.drawn);
  }

  read(cursor) {
    if (!cursor) {
      this.under.textContent = "";
      return;
    }
    const name = this.classes?.[cursor.label] ?? cursor.label;
    const value = cursor.value === null ? "" : ` · ${Number(cursor.value.toPrecision(3))} ${this.unit}`;
    this.under.textContent = `${cursor.x}, ${cursor.y} · ${name}${value}`;
  }
}

function element(name, kind) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  return made;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

async function plane({ width, height, data }) {
  const packed = new Blob([bytes(data)]).stream();
  const raw = await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  return { width, height, data: new Uint8Array(raw) };
}

function say(parent, words) {
  const said = element("p", "failed");
  said.setAttribute("role", "alert");
  said.textContent = words;
  parent.append(said);
}
