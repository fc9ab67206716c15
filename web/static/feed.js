// The list of live events, newest first.

import { alarmName } from "./alarms.js";
import { byId, h, notify, setText } from "./dom.js";
import { isNarrow, matchesEvent } from "./filter.js";
import { vmLink } from "./place.js";
import { actionLabel, stateLabel } from "./states.js";
import { clock, timeElement } from "./times.js";

const KEPT = 2000;
const SHOWN = 150;
const FLUSH_EVERY = 250; // milliseconds between two changes of the list
const MOST_MARKED = 20; // new entries at once that are marked as new

export class Feed {
  #list = byId("events");
  #pause = byId("pause");
  #notice = byId("events-notice");
  #entries = []; // events and gaps, oldest first
  #ids = new Set();
  #fresh = []; // entries that are not shown yet
  #paused = false;
  #timer = 0;
  #flushed = 0; // when entries were last shown
  #matches = () => true;
  #since = new Date();
  #filtered = false;

  constructor() {
    this.#pause.addEventListener("click", () => this.#setPaused(!this.#paused));
    this.#render();
  }

  // Shows events of one cloud ("" for all) that the filter lets through.
  show(cloud, filter) {
    this.#list.classList.toggle("of-one", cloud !== "");
    this.#filtered = isNarrow(filter);
    this.#matches = (entry) =>
      entry.gap || ((!cloud || entry.vim_id === cloud) && matchesEvent(filter, entry));
    this.#render();
  }

  // Takes an event; returns false where it is a repetition.
  add(event) {
    if (this.#ids.has(event.id)) return false;
    this.#ids.add(event.id);
    this.#take(event);
    return true;
  }

  // Takes a sentence that says why events are missing here.
  addGap(text) {
    this.#take({ gap: text, at: new Date() });
  }

  #take(entry) {
    this.#entries.push(entry);
    if (this.#entries.length > KEPT) this.#ids.delete(this.#entries.shift().id);
    if (!this.#matches(entry)) return;
    this.#fresh.push(entry);
    if (this.#fresh.length > KEPT) this.#fresh.shift();
    const wait = Math.max(0, this.#flushed + FLUSH_EVERY - performance.now());
    this.#timer ||= setTimeout(() => this.#flush(), wait);
  }

  #flush() {
    this.#timer = 0;
    this.#flushed = performance.now();
    if (this.#paused) {
      const more = this.#fresh.length < KEPT ? "" : " or more";
      setText(this.#pause, `Resume · ${this.#fresh.length}${more} new`);
      return;
    }
    const newest = this.#fresh.splice(0).slice(-SHOWN).reverse();
    const isCalm = newest.length <= MOST_MARKED;
    this.#list.prepend(...newest.map((entry) => item(entry, isCalm)));
    while (this.#list.children.length > SHOWN) this.#list.lastElementChild.remove();
    this.#describe();
  }

  #render() {
    this.#fresh = [];
    const shown = [];
    for (let at = this.#entries.length - 1; at >= 0 && shown.length < SHOWN; at -= 1) {
      if (this.#matches(this.#entries[at])) shown.push(item(this.#entries[at], false));
    }
    this.#list.replaceChildren(...shown);
    this.#describe();
  }

  #describe() {
    const empty = this.#list.children.length === 0;
    const what = this.#filtered ? "No event that the filter lets through" : "No event";
    const text = `${what} since ${clock(this.#since)}. Events appear here as they are told.`;
    notify(this.#notice, empty ? text : "");
  }

  #setPaused(paused) {
    this.#paused = paused;
    this.#pause.setAttribute("aria-pressed", paused);
    setText(this.#pause, paused ? "Resume" : "Pause");
    if (!paused) this.#flush();
  }
}

function item(entry, isNew) {
  if (entry.gap) {
    return h("li", { class: "gap" }, h("span", {}, entry.gap), " ", clock(entry.at));
  }
  return h(
    "li",
    { class: `event ${isNew ? "new" : ""} ${entry.phase === "error" ? "failed" : ""}` },
    timeElement(entry.changed_at),
    h(
      "div",
      { class: "what" },
      actionLabel(entry.kind, entry.phase),
      h("span", { class: "cloud" }, entry.vim_id),
    ),
    h(
      "div",
      { class: "about" },
      subject(entry),
      entry.late ? h("span", { class: "mark" }, "late") : null,
      entry.inferred ? h("span", { class: "mark" }, "inferred") : null,
      cause(entry) ? h("span", { class: "mark" }, cause(entry)) : null,
      entry.instance_id ? stateLabel(entry.new_state, entry.new_task_state) : null,
    ),
  );
}

// Returns what an event is about: a VM, a host or the cloud.
function subject({ vim_id: vimId, instance_id: instanceId, display_name: name, host }) {
  if (instanceId) return vmLink(vimId, instanceId, name);
  return h("span", {}, host ? `host ${host}` : "the cloud");
}

// Returns why an event was told: the reason, or what an alert from outside is called.
export function cause({ kind, reason, alarm }) {
  if (kind === "ALERT" && alarm) return alarmName(alarm);
  return (reason ?? "").replaceAll("_", " ");
}
