/**
 * The renderer on WebGL 2: sliders and gestures change numbers, not pixels.
 *
 * @import { Layers, Levels, MapName, Renderer, Scene } from "./types.js"
 */

import { table } from "./colour.js";
import { leastLevel } from "./layers.js";
import { FRAGMENT, VERTEX } from "./shader.js";

const UNITS = /** @type {const} */ (["image", "mask", "heat", "probability", "map", "classes"]);

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{software?: boolean}} [options] software: also where a processor plays the graphics card,
 *   which is slower than the renderer without WebGL.
 * @returns {Renderer | null} null where the browser has no WebGL 2.
 */
export function glRenderer(canvas, { software = false } = {}) {
  const gl = canvas.getContext("webgl2", {
    alpha: true,
    premultipliedAlpha: true,
    antialias: false,
    failIfMajorPerformanceCaveat: !software,
  });
  const program = gl && (software || onHardware(gl)) && linked(gl);
  if (!gl || !program) return null;
  /** @type {Map<object | string, WebGLTexture>} */
  const textures = new Map();
  /** @type {Set<object | string>} */
  const used = new Set();
  /** @type {ImageBitmap | null} */
  let image = null;
  const nothing = new Uint8Array(1);
  gl.useProgram(program);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  UNITS.forEach((name, unit) => gl.uniform1i(at(name), unit));

  /** @param {string} name */
  function at(name) {
    return /** @type {WebGL2RenderingContext} */ (gl).getUniformLocation(/** @type {WebGLProgram} */ (program), name);
  }

  /**
   * @param {(typeof UNITS)[number]} name
   * @param {object | string} key What the texture is made of; the same key is uploaded once.
   * @param {(gl: WebGL2RenderingContext) => void} upload
   */
  function bind(name, key, upload) {
    if (!gl) return;
    used.add(key);
    gl.activeTexture(gl.TEXTURE0 + UNITS.indexOf(name));
    const known = textures.get(key);
    if (known) {
      gl.bindTexture(gl.TEXTURE_2D, known);
      return;
    }
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    upload(gl);
    textures.set(key, texture);
  }

  /**
   * @param {"heat" | "probability"} name
   * @param {Levels | null} levels
   */
  function bindLevels(name, levels) {
    const data = levels?.data ?? nothing;
    bind(name, data, (gl) => {
      if (data instanceof Uint8Array) {
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, levels?.width ?? 1, levels?.height ?? 1, 0, gl.RED, gl.UNSIGNED_BYTE, data);
        return;
      }
      // Both bytes of a level as two channels: nothing is rounded, and no extension is needed.
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG8, levels?.width ?? 1, levels?.height ?? 1, 0, gl.RG, gl.UNSIGNED_BYTE, bytes);
    });
  }

  /** @param {MapName} map */
  function bindMap(map) {
    bind("map", map, (gl) => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, table(map)));
  }

  /** @param {Scene} scene */
  function bindClasses(scene) {
    const colours = new Uint8Array(256 * 4);
    scene.palette.forEach((colour, index) => {
      colours.set([...colour, Math.round((scene.opacity.classes[index] ?? 1) * 255)], index * 4);
    });
    const key = `classes ${colours.join()}`;
    bind("classes", key, (gl) => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colours));
  }

  /** @param {number} zoom Device pixels per image pixel. */
  function bindImage(zoom) {
    if (!gl || !image) return;
    const picture = image;
    bind("image", picture, (gl) => {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
      gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    });
    // From four screen pixels on, single image pixels are what one looks at.
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, zoom >= 4 ? gl.NEAREST : gl.LINEAR);
  }

  /** @param {Layers} layers */
  function drawLayers(layers) {
    if (!gl) return;
    const { mask, heat, probability, threshold } = layers;
    const maskData = mask?.data ?? nothing;
    bind("mask", maskData, (gl) =>
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, mask?.width ?? 1, mask?.height ?? 1, 0, gl.RED, gl.UNSIGNED_BYTE, maskData),
    );
    bindLevels("heat", heat);
    bindLevels("probability", probability);
    bindMap(layers.map);
    const thresholded = probability !== null && threshold !== null;
    gl.uniform1i(at("hasMask"), Number(mask !== null));
    gl.uniform1i(at("hasHeat"), Number(heat !== null));
    gl.uniform1i(at("thresholded"), Number(thresholded));
    gl.uniform1f(at("least"), thresholded ? leastLevel(probability, threshold) : 0);
    gl.uniform1f(at("most"), heat?.most ?? 255);
    gl.uniform1f(at("probabilityMost"), probability?.most ?? 255);
    gl.uniform2f(at("window"), layers.window[0], Math.max(layers.window[1], layers.window[0] + 1e-6));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** @param {Scene} scene */
  function draw(scene) {
    if (!gl || !image || gl.isContextLost()) return;
    const { width, height, opacity, view, ratio } = scene;
    used.clear();
    gl.viewport(0, 0, width, height);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    bindImage(view.zoom * ratio);
    bindClasses(scene);
    gl.uniform2f(at("size"), scene.size.width, scene.size.height);
    gl.uniform2f(at("area"), width, height);
    gl.uniform3f(at("view"), view.zoom * ratio, view.x, view.y);
    gl.uniform3f(at("opacity"), opacity.image, opacity.mask, opacity.heat);
    gl.uniform1f(at("ratio"), ratio);
    gl.uniform1i(at("overlays"), Number(scene.overlays));
    gl.enable(gl.SCISSOR_TEST);
    const split = scene.other ? Math.round(scene.swipe * width) : width;
    gl.scissor(0, 0, split, height);
    drawLayers(scene.layers);
    if (scene.other) {
      gl.scissor(split, 0, width - split, height);
      drawLayers(scene.other);
    }
    for (const [key, texture] of textures) {
      if (used.has(key)) continue;
      gl.deleteTexture(texture);
      textures.delete(key);
    }
  }

  return {
    name: "webgl",
    setImage(next) {
      const most = gl.getParameter(gl.MAX_TEXTURE_SIZE);
      if (Math.max(next.width, next.height) > most) throw new RangeError(`Expected sides of at most ${most} pixels.`);
      image = next;
    },
    draw,
    destroy() {
      for (const texture of textures.values()) gl.deleteTexture(texture);
      gl.deleteProgram(program);
    },
  };
}

/**
 * Browsers do not all keep their word about the performance caveat: the name says it.
 *
 * @param {WebGL2RenderingContext} gl
 */
function onHardware(gl) {
  const named = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(named ? named.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  return !/swiftshader|llvmpipe|software|basic render/i.test(name);
}

/** @param {WebGL2RenderingContext} gl */
function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of /** @type {const} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
    const shader = gl.createShader(kind);
    if (!shader) return null;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}
