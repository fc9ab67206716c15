// Drawings: VMs by state over time, and a small line of one figure.

import { byId, h, reconcile, setText, svg } from "./dom.js";
import { total } from "./clouds.js";
import { go } from "./place.js";
import { toggled } from "./filter.js";
import { grouped, STATES, stateClass } from "./states.js";
import { clock } from "./times.js";

const MOST_SAMPLES = 720;
const SHORTEST = 60_000; // milliseconds that the time axis shows at least
const HEIGHT = 200;
const MARGIN = { top: 8, left: 44, bottom: 22 };
const TIME_WIDTH = 56; // pixels of "23:59:59"
const LABELS = 112; // pixels for the states' names at the right, where there is room
const STACKED = STATES.filter((state) => state !== "deleted");
const LEGEND = [...STACKED].reverse().concat("deleted");
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

export class StateChart {
  #svg = byId("chart");
  #legend = byId("legend");
  #caption = byId("chart-caption");
  #samples = []; // {time, clouds: Map of vim_id to counts by state}
  #cloud = "";
  #states = [];
  #cursor = null; // index of the sample that the legend shows; null for the newest
  #width = 0;

  constructor() {
    new ResizeObserver(([entry]) => {
      this.#width = Math.floor(entry.contentRect.width);
      this.#draw();
    }).observe(this.#svg.parentElement);
    this.#svg.addEventListener("pointermove", (event) => this.#point(event));
    this.#svg.addEventListener("pointerleave", () => this.#moveTo(null));
    this.#svg.addEventListener("blur", () => this.#moveTo(null));
    this.#svg.addEventListener("keydown", (event) => this.#key(event));
  }

  // Takes the clouds of `GET /v1/vims` as they are now.
  add(vims) {
    const clouds = new Map(vims.map((vim) => [vim.vim_id, grouped(vim.states)]));
    this.#samples.push({ time: Date.now(), clouds });
    if (this.#samples.length > MOST_SAMPLES) this.#thin();
    this.#draw();
  }

  // Shows one cloud, "" for all; `states` are those that the filter asks for.
  show(cloud, states) {
    this.#cloud = cloud;
    this.#states = states;
    this.#draw();
  }

  // Leaves out every second sample of the older half.
  #thin() {
    const half = this.#samples.length >> 1;
    this.#samples = this.#samples.filter((_, index) => index >= half || index % 2 === 0);
    this.#cursor = null;
  }

  #counts(sample) {
    if (this.#cloud) return sample.clouds.get(this.#cloud) ?? {};
    return total([...sample.clouds.values()].map((states) => ({ states, instances: 0 }))).states;
  }

  #point(event) {
    if (!this.#samples.length) return;
    const { begin, end, left, right } = this.#scale();
    const share = (event.clientX - this.#svg.getBoundingClientRect().left - left) / (right - left);
    const time = begin + share * (end - begin);
    const after = this.#samples.findIndex((sample) => sample.time > time);
    const last = this.#samples.length - 1;
    this.#moveTo(after < 0 ? last : Math.max(0, after - 1));
  }

  #key(event) {
    const last = this.#samples.length - 1;
    const at = this.#cursor ?? last;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#moveTo(Math.max(0, Math.min(last, moves[event.key])));
  }

  #moveTo(index) {
    this.#cursor = index;
    this.#drawCursor();
    this.#drawLegend();
  }

  #scale() {
    const begin = this.#samples[0].time;
    const end = Math.max(begin + SHORTEST, this.#samples.at(-1).time);
    const labels = this.#width > 520 ? LABELS : 8;
    return { begin, end, left: MARGIN.left, right: this.#width - labels };
  }

  #draw() {
    if (!this.#samples.length || !this.#width) return;
    const { begin, end, left, right } = this.#scale();
    const bottom = HEIGHT - MARGIN.bottom;
    const counts = this.#samples.map((sample) => this.#counts(sample));
    const most = Math.max(1, ...counts.map((states) => sum(states)));
    const ticks = countTicks(most);
    const top = ticks.at(-1);
    const x = (time) => left + ((time - begin) / (end - begin)) * (right - left);
    const y = (count) => bottom - (count / top) * (bottom - MARGIN.top);

    const grid = svg("g", { class: "grid" });
    for (const tick of ticks) {
      const at = Math.round(y(tick)) + 0.5;
      grid.append(
        svg("line", { x1: left, x2: right, y1: at, y2: at }),
        svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, tick.toLocaleString("en")),
      );
    }
    for (const tick of timeTicks(begin, end, (right - left) / (1.6 * TIME_WIDTH))) {
      if (x(tick) + TIME_WIDTH / 2 > this.#width) continue;
      const text = clock(new Date(tick));
      const anchor = { x: x(tick), y: HEIGHT - 6, "text-anchor": "middle" };
      grid.append(svg("text", anchor, text.slice(text.lastIndexOf(" ") + 1)));
    }

    const bands = svg("g", { class: "bands" });
    const names = svg("g", { class: "names" });
    const times = this.#samples.map((sample) => x(sample.time));
    const floor = counts.map(() => 0);
    const newest = x(this.#samples.at(-1).time);
    for (const state of STACKED) {
      const roof = counts.map((states, index) => floor[index] + (states[state] ?? 0));
      if (roof.some((value, index) => value > floor[index])) {
        const path = `${steps(times, roof.map(y))}L${steps(times, floor.map(y), true)}Z`;
        const dim = this.#states.length && !this.#states.includes(state) ? "dim" : "";
        bands.append(svg("path", { d: `M${path}`, class: `band ${stateClass(state)} ${dim}` }));
        const [low, high] = [y(floor.at(-1)), y(roof.at(-1))];
        if (low - high >= 13 && this.#width > 520) {
          names.append(svg("text", { x: newest + 8, y: (low + high) / 2 + 4 }, state));
        }
      }
      roof.forEach((value, index) => (floor[index] = value));
    }
    this.#svg.setAttribute("width", this.#width);
    this.#svg.setAttribute("height", HEIGHT);
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#svg.replaceChildren(grid, bands, names, svg("line", { class: "cursor" }));
    const whose = this.#cloud || "all clouds";
    setText(this.#caption, `${whose}, counted since this page opened at ${clock(new Date(begin))}`);
    this.#drawCursor();
    this.#drawLegend();
  }

  #drawCursor() {
    const line = this.#svg.querySelector(".cursor");
    if (!line) return;
    const last = this.#samples.length - 1;
    const at = Math.min(this.#cursor ?? last, last);
    const { begin, end, left, right } = this.#scale();
    const sample = this.#samples[at];
    const x = left + ((sample.time - begin) / (end - begin)) * (right - left);
    line.classList.toggle("shown", this.#cursor !== null);
    for (const [name, value] of Object.entries({
      x1: x,
      x2: x,
      y1: MARGIN.top,
      y2: HEIGHT - MARGIN.bottom,
    })) {
      line.setAttribute(name, value);
    }
    const counts = this.#counts(sample);
    const told = [...STACKED].reverse().filter((state) => counts[state]);
    const words = told.map((state) => `${counts[state]} ${state}`).join(", ") || "no VMs";
    this.#svg.setAttribute("aria-valuemax", last);
    this.#svg.setAttribute("aria-valuenow", at);
    this.#svg.setAttribute("aria-valuetext", `${clock(new Date(sample.time))}: ${words}`);
  }

  #drawLegend() {
    if (!this.#samples.length) return;
    const seen = new Set();
    for (const sample of this.#samples) {
      for (const [state, count] of Object.entries(this.#counts(sample))) if (count) seen.add(state);
    }
    const last = this.#samples.length - 1;
    const sample = this.#samples[Math.min(this.#cursor ?? last, last)];
    const counts = this.#counts(sample);
    const time = this.#cursor === null ? "now" : clock(new Date(sample.time));
    setText(byId("legend-time"), time);
    reconcile(
      this.#legend,
      LEGEND.filter((state) => seen.has(state)),
      (state) => state,
      newLegendItem,
      (child, state) => {
        const button = child.firstElementChild;
        button.setAttribute("aria-pressed", this.#states.includes(state));
        setText(button.lastElementChild, (counts[state] ?? 0).toLocaleString("en"));
      },
    );
  }
}

function newLegendItem(state) {
  const toggle = () => {
    go({ filter: toggled(byId("filter").value, "state", state) }, { replace: true });
  };
  const button = h(
    "button",
    {
      type: "button",
      class: `legend-button ${stateClass(state)}`,
      "data-item": true,
      disabled: state === "other",
      title: state === "deleted" ? "kept for a while for queries; not in the chart" : null,
      click: toggle,
    },
    h("span", { class: "swatch", "aria-hidden": "true" }),
    h("span", { class: "legend-name" }, state),
    h("span", { class: "legend-count" }),
  );
  return h("li", {}, button);
}

const sum = (states) => STACKED.reduce((all, state) => all + (states[state] ?? 0), 0);

// Returns the points of a line that keeps each value until the next time.
function steps(xs, ys, backwards = false) {
  const points = [];
  for (let index = 0; index < xs.length; index += 1) {
    if (index) points.push(`${xs[index].toFixed(1)},${ys[index - 1].toFixed(1)}`);
    points.push(`${xs[index].toFixed(1)},${ys[index].toFixed(1)}`);
  }
  return (backwards ? points.reverse() : points).join("L");
}

// Returns round numbers from 0 to just above `most`.
function countTicks(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.25, 0.5, 1, 2.5, 5].map((share) => share * power).find((s) => most / s <= 4);
  const whole = Math.max(1, Math.ceil(step ?? power * 5));
  const count = Math.ceil(most / whole);
  return Array.from({ length: count + 1 }, (_, index) => index * whole);
}

function timeTicks(begin, end, most) {
  const seconds = (end - begin) / 1000;
  const step = (STEPS.find((each) => seconds / each <= most) ?? STEPS.at(-1)) * 1000;
  const ticks = [];
  for (let tick = Math.ceil(begin / step) * step; tick <= end; tick += step) ticks.push(tick);
  return ticks;
}

// Draws the values as a line in a box of 72 by 18 pixels.
export function sparkline(values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, index) => {
    const x = values.length > 1 ? (index / (values.length - 1)) * 70 + 1 : 71;
    return `${x.toFixed(1)},${(16 - (value / most) * 14).toFixed(1)}`;
  });
  return svg(
    "svg",
    { class: "sparkline", viewBox: "0 0 72 18", width: 72, height: 18, "aria-hidden": "true" },
    svg("polyline", { points: points.join(" ") }),
  );
}
