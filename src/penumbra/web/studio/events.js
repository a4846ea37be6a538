/**
 * Server-sent events from the body of an answer. `EventSource` cannot send a file.
 *
 * @typedef {{event: string, data: string}} Message
 */

/**
 * @returns {(text: string) => Message[]} Takes the text as it comes, gives the messages that it
 *   completes.
 */
export function messageParser() {
  let rest = "";
  return (text) => {
    rest += text;
    // A carriage return at the end may be half of a line's end.
    const whole = rest.endsWith("\r") ? rest.slice(0, -1) : rest;
    const blocks = whole.replaceAll(/\r\n?/g, "\n").split("\n\n");
    const last = blocks.pop() ?? "";
    rest = last + (rest.endsWith("\r") ? "\r" : "");
    return blocks.map(message).filter((found) => found.data !== "");
  };
}

/**
 * @param {string} block
 * @returns {Message}
 */
function message(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, field = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return { event, data: data.join("\n") };
}
