// The dashboard: puts the parts together. They meet in the place (cloud, filter, VM), in the counts
// that are asked for every few seconds, and in the live events.

import { Alarms } from "./alarms.js";
import { complaint, get, logins } from "./api.js";
import { StateChart } from "./chart.js";
import { markChosen, showClouds } from "./clouds.js";
import { byId, notify, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { parse } from "./filter.js";
import { setUpKeys } from "./keys.js";
import { follow } from "./live.js";
import { setUpLogin } from "./login.js";
import { go, onPlace, place } from "./place.js";
import { poll } from "./poll.js";
import { zone } from "./times.js";
import { Timeline } from "./timeline.js";
import { VmList } from "./vms.js";
import { watchWorkers } from "./workers.js";

const COUNT_EVERY = 5; // seconds
const TYPING = 250; // milliseconds without a key after which the filter holds

const chart = new StateChart();
const feed = new Feed();
const vms = new VmList();
const alarms = new Alarms();
const timeline = new Timeline();

let shown = "";

function show({ cloud, filter, vm }) {
  const field = byId("filter");
  if (document.activeElement !== field) field.value = filter;
  timeline.show(vm);
  // Opening a VM changes nothing behind it.
  if (shown === `${cloud}\n${filter}`) return;
  shown = `${cloud}\n${filter}`;
  const parsed = parse(filter);
  markChosen(cloud);
  chart.show(cloud, parsed.fields.state ?? []);
  feed.show(cloud, parsed);
  alarms.show(cloud);
  vms.show(cloud, parsed);
  setText(byId("scope"), cloud ? `of ${cloud}` : "");
}

async function count(signal) {
  const { vims } = await get("/v1/vims", [], signal);
  chart.add(vims);
  showClouds(vims);
  alarms.know(vims);
  vms.know(vims.map((vim) => vim.vim_id));
}

function cannotCount(error) {
  const notice = complaint(error);
  notify(byId("clouds-notice"), ...notice);
  vms.explain(...notice);
}

setUpLogin();
setUpKeys();

let typed = 0;
byId("filter").addEventListener("input", ({ target }) => {
  clearTimeout(typed);
  typed = setTimeout(() => go({ filter: target.value.trim() }, { replace: true }), TYPING);
});
byId("filter-form").addEventListener("submit", (event) => event.preventDefault());

onPlace(show);
show(place());

const counting = poll(count, cannotCount, COUNT_EVERY);
const workers = watchWorkers();
setText(byId("zone"), `Times are in ${zone}.`);

logins.addEventListener("given", () => {
  counting.now();
  workers.now();
  vms.again();
  timeline.reload();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) counting.now();
});

follow({
  onEvent(event) {
    if (event.kind === "HEARTBEAT" || !feed.add(event)) return;
    counting.soon();
    vms.changed(event.vim_id);
    timeline.add(event);
  },
  onGap(text) {
    feed.addGap(text);
  },
  onState(state, text) {
    const connection = byId("connection");
    connection.dataset.state = state;
    setText(connection, text);
    if (state === "live") workers.soon();
  },
});
