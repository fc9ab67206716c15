// The list of clouds: how many VMs each has, in which states.

import { byId, h, notify, reconcile, setText } from "./dom.js";
import { go, place } from "./place.js";
import { grouped, STATES, stateClass } from "./states.js";

const ALL = "";
const MOST_WORDS = 3;

// Shows the clouds of `GET /v1/vims`.
export function showClouds(vims) {
  const list = byId("clouds-list");
  const chosen = place().cloud || (vims.length === 1 ? vims[0].vim_id : ALL);
  const rows = vims.map((vim) => ({ ...vim, states: grouped(vim.states) }));
  rows.sort((a, b) => a.vim_id.localeCompare(b.vim_id));
  if (rows.length > 1) rows.unshift({ vim_id: ALL, configured: true, ...total(rows) });
  reconcile(list, rows, (vim) => vim.vim_id, newCloud, (child, vim) => fill(child, vim, chosen));
  notify(
    byId("clouds-notice"),
    rows.length ? "" : "No cloud is configured, and none has been heard of.",
  );
}

// Marks the chosen cloud.
export function markChosen(cloud) {
  for (const child of byId("clouds-list").children) {
    child.firstElementChild.setAttribute("aria-pressed", child.dataset.key === cloud);
  }
}

// Returns counts of all clouds together.
export function total(vims) {
  const states = {};
  let instances = 0;
  for (const vim of vims) {
    instances += vim.instances;
    for (const [state, count] of Object.entries(vim.states)) {
      states[state] = (states[state] ?? 0) + count;
    }
  }
  return { instances, states };
}

function newCloud({ vim_id: vimId }) {
  const button = h(
    "button",
    { type: "button", class: "cloud-button", "data-item": true, click: () => go({ cloud: vimId }) },
    h("span", { class: "cloud-name" }, vimId === ALL ? "All clouds" : vimId),
    h("span", { class: "cloud-count" }),
    h("span", { class: "bar", "aria-hidden": "true" }),
    h("span", { class: "cloud-states" }),
  );
  return h("li", {}, button);
}

function fill(child, vim, chosen) {
  const button = child.firstElementChild;
  const [, count, bar, words] = button.children;
  button.setAttribute("aria-pressed", vim.vim_id === chosen);
  const living = STATES.filter((state) => state !== "deleted" && vim.states[state]);
  const number = living.reduce((sum, state) => sum + vim.states[state], 0);
  setText(count, number.toLocaleString("en"));
  count.title = `${number} VMs, deleted ones not counted`;
  const sorted = living.toSorted((a, b) => vim.states[b] - vim.states[a]);
  const named = sorted.slice(0, MOST_WORDS).map((state) => `${vim.states[state]} ${state}`);
  if (vim.states.error && !sorted.slice(0, MOST_WORDS).includes("error")) {
    named.push(`${vim.states.error} error`);
  }
  if (!vim.configured) named.push("not configured");
  setText(words, named.join(" · ") || "no VM heard of yet");
  reconcile(
    bar,
    living,
    (state) => state,
    (state) => h("span", { class: stateClass(state) }),
    (part, state) => {
      part.style.flexGrow = vim.states[state];
    },
  );
}
