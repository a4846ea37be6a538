/**
 * The REST interface as the studio uses it.
 *
 * @typedef {{field: string, message: string}} FieldError
 */

import { messageParser } from "./events.js";

const KEPT = "penumbra-api-key";
/** Of 429: somebody else's turn; of 503: the models are being loaded, which takes its time. */
const MOST_TRIES = /** @type {Record<number, number>} */ ({ 429: 4, 503: 40 });

/** What the server says is wrong, by RFC 9457. */
export class Problem extends Error {
  /**
   * @param {number} status 0 where no answer came.
   * @param {string} title
   * @param {string} detail
   * @param {FieldError[]} [errors]
   */
  constructor(status, title, detail, errors = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.errors = errors;
  }
}

/**
 * @typedef {object} Hooks
 * @property {(why: string) => Promise<string | null>} askKey Asks the person for a key.
 * @property {(seconds: number, why: string) => void} waiting Says that it goes on by itself; 0: it
 *   went on.
 *
 * @typedef {ReturnType<typeof connect>} Api
 */

/** @param {Hooks} hooks */
export function connect(hooks) {
  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  async function once(path, init) {
    const headers = new Headers(init.headers);
    const key = sessionStorage.getItem(KEPT);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    try {
      return await fetch(new URL(path.replace(/^\//, ""), document.baseURI), { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Problem(0, "The server does not answer", "Is it still running? Your images and settings are kept here.");
    }
  }

  /**
   * Ask; asks for a key at 401, and waits as the server says at 429 and 503.
   *
   * @param {string} path
   * @param {RequestInit} [init]
   */
  async function request(path, init = {}) {
    for (let tries = 1; ; tries += 1) {
      const response = await once(path, init);
      if (response.ok) return response;
      const problem = await problemOf(response);
      if (response.status === 401) {
        const key = await hooks.askKey(sessionStorage.getItem(KEPT) ? "That key is not known here. " : "");
        if (!key) throw problem;
        sessionStorage.setItem(KEPT, key);
        continue;
      }
      const wait = Number(response.headers.get("Retry-After"));
      if (!(wait > 0) || tries >= (MOST_TRIES[response.status] ?? 0)) throw problem;
      hooks.waiting(wait, problem.title);
      try {
        await delay(wait, init.signal ?? null);
      } finally {
        hooks.waiting(0, "");
      }
    }
  }

  return {
    request,
    /**
     * @param {string} path
     * @param {RequestInit} [init]
     * @returns {Promise<any>}
     */
    json: async (path, init) => (await request(path, init)).json(),
    /**
     * @param {string} path
     * @param {AbortSignal} [signal]
     */
    bytes: async (path, signal) => (await request(path, { signal: signal ?? null })).arrayBuffer(),
    /**
     * Post a form and read the events that come back.
     *
     * @param {string} path
     * @param {FormData} body
     * @param {AbortSignal} signal
     */
    async *events(path, body, signal) {
      const response = await request(path, { method: "POST", body, signal, headers: { Accept: "text/event-stream" } });
      if (!response.body) return;
      const parse = messageParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          for (const message of parse(value)) {
            const data = JSON.parse(message.data);
            if (message.event === "error" || message.event === "problem") throw fromDocument(data, 500);
            yield { event: message.event, data };
          }
        }
      } finally {
        // Whoever stops listening, for whatever reason, lets the server stop, too. A stream that broke
        // has nothing left to cancel.
        reader.cancel().catch(() => undefined);
      }
    },
  };
}

/** @param {Response} response */
async function problemOf(response) {
  const text = await response.text();
  try {
    return fromDocument(JSON.parse(text), response.status);
  } catch {
    return new Problem(response.status, `The server answered ${response.status}`, text.slice(0, 200));
  }
}

/**
 * @param {any} document
 * @param {number} status
 */
export function fromDocument(document, status) {
  const errors = Array.isArray(document.errors) ? document.errors : [];
  const fields = errors.map((/** @type {any} */ entry) => ({ field: String(entry.field ?? ""), message: String(entry.message ?? "") }));
  return new Problem(document.status ?? status, String(document.title ?? "It did not work"), String(document.detail ?? ""), fields);
}

/**
 * @param {number} seconds
 * @param {AbortSignal | null} signal
 * @returns {Promise<void>}
 */
function delay(seconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      failed(signal.reason);
    });
  });
}
