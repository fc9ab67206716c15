// nova's vm_states in the order in which charts stack them, and the phases of an action.
// Every state has a colour in style.css, but is always named as well.

import { h, svg } from "./dom.js";

export const STATES = [
  "active",
  "building",
  "resized",
  "paused",
  "suspended",
  "stopped",
  "rescued",
  "shelved",
  "shelved_offloaded",
  "soft-delete",
  "error",
  "other",
  "deleted",
];

const KNOWN = new Set(STATES);

// Returns the name under which a state is counted and coloured.
export const known = (state) => (KNOWN.has(state) ? state : "other");

export const stateClass = (state) => `state-${known(state)}`;

// Returns counts by known state.
export function grouped(states) {
  const counts = {};
  for (const [state, count] of Object.entries(states)) {
    counts[known(state)] = (counts[known(state)] ?? 0) + count;
  }
  return counts;
}

// Returns a state's name with its colour beside it.
export function stateLabel(state, taskState) {
  return h(
    "span",
    { class: `state ${stateClass(state)}` },
    h("span", { class: "swatch", "aria-hidden": "true" }),
    h("span", {}, state || "unknown"),
    taskState ? h("span", { class: "task" }, taskState) : null,
  );
}

const PHASE_PATHS = {
  start: "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9zM6 3.5a2.5 2.5 0 1 1 0 5a2.5 2.5 0 0 1 0-5z",
  end: "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9z",
  error: "M3.2 1.8 6 4.6l2.8-2.8 1.4 1.4L7.4 6l2.8 2.8-1.4 1.4L6 7.4l-2.8 2.8-1.4-1.4L4.6 6 1.8 3.2z",
};

// Returns a phase's sign: a ring for the start, a disc for the end, a cross for an error.
export function phaseIcon(phase) {
  return svg(
    "svg",
    { class: "phase-icon", viewBox: "0 0 12 12", "aria-hidden": "true" },
    svg("path", { d: PHASE_PATHS[phase] ?? PHASE_PATHS.end, "fill-rule": "evenodd" }),
  );
}

// Returns an action's kind with its phase.
export function actionLabel(kind, phase) {
  return h(
    "span",
    { class: `action ${phase === "error" ? "failed" : ""}` },
    phaseIcon(phase),
    h("span", { class: "kind" }, kind),
    h("span", { class: "phase" }, phase),
  );
}
