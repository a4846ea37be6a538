/**
 * The results of all images within a number of bytes; the one that was longest not looked at goes
 * first, and is asked for again when it is needed.
 *
 * @import { Result } from "./answers.js"
 */

const MOST_BYTES = 512 * 2 ** 20;
/** What is on the canvas and what it is compared with stay, however large they are. */
const LEAST = 2;

/** @param {Result} result */
export function bytesOf(result) {
  const fields = Object.values(result.fields).reduce((sum, field) => sum + field.data.byteLength, 0);
  const files = Object.values(result.files).reduce((sum, file) => sum + file.byteLength, 0);
  return result.mask.data.byteLength + fields + files;
}

/** @param {number} [most] Bytes. */
export function keeper(most = MOST_BYTES) {
  /** @type {{owner: object, key: string, result: Result, bytes: number}[]} The latest is the last. */
  let entries = [];

  /** @param {object} owner @param {string} [key] Without it, all of the owner's. */
  function forget(owner, key) {
    entries = entries.filter((entry) => entry.owner !== owner || (key !== undefined && entry.key !== key));
  }

  return {
    forget,
    /** @param {object} owner @param {string} key @returns {Result | null} */
    get(owner, key) {
      const at = entries.findIndex((entry) => entry.owner === owner && entry.key === key);
      const found = entries[at];
      if (!found) return null;
      entries.push(...entries.splice(at, 1));
      return found.result;
    },
    /** @param {object} owner @param {string} key @param {Result} result */
    put(owner, key, result) {
      forget(owner, key);
      entries.push({ owner, key, result, bytes: bytesOf(result) });
      let total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
      while (total > most && entries.length > LEAST) total -= entries.shift()?.bytes ?? 0;
    },
  };
}
