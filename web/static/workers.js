// The workers: what each owns, how far it is behind, and how it is.

import { complaint, get } from "./api.js";
import { sparkline } from "./chart.js";
import { byId, h, notify, reconcile, setText } from "./dom.js";
import { poll } from "./poll.js";
import { duration } from "./times.js";

const EVERY = 5; // seconds
const REMEMBERED = 60;
const UNHEARD = 3; // seconds without a confirmed heartbeat that are worth a word
const lags = new Map(); // by URL, the newest last

// Shows the workers from now on; returns the poll.
export function watchWorkers() {
  const failed = (error) => notify(byId("workers-notice"), ...complaint(error));
  return poll(refresh, failed, EVERY);
}

async function refresh(signal) {
  const { asked, workers, unowned } = await get("/v1/workers", [], signal);
  for (const { url, figures } of workers) if (figures) remember(url, behind(figures));
  reconcile(
    byId("workers-list"),
    workers,
    (worker) => worker.url,
    newWorker,
    (child, worker) => fill(child, worker, worker.url === asked),
  );
  const missing = unowned.length ? `No worker owns the partitions ${ranges(unowned)}.` : "";
  notify(byId("workers-notice"), missing, "error");
}

function remember(url, lag) {
  const values = [...(lags.get(url) ?? []), lag];
  lags.set(url, values.slice(-REMEMBERED));
}

const behind = ({ lag }) => Object.values(lag).reduce((all, each) => all + each, 0);

function newWorker() {
  return h(
    "li",
    { class: "worker" },
    h("span", { class: "worker-url" }),
    h("span", { class: "health" }),
    h("span", { class: "worker-lag" }),
    h("span", { class: "worker-facts" }),
  );
}

function fill(child, { url, wrong, partitions, figures }, isAsked) {
  const [name, health, lag, facts] = child.children;
  setText(name, url.replace(/^https?:\/\//, ""));
  const reasons = Object.values(wrong);
  health.className = `health ${reasons.length ? "bad" : "good"}`;
  setText(health, reasons.length ? "not ready" : "ready");
  const owned = partitions.length ? `partitions ${ranges(partitions)}` : "no partitions";
  const told = [...reasons, isAsked ? "served this page" : null, owned];
  lag.hidden = !figures;
  if (figures) {
    const sum = behind(figures).toLocaleString("en");
    lag.replaceChildren(sparkline(lags.get(url)), h("span", {}, `lag ${sum}`));
    const lines = Object.entries(figures.lag).map(([number, one]) => `partition ${number}: ${one}`);
    lag.title = lines.join("\n");
    told.push(`${figures.rows.toLocaleString("en")} rows`);
    const waits = figures.oldest_undone_seconds;
    if (waits >= 1) told.push(`oldest waits ${duration(waits * 1000)}`);
    const unheard = figures.membership_age;
    if (unheard > UNHEARD) told.push(`Kafka heard of it ${duration(unheard * 1000)} ago`);
  }
  setText(facts, told.filter(Boolean).join(" · "));
}

// Returns numbers as ranges: "0–3, 7".
function ranges(numbers) {
  const parts = [];
  for (const number of numbers) {
    const last = parts.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([from, to]) => (from === to ? from : `${from}–${to}`)).join(", ");
}
