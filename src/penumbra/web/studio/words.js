/** Numbers as people read them. */

/** @param {number} seconds */
export function span(seconds) {
  if (seconds < 0.0995) return `${Number((seconds * 1000).toPrecision(2))} ms`;
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

/** @param {number} count */
export function whole(count) {
  return count.toLocaleString("en").replaceAll(",", "\u2009");
}

/**
 * The status line: the stages that took time, the passes.
 *
 * @param {{timings?: Record<string, number>, passes?: number, converged?: boolean}} answer
 * @param {number} [asked] Passes that were asked for.
 */
export function timingLine(answer, asked = 0) {
  const stages = Object.entries(answer.timings ?? {}).filter(([, seconds]) => seconds >= 0.0005);
  const parts = stages.map(([stage, seconds]) => `${stage} ${span(seconds)}`);
  const passes = answer.passes ?? 0;
  if (answer.converged && passes < asked) parts.push(`${asked} passes, ${passes} needed`);
  else if (passes) parts.push(passes === 1 ? "1 pass" : `${passes} passes`);
  return parts.join(" · ");
}

/** @param {number} share */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/**
 * A file's name without its ending, safe to begin another file's name with.
 *
 * @param {string} name
 */
export function stem(name) {
  return name.replace(/\.[^.]+$/, "").replaceAll(/[^\w.-]+/g, "_").slice(0, 80) || "image";
}
