// The list of a cloud's VMs: filtered and sorted by the server, one page at a time.

import { cloudPath, complaint, get } from "./api.js";
import { byId, h, notify, reconcile, setText } from "./dom.js";
import { instanceParameters, isNarrow, parse } from "./filter.js";
import { vmLink } from "./place.js";
import { poll } from "./poll.js";
import { actionLabel, stateLabel } from "./states.js";
import { ago, timeElement } from "./times.js";

const EVERY = 15; // seconds, where nothing happens
const PAGE = 50;
const MOST_CLOUDS = 8; // whose newest VMs are shown together

export class VmList {
  #rows = byId("vms-rows");
  #notice = byId("vms-notice");
  #clouds = []; // vim_ids whose VMs are listed
  #filter = parse("");
  #sort = "changed_at";
  #order = "desc";
  #markers = [null]; // of the pages up to this one
  #next = null;
  #poll = null;
  #all = []; // vim_ids of all clouds; empty until they are known
  #chosen = "";

  constructor() {
    byId("vms-newer").addEventListener("click", () => this.#turn(-1));
    byId("vms-older").addEventListener("click", () => this.#turn(1));
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.sort));
    }
  }

  // Lists one cloud's VMs that the filter lets through; the newest of each for "".
  show(cloud, filter) {
    this.#chosen = cloud;
    this.#filter = filter;
    this.#restart();
  }

  // Takes the vim_ids of all clouds.
  know(vimIds) {
    if (vimIds.join("\n") === this.#all.join("\n")) return;
    this.#all = vimIds;
    if (!this.#chosen) this.#restart();
  }

  // Says why nothing is known yet.
  explain(text, kind) {
    if (!this.#poll) notify(this.#notice, text, kind);
  }

  // Asks again soon: something has happened in a cloud.
  changed(vimId) {
    if (this.#clouds.includes(vimId)) this.#poll?.soon();
  }

  // Asks again at once, after a login.
  again() {
    this.#poll?.now();
  }

  #restart() {
    if (this.#chosen) this.#clouds = [this.#chosen];
    else this.#clouds = this.#all;
    this.#markers = [null];
    if (!this.#clouds.length) return;
    this.#setBusy(true);
    if (this.#poll) this.#poll.now();
    else this.#poll = this.#newPoll();
  }

  #newPoll() {
    return poll(
      (signal) => this.#refresh(signal),
      (error) => this.#failed(error),
      EVERY,
    );
  }

  // Says whether what is listed is still the answer to an earlier question.
  #setBusy(busy) {
    this.#rows.closest("table").setAttribute("aria-busy", busy);
  }

  #sortBy(field) {
    const first = field === "changed_at" ? "desc" : "asc";
    const other = first === "asc" ? "desc" : "asc";
    this.#order = this.#sort === field && this.#order === first ? other : first;
    this.#sort = field;
    for (const button of document.querySelectorAll("[data-sort]")) {
      const chosen = button.dataset.sort === field;
      const direction = this.#order === "asc" ? "ascending" : "descending";
      button.closest("th").setAttribute("aria-sort", chosen ? direction : "none");
    }
    this.#restart();
  }

  #turn(direction) {
    if (direction < 0) this.#markers.pop();
    else this.#markers.push(this.#next);
    this.#setBusy(true);
    this.#poll.now();
    byId("vms").scrollIntoView({ block: "start" });
  }

  async #refresh(signal) {
    if (this.#clouds.length > MOST_CLOUDS) {
      this.#fill([], null, 0, "Choose a cloud to see its VMs.");
      return;
    }
    const pages = await Promise.all(this.#clouds.map((vimId) => this.#page(vimId, signal)));
    this.#fill(
      pages.flatMap((page) => page.instances.map((one) => ({ ...one, vim_id: page.vim_id }))),
      pages.length === 1 ? pages[0].next_marker : null,
      pages.reduce((sum, page) => sum + page.count, 0),
      isNarrow(this.#filter) ? "No VM that the filter lets through." : "No VM heard of yet.",
    );
  }

  #failed(error) {
    // What is not understood is answered by nothing; what fails for a while leaves what is shown.
    if (error.status === 400) this.#fill([], null, 0, "");
    this.#setBusy(false);
    notify(this.#notice, ...complaint(error));
  }

  #page(vimId, signal) {
    const parameters = [
      ...instanceParameters(this.#filter),
      ["sort", this.#sort],
      ["order", this.#order],
      ["limit", PAGE],
    ];
    const marker = this.#markers.at(-1);
    if (marker && this.#clouds.length === 1) parameters.push(["marker", marker]);
    return get(`${cloudPath(vimId)}/instances`, parameters, signal);
  }

  // Shows a page; `none` says why it is empty.
  #fill(instances, next, count, none) {
    const several = this.#clouds.length > 1;
    if (several) {
      const field = { changed_at: "launched_at" }[this.#sort] ?? this.#sort;
      const sign = this.#order === "asc" ? 1 : -1;
      instances.sort((a, b) => sign * (a[field] ?? "").localeCompare(b[field] ?? ""));
      instances.length = Math.min(instances.length, PAGE);
    }
    this.#next = next;
    const first = (this.#markers.length - 1) * PAGE;
    const last = first + instances.length;
    const range = count > instances.length ? `${first + 1}–${last} of ` : "";
    setText(byId("vms-count"), instances.length ? range + count.toLocaleString("en") : "");
    byId("vms-newer").disabled = this.#markers.length === 1;
    byId("vms-older").disabled = !next;
    byId("vms-pages").hidden = this.#markers.length === 1 && !next;
    notify(byId("vms-hint"), several && count > last ? "Choose a cloud to page through all." : "");
    reconcile(
      this.#rows,
      instances,
      (one) => `${one.vim_id}/${one.instance_id}`,
      newRow,
      (row, one) => fillRow(row, one, several),
    );
    notify(this.#notice, instances.length ? "" : none);
    this.#setBusy(false);
  }
}

function newRow(one) {
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row", class: "vm-name" },
      vmLink(one.vim_id, one.instance_id, one.display_name),
      h("span", { class: "vm-more" }),
    ),
    h("td", { class: "vm-state" }),
    h("td", { class: "vm-changed" }),
    h("td", { class: "vm-host" }),
  );
}

function fillRow(row, one, several) {
  const [name, state, changed, host] = row.children;
  const told = JSON.stringify([one, several]);
  if (row.dataset.told === told) return;
  row.dataset.told = told;
  const task = one.state_description === one.state ? "" : one.state_description;
  state.replaceChildren(stateLabel(one.state, task));
  if (one.available === false) {
    const why = `${one.unavailable_reason.replaceAll("_", " ")} since ${one.unavailable_since}`;
    state.append(h("span", { class: "mark bad", title: why }, "unavailable"));
  }
  setText(name.firstElementChild, one.display_name || one.instance_id);
  setText(name.lastElementChild, several ? one.vim_id : one.instance_id);
  changed.replaceChildren(
    actionLabel(one.kind, one.phase),
    h("span", { class: "vm-more" }, timeElement(one.launched_at, ago)),
  );
  setText(host, one.host ?? "");
}
