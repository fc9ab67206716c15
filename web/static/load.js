// How busy a VM was in the newest intervals, as lines; nothing where nobody measured it.

import { h, svg } from "./dom.js";
import { clock } from "./times.js";

const SIZE = { width: 600, height: 40 };
const LINES = [
  ["cpu_percent", "CPU", "cpu"],
  ["memory_percent", "Memory", "memory"],
];

// Returns a figure of what was measured, the newest last; null where there is nothing to draw.
export function loadLines(recent) {
  const lines = LINES.map(([field, name, kind]) => ({
    name,
    kind,
    points: recent
      .filter((each) => each[field] !== null)
      .map((each) => ({ time: Date.parse(each.end), percent: each[field] })),
  })).filter((line) => line.points.length);
  if (!lines.length) return null;
  const begin = Date.parse(recent[0].end);
  const span = Math.max(1, Date.parse(recent.at(-1).end) - begin);
  const top = Math.max(100, ...lines.flatMap((line) => line.points.map((point) => point.percent)));
  const place = ({ time, percent }) =>
    `${(((time - begin) / span) * SIZE.width).toFixed(1)},${(
      SIZE.height *
      (1 - percent / top)
    ).toFixed(1)}`;
  const newest = lines.map((line) => `${line.name} ${line.points.at(-1).percent.toFixed(0)} %`);
  return h(
    "figure",
    { class: "load" },
    svg(
      "svg",
      {
        viewBox: `0 0 ${SIZE.width} ${SIZE.height}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `Load from ${clock(new Date(begin))}: ${newest.join(", ")}`,
      },
      ...lines.map((line) =>
        svg("polyline", { points: pathOf(line.points, place), class: line.kind }),
      ),
    ),
    h(
      "figcaption",
      {},
      h("span", {}, clock(new Date(begin))),
      ...lines.map((line, index) => h("span", { class: line.kind }, newest[index])),
    ),
  );
}

// Returns the points of a line; a single one is drawn as a line through the whole width.
function pathOf(points, place) {
  const places = points.map(place);
  if (places.length > 1) return places.join(" ");
  const [, y] = places[0].split(",");
  return `0,${y} ${SIZE.width},${y}`;
}
