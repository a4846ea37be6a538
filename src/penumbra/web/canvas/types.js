/**
 * The shapes that go in and out of the canvas. Pixel (x, y) covers the square from (x, y) to
 * (x + 1, y + 1) of the image plane; prompts and views are given in that plane.
 *
 * @typedef {{width: number, height: number}} Size
 *
 * @typedef {object} View
 * @property {number} zoom CSS pixels per image pixel, above 0.
 * @property {number} x Image column at the middle of the canvas.
 * @property {number} y Image row at the middle of the canvas.
 *
 * @typedef {object} ClassMask
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} data Class indices, row after row; 0 is background.
 *
 * @typedef {object} Field
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array | Uint16Array | Float32Array} data Whole levels v, which mean
 *   lo + v / most · (hi − lo), or floats, which mean themselves.
 * @property {[number, number]} scale The values [lo, hi] of the lowest and the highest level.
 * @property {string} [label] What the field holds, for the scale bar.
 * @property {string} [unit] Of the values, for the scale bar.
 *
 * @typedef {object} Levels A field as the renderers take it.
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array | Uint16Array} data
 * @property {number} most The highest level that the data can hold: 255 or 65535.
 * @property {[number, number]} scale
 * @property {string} label
 * @property {string} unit
 *
 * @typedef {"doubt" | "viridis"} MapName
 * @typedef {[number, number, number]} Rgb Red, green, blue from 0 to 255.
 *
 * @typedef {object} Layers One result as it is drawn over the image.
 * @property {ClassMask | null} mask
 * @property {Levels | null} heat
 * @property {MapName} map
 * @property {[number, number]} window Shares of the heat's scale that become the ends of the map.
 * @property {Levels | null} probability Of class 1; from it a moved threshold draws the mask.
 * @property {number | null} threshold null: the mask as it was given.
 *
 * @typedef {object} Opacities Each from 0 to 1.
 * @property {number} image
 * @property {number} mask
 * @property {number} heat
 * @property {Record<number, number>} classes Of single classes, multiplied by `mask`.
 *
 * @typedef {object} Prompts
 * @property {[number, number, number, number][]} boxes x0, y0, x1, y1.
 * @property {[number, number][]} points
 * @property {(0 | 1)[]} labels 1: inside the object, 0: outside; one for each point.
 *
 * @typedef {{kind: "point", point: [number, number], label: 0 | 1}
 *   | {kind: "box", box: [number, number, number, number]}} Prompt
 *
 * @typedef {"move" | "point" | "exclude" | "box"} Tool
 *
 * @typedef {object} Cursor What lies under the pointer.
 * @property {number} x
 * @property {number} y
 * @property {number} label Class index in the mask that is shown.
 * @property {number | null} value Of the heat layer, in its unit.
 *
 * @typedef {object} Scene Everything a renderer needs for one frame.
 * @property {number} width Of the drawing area in device pixels.
 * @property {number} height
 * @property {number} ratio Device pixels per CSS pixel.
 * @property {View} view
 * @property {Size} size Of the image.
 * @property {Layers} layers
 * @property {Layers | null} other The result right of the swipe.
 * @property {number} swipe Where the swipe stands, from 0 to 1 of the width.
 * @property {Opacities} opacity
 * @property {Rgb[]} palette
 * @property {boolean} overlays
 *
 * @typedef {object} Renderer
 * @property {string} name
 * @property {(image: ImageBitmap) => void} setImage
 * @property {(scene: Scene) => void} draw
 * @property {() => void} destroy
 */

export {};
