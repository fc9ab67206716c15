// The text of server-sent events, taken apart as it comes (HTML standard, 9.2.6). EventSource
// would do it, but can send no login.

export class EventParser {
  #rest = "";
  #event = "";
  #data = [];
  #id = null;

  // Returns the events that are complete with this piece of text: {event, data, id}; `id` is null
  // where none was sent with it. An id that came without data is a "message" without data.
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length || this.#id !== null) {
          events.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
        }
        this.#event = "";
        this.#data = [];
        this.#id = null;
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.#event = value;
      else if (field === "data") this.#data.push(value);
      else if (field === "id") this.#id = value;
    }
    return events;
  }
}
