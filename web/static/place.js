// Where the user is: the chosen cloud, the filter, the open VM. It is kept in the address, so that
// links and the back button work.

import { h } from "./dom.js";

const NAMES = ["cloud", "vm", "filter"];
const changes = new EventTarget();

// Returns {cloud, vm, filter}: cloud is a vim_id or "", vm is {vimId, instanceId} or null.
export function place() {
  const given = new URLSearchParams(location.hash.slice(1));
  const vm = given.get("vm") ?? "";
  const cut = vm.indexOf("/");
  return {
    cloud: given.get("cloud") ?? "",
    filter: given.get("filter") ?? "",
    vm: cut > 0 ? { vimId: vm.slice(0, cut), instanceId: vm.slice(cut + 1) } : null,
  };
}

// Returns the address of the present place with some of it changed; "" leaves a part out.
export function address(changed) {
  const given = new URLSearchParams(location.hash.slice(1));
  const parts = new URLSearchParams();
  for (const name of NAMES) {
    const value = changed[name] ?? given.get(name);
    if (value) parts.set(name, value);
  }
  return `#${parts}`;
}

// Goes to another place; `replace` makes no new entry in the history.
export function go(changed, { replace = false } = {}) {
  const target = address(changed);
  if (target === location.hash || (target === "#" && !location.hash)) return;
  if (replace) {
    history.replaceState(null, "", target);
    changes.dispatchEvent(new Event("change"));
  } else location.hash = target;
}

// Returns a link that opens a VM and leaves the rest of the place as it is by then.
export function vmLink(vimId, instanceId, text) {
  const target = () => address({ vm: `${vimId}/${instanceId}` });
  const link = h("a", { href: target(), "data-item": true }, text || instanceId);
  link.addEventListener("focus", () => (link.href = target()));
  link.addEventListener("pointerenter", () => (link.href = target()));
  return link;
}

// Calls `act` with the place whenever it changes.
export function onPlace(act) {
  changes.addEventListener("change", () => act(place()));
}

window.addEventListener("hashchange", () => changes.dispatchEvent(new Event("change")));
