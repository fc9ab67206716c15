// What is wrong now: hosts that are not up, and active alarms, of one cloud or of all.

import { ApiError, cloudPath, complaint, get } from "./api.js";
import { byId, h, notify, reconcile, setText } from "./dom.js";
import { vmLink } from "./place.js";
import { poll } from "./poll.js";
import { ago, timeElement } from "./times.js";

const EVERY = 15; // seconds, where nothing happens
const MOST = 20; // hosts and alarms that are shown of each cloud
const MOST_CLOUDS = 8; // whose hosts and alarms are shown together
const NOT_UP = ["down", "forced_down", "unknown"];

const sum = (counts) => Object.values(counts).reduce((all, each) => all + each, 0);

export class Alarms {
  #vims = []; // of `GET /v1/vims`
  #told = ""; // their counts when it was last asked
  #chosen = "";
  #poll = null;

  // Shows one cloud, or all for "".
  show(cloud) {
    this.#chosen = cloud;
    this.#poll?.now();
  }

  // Takes the clouds of `GET /v1/vims`: asks where their counts say that something is new.
  know(vims) {
    this.#vims = vims;
    const told = JSON.stringify(vims.map((vim) => [vim.vim_id, vim.hosts, vim.alarms]));
    const isNew = told !== this.#told;
    this.#told = told;
    if (!this.#poll) {
      const failed = (error) => notify(byId("alarms-notice"), ...complaint(error));
      this.#poll = poll((signal) => this.#refresh(signal), failed, EVERY);
    } else if (isNew) this.#poll.soon();
  }

  async #refresh(signal) {
    const clouds = this.#vims.filter((vim) => !this.#chosen || vim.vim_id === this.#chosen);
    // Counts are null where this login may not see them, or not all workers know them.
    const troubled = clouds.filter((vim) => !vim.hosts || hasTrouble(vim));
    if (troubled.length > MOST_CLOUDS) {
      this.#fill([], [], null, `${troubled.length} clouds have alarms: choose one to see them.`);
      return;
    }
    const parts = await Promise.all(troubled.map((vim) => ask(vim, signal)));
    const hosts = parts.flatMap((part) => part.hosts);
    const alarms = parts.flatMap((part) => part.alarms);
    alarms.sort((a, b) => b.started_at.localeCompare(a.started_at));
    const counts = [sum(parts.map((part) => part.alarmCount)), sum(parts.map((part) => part.hostCount))];
    this.#fill(hosts, alarms, counts, "No alarm, and no host that is not up.");
  }

  // Shows hosts and alarms; `counts` are how many of both there are, shown or not.
  #fill(hosts, alarms, counts, none) {
    const several = this.#vims.length > 1 && !this.#chosen;
    setText(byId("alarms-count"), counts?.[0] ? counts[0].toLocaleString("en") : "");
    const rows = [
      ...hosts.map((host) => ({ key: `host ${host.vim_id}/${host.host}`, host })),
      ...alarms.map((alarm) => ({ key: `alarm ${alarm.id}`, alarm })),
    ];
    const left = counts ? counts[0] + counts[1] - rows.length : 0;
    reconcile(byId("alarms-list"), rows, (row) => row.key, newRow, (child, row) =>
      fillRow(child, row, several),
    );
    const more = left > 0 ? `And ${left.toLocaleString("en")} more.` : "";
    notify(byId("alarms-more"), more);
    notify(byId("alarms-notice"), rows.length ? "" : none);
  }
}

function hasTrouble({ hosts, alarms }) {
  return sum(alarms) > 0 || NOT_UP.some((state) => hosts[state]);
}

async function ask({ vim_id: vimId, hosts: counts }, signal) {
  const path = cloudPath(vimId);
  const isWanted = counts !== null && NOT_UP.some((state) => counts[state]);
  const none = { hosts: [], count: 0 };
  const [hosts, alarms] = await Promise.all([
    isWanted ? get(`${path}/hosts`, [["state", NOT_UP.join(",")], ["limit", MOST]], signal) : none,
    get(`${path}/alerts`, [["limit", MOST]], signal).catch(unlessUnknown),
  ]);
  const named = (each) => ({ ...each, vim_id: vimId });
  return {
    hosts: hosts.hosts.map(named),
    hostCount: hosts.count,
    alarms: alarms.alerts.map(named),
    alarmCount: alarms.count,
  };
}

// A cloud of which this login sees no instance has no alarms for it.
function unlessUnknown(error) {
  if (error instanceof ApiError && error.status === 404) return { alerts: [], count: 0 };
  throw error;
}

function newRow({ host }) {
  return h(
    "li",
    { class: host ? "alarm of-host" : "alarm" },
    h("span", { class: "alarm-name" }),
    h("span", { class: "alarm-since" }),
    h("span", { class: "alarm-about" }),
  );
}

function fillRow(child, { host, alarm }, several) {
  const told = JSON.stringify([host ?? alarm, several]);
  if (child.dataset.told === told) return;
  child.dataset.told = told;
  const [name, since, about] = child.children;
  const { vim_id: vimId } = host ?? alarm;
  const cloud = several ? [` of ${vimId}`] : [];
  if (host) {
    setText(name, `host ${host.state.replace("_", " ")}`);
    since.replaceChildren(timeElement(host.since, ago));
    const number = host.instances.toLocaleString("en");
    about.replaceChildren(`${host.host}, with ${number} VMs`, ...cloud);
    return;
  }
  setText(name, alarmName(alarm));
  since.replaceChildren(timeElement(alarm.started_at, ago));
  about.replaceChildren(...subject(alarm, vimId), ...cloud);
  if (alarm.summary) about.append(`: ${alarm.summary}`);
}

// Returns what an alarm, or the step of one in an event, is called.
export function alarmName({ condition, name, severity }) {
  const [kind, of] = condition.split("/");
  if (kind === "alert") return [severity, name || condition].filter(Boolean).join(" ");
  return kind === "action_failed" ? `${of} failed` : kind.replace("_", " ");
}

function subject({ source, instance_id: instanceId, display_name: name, host }, vimId) {
  if (source === "instance") {
    return [vmLink(vimId, instanceId, name), host ? ` on ${host}` : ""];
  }
  return [source === "host" ? host : "the cloud"];
}
