// The keyboard: "/" goes to the filter, Esc leaves it, arrows move in lists.

import { byId } from "./dom.js";

const MOVES = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

export function setUpKeys() {
  const filter = byId("filter");
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      filter.select();
      filter.focus();
    } else if (event.key in MOVES && !typing) move(event);
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      if (filter.value) {
        filter.value = "";
        filter.dispatchEvent(new Event("input"));
      } else filter.blur();
    } else if (event.key === "ArrowDown") {
      const first = document.querySelector("#vms-rows [data-item]");
      if (first) {
        event.preventDefault();
        first.focus();
      }
    }
  });
  // The address says where the user is; links within the page must leave it alone.
  for (const link of document.querySelectorAll(".skip, .jump a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const target = document.querySelector(link.getAttribute("href"));
      target.focus({ preventScroll: true });
      target.scrollIntoView();
    });
  }
}

// Moves among the items of the list in which the focus is.
function move(event) {
  const list = event.target.closest("[data-list]");
  if (!list) return;
  const items = [...list.querySelectorAll("[data-item]")];
  const at = items.indexOf(event.target.closest("[data-item]"));
  if (at < 0) return;
  event.preventDefault();
  items[Math.max(0, Math.min(items.length - 1, at + MOVES[event.key]))].focus();
}
