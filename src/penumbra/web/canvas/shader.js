/**
 * The whole picture in one pass over the screen: image, mask fill, doubt, outline. `pixels.js` says
 * the same in JavaScript; a test holds the two together.
 */

export const VERTEX = `#version 300 es
void main() {
  // One triangle that covers the screen.
  gl_Position = vec4(vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0), 0.0, 1.0);
}`;

export const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
uniform sampler2D image, mask, heat, probability, map, classes;
uniform vec2 size, area, window;
uniform vec3 view;       // device pixels per image pixel, middle column, middle row
uniform vec3 opacity;    // image, mask, heat
uniform float ratio, least, most, probabilityMost;
uniform bool hasMask, hasHeat, thresholded, overlays;
out vec4 colour;

float level(sampler2D levels, ivec2 at, float most) {
  vec2 bytes = texelFetch(levels, at, 0).rg * 255.0;
  return most > 255.0 ? bytes.r + bytes.g * 256.0 : bytes.r;
}

bool inside(vec2 at) { return all(greaterThanEqual(at, vec2(0.0))) && all(lessThan(at, size)); }

int label(vec2 at) {
  if (!inside(at)) return 0;
  if (thresholded) return level(probability, ivec2(at), probabilityMost) + 0.5 >= least ? 1 : 0;
  return hasMask ? int(texelFetch(mask, ivec2(at), 0).r * 255.0 + 0.5) : 0;
}

vec4 over(vec4 below, vec3 paint, float cover) {
  return vec4(mix(below.rgb, paint, cover), below.a + cover * (1.0 - below.a));
}

void main() {
  vec2 screen = vec2(gl_FragCoord.x, area.y - gl_FragCoord.y);
  vec2 at = view.yz + (screen - area * 0.5) / view.x;
  if (!inside(at)) { colour = vec4(0.0); return; }
  vec4 texel = textureGrad(image, at / size, vec2(1.0 / view.x / size.x, 0.0), vec2(0.0, 1.0 / view.x / size.y));
  vec4 shown = vec4(texel.rgb * opacity.x, opacity.x * texel.a);
  if (overlays) {
    int here = label(at);
    vec4 paint = texelFetch(classes, ivec2(here, 0), 0);
    if (here > 0) shown = over(shown, paint.rgb, opacity.y * paint.a);
    if (hasHeat) {
      float share = (level(heat, ivec2(at), most) / most - window.x) / (window.y - window.x);
      vec4 glow = texelFetch(map, ivec2(int(clamp(share, 0.0, 1.0) * 255.0 + 0.5), 0), 0);
      shown = over(shown, glow.rgb, glow.a * opacity.z);
    }
    if (here > 0) {
      float reach = 2.0 * ratio / view.x;
      bool edge = label(at + vec2(reach, 0.0)) != here || label(at - vec2(reach, 0.0)) != here
        || label(at + vec2(0.0, reach)) != here || label(at - vec2(0.0, reach)) != here;
      if (edge) shown = over(shown, paint.rgb, min(1.0, opacity.y * 4.0) * paint.a);
    }
  }
  colour = shown;
}`;
