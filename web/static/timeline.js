// One VM: what is known of it, and its history as a timeline.

import { complaint, get, instancePath } from "./api.js";
import { byId, h, notify, reconcile, setText, svg } from "./dom.js";
import { cause } from "./feed.js";
import { loadLines } from "./load.js";
import { go } from "./place.js";
import { actionLabel, stateClass, stateLabel } from "./states.js";
import { ago, clock, duration, exactClock, timeElement } from "./times.js";

const LIMIT = 200;
const SOON = 200; // milliseconds in which more events may come before all is asked for again
const STRIP = { width: 600, height: 34 };
const LONG = 60_000; // milliseconds between two events that are shown as a pause

const FACTS = [
  ["Cloud", (vm) => vm.vim_id],
  ["Instance", (vm) => vm.instance_id],
  ["Status", (vm) => vm.status],
  ["Power", (vm) => vm.power_state],
  ["Host", (vm) => vm.payload.host],
  ["Available", availability],
  ["Flavor", (vm) => vm.payload.instance_type],
  ["Tenant", (vm) => vm.payload.tenant_id],
  ["Launched", ({ payload }) => payload.launched_at && timeElement(zoned(payload.launched_at))],
];

export class Timeline {
  #dialog = byId("vm");
  #vm = null; // {vimId, instanceId} of the one that is shown
  #events = []; // newest first
  #since = "";
  #request = null;
  #timer = 0;

  constructor() {
    this.#dialog.addEventListener("close", () => {
      this.#request?.abort();
      if (this.#vm) go({ vm: "" });
      this.#vm = null;
    });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // beside the sheet
    });
    byId("vm-close").addEventListener("click", () => this.#dialog.close());
  }

  // Opens a VM's sheet, or closes it for null.
  show(vm) {
    if (vm?.vimId === this.#vm?.vimId && vm?.instanceId === this.#vm?.instanceId) return;
    this.#vm = vm;
    this.#events = [];
    if (!vm) {
      this.#dialog.close();
      return;
    }
    setText(byId("vm-name"), vm.instanceId);
    byId("vm-state").replaceChildren();
    byId("vm-facts").replaceChildren();
    byId("vm-load").replaceChildren();
    this.#draw();
    notify(byId("vm-notice"), "Loading …");
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#load();
  }

  // Takes a live event.
  add(event) {
    if (event.vim_id !== this.#vm?.vimId || event.instance_id !== this.#vm.instanceId) return;
    this.#loadIn(SOON);
  }

  // Asks again, after a login.
  reload() {
    if (this.#vm) this.#load();
  }

  async #load() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    const path = instancePath(this.#vm.vimId, this.#vm.instanceId);
    const [vm, history, measured] = await Promise.allSettled([
      get(path, [], request.signal),
      get(`${path}/events`, [["limit", LIMIT]], request.signal),
      get(`${path}/measurements`, [], request.signal),
    ]);
    if (request.signal.aborted) return; // superseded
    if (vm.value) this.#describe(vm.value);
    const load = loadLines(measured.value?.recent ?? []);
    byId("vm-load").replaceChildren(...(load ? [load] : []));
    if (history.value) {
      this.#events = history.value.events;
      this.#since = history.value.since;
      this.#draw();
    }
    const failed = [vm, history].find((each) => each.status === "rejected");
    if (failed) this.#complain(failed.reason);
    else notify(byId("vm-notice"), this.#events.length ? "" : "No event of this VM is kept.");
  }

  #complain(error) {
    notify(byId("vm-notice"), ...complaint(error));
    if (error.status === 503 || error.status === 0) this.#loadIn((error.retryAfter ?? 2) * 1000);
  }

  #loadIn(milliseconds) {
    this.#timer ||= setTimeout(() => this.#vm && this.#load(), milliseconds);
  }

  #describe(vm) {
    setText(byId("vm-name"), vm.payload.display_name || vm.instance_id);
    byId("vm-state").replaceChildren(
      stateLabel(vm.vm_state, vm.task_state),
      h("span", { class: "since" }, "since ", timeElement(vm.changed_at, clock)),
    );
    const facts = FACTS.map(([name, of]) => [name, of(vm)]).filter(([, value]) => value);
    byId("vm-facts").replaceChildren(
      ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
  }

  #draw() {
    byId("vm-strip").replaceChildren(...(this.#events.length ? [strip(this.#events)] : []));
    const entries = withPauses(this.#events);
    reconcile(byId("vm-events"), entries, (entry) => entry.key, newEntry, () => {});
    const complete = this.#since ? `All events since ${clock(new Date(this.#since))} are shown.` : "";
    const cut = this.#events.length === LIMIT ? `The newest ${LIMIT} events are shown.` : complete;
    setText(byId("vm-since"), this.#events.length ? cut : "");
  }
}

// Returns whether a VM is available, as far as that is known.
function availability({ available, unavailable_since: since, unavailable_reason: reason }) {
  if (available === null) return "not known";
  if (available) return "yes";
  return h("span", {}, `no, ${reason.replaceAll("_", " ")} since `, timeElement(since));
}

// Returns nova's time, which names no zone but is UTC, in ISO 8601.
const zoned = (time) => (/(Z|[+-]\d\d:?\d\d)$/.test(time) ? time : `${time}Z`).replace(" ", "T");

// Returns the events, newest first, with how long each action took, and long pauses between.
function withPauses(events) {
  const entries = [];
  const open = new Map(); // kinds that have begun, and when
  const oldestFirst = [...events].reverse();
  let before = null;
  for (const event of oldestFirst) {
    const time = Date.parse(event.changed_at);
    if (before !== null && time - before >= LONG) {
      entries.push({ key: `pause ${event.id}`, pause: time - before });
    }
    let took = null;
    if (event.phase === "start") open.set(event.kind, time);
    else if (open.has(event.kind)) {
      took = time - open.get(event.kind);
      open.delete(event.kind);
    }
    entries.push({ key: `${event.id} ${took}`, event, took });
    before = Math.max(before ?? time, time);
  }
  return entries.reverse();
}

function newEntry({ event, took, pause }) {
  if (pause !== undefined) return h("li", { class: "pause" }, `${duration(pause)} later`);
  const changes = event.old_state !== event.new_state;
  return h(
    "li",
    { class: `entry phase-${event.phase} ${stateClass(event.new_state)}` },
    h(
      "div",
      { class: "entry-head" },
      actionLabel(event.kind, event.phase),
      took === null ? null : h("span", { class: "took" }, `after ${duration(took)}`),
      cause(event) ? h("span", { class: "mark" }, cause(event)) : null,
      event.late ? h("span", { class: "mark", title: "told after newer news" }, "late") : null,
      event.inferred ? h("span", { class: "mark", title: "read off the state" }, "inferred") : null,
    ),
    h(
      "div",
      { class: "entry-state" },
      changes && event.old_state ? [stateLabel(event.old_state), h("span", {}, "→")] : null,
      stateLabel(event.new_state, event.new_task_state),
    ),
    h(
      "div",
      { class: "entry-time" },
      timeElement(event.changed_at, exactClock),
      timeElement(event.changed_at, ago),
    ),
  );
}

// Draws which state the VM was in when, from the oldest event until now. The wait since the last
// event takes at most a quarter of the width.
function strip(events) {
  const points = [...events]
    .filter((event) => !event.late)
    .map((event) => ({ time: Date.parse(event.changed_at), state: event.new_state }))
    .sort((a, b) => a.time - b.time);
  if (!points.length) return h("p", {}, "");
  const begin = points[0].time;
  const last = points.at(-1).time;
  const told = Math.max(1000, last - begin);
  const end = last + Math.min(Math.max(told / 8, Date.now() - last), told / 3);
  const x = (time) => ((time - begin) / (end - begin)) * STRIP.width;
  const runs = [];
  for (const point of points) {
    if (runs.at(-1)?.state !== point.state) runs.push(point);
  }
  const drawing = svg("svg", {
    viewBox: `0 0 ${STRIP.width} ${STRIP.height}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `States from ${clock(new Date(begin))}: ${runs.map((run) => run.state).join(", ")}`,
  });
  runs.forEach((run, index) => {
    const [from, to] = [x(run.time), x(runs[index + 1]?.time ?? end)];
    const shape = { x: from, y: 0, width: Math.max(1, to - from - 1), height: 22 };
    drawing.append(
      svg(
        "rect",
        { ...shape, class: `band ${stateClass(run.state)}` },
        svg("title", {}, `${run.state || "unknown"} from ${clock(new Date(run.time))}`),
      ),
    );
  });
  for (const event of events) {
    const at = x(Date.parse(event.changed_at));
    const failed = event.phase === "error" ? "failed" : "";
    drawing.append(svg("line", { x1: at, x2: at, y1: 26, y2: 33, class: `tick ${failed}` }));
  }
  return h(
    "figure",
    { class: "strip" },
    drawing,
    h("figcaption", {}, h("span", {}, clock(new Date(begin))), h("span", {}, "now")),
  );
}
