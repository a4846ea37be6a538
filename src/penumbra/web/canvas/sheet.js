/**
 * The canvas brings its own style, so that every host, shadow roots included, shows it alike. Hosts
 * set the custom properties to match themselves.
 */

const RULES = `
.pc { position: relative; overflow: hidden; width: 100%; height: 100%; min-height: 120px; touch-action: none;
  user-select: none; -webkit-user-select: none; color: var(--ink, #15171A); font: 13px/1.4 var(--sans, system-ui, sans-serif); }
.pc canvas { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.pc-pixels { transition: filter .2s, opacity .2s; }
.pc[data-dimmed="true"] .pc-pixels { filter: saturate(.55); opacity: .5; }
.pc:focus-visible { outline: 2px solid var(--ink, #15171A); outline-offset: -2px; }
.pc[data-tool="point"], .pc[data-tool="exclude"], .pc[data-tool="box"] { cursor: crosshair; }
.pc[data-tool="move"] { cursor: grab; }
.pc[data-moving="true"] { cursor: grabbing; }
.pc-scale { position: absolute; left: 16px; bottom: 16px; padding: 8px 12px 8px; border-radius: 6px; pointer-events: none;
  background: var(--raised, #FFFFFF); box-shadow: 0 0 0 1px var(--rule, #E4E3DC); }
.pc-scale[data-side="right"] { left: auto; right: 16px; }
.pc-scale[hidden] { display: none; }
.pc-said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.pc-scale canvas { position: static; width: 176px; height: 8px; margin: 6px 0 4px; border-radius: 2px; background: #15171A; }
.pc-scale div { display: flex; justify-content: space-between; gap: 12px; color: var(--muted, #5B5E60);
  font-family: var(--mono, ui-monospace, monospace); font-variant-numeric: tabular-nums; }
.pc-swipe { position: absolute; top: 0; bottom: 0; width: 24px; margin-left: -12px; cursor: ew-resize; touch-action: none; }
.pc-swipe[hidden] { display: none; }
.pc-swipe::before { content: ""; position: absolute; inset: 0 11px; background: #FAFAF7; box-shadow: 0 0 0 1px rgb(21 23 26 / .6); }
.pc-swipe::after { content: "‹ ›"; position: absolute; top: 50%; left: -4px; width: 32px; height: 32px; margin-top: -16px;
  border-radius: 16px; background: #FAFAF7; color: #15171A; box-shadow: 0 0 0 1px rgb(21 23 26 / .6);
  text-align: center; line-height: 30px; letter-spacing: 1px; }
.pc-swipe:focus-visible { outline: none; }
.pc-swipe:focus-visible::after { outline: 2px solid var(--ink, #15171A); outline-offset: 2px; }
`;

/**
 * Give the element's document, or its shadow root, the rules once.
 *
 * @param {Element} element
 */
export function style(element) {
  const root = element.getRootNode();
  if (!(root instanceof Document || root instanceof ShadowRoot)) return;
  if (root.adoptedStyleSheets.some((sheet) => sheet.cssRules[0]?.cssText.startsWith(".pc "))) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(RULES);
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
}
