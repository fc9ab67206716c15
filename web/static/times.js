// Times as people read them: in the browser's own zone, the exact UTC time on hovering.

import { h, setText } from "./dom.js";

const clockFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const yearFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

const UNITS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
];

// Returns a span of milliseconds in its largest unit: "340 ms", "12 s", "3 min".
export function duration(milliseconds) {
  for (const [unit, name] of UNITS) {
    if (milliseconds >= unit) return `${Math.floor(milliseconds / unit)} ${name}`;
  }
  return `${Math.max(0, Math.round(milliseconds))} ms`;
}

// Returns how long ago a time was. A clock that is ahead of ours makes it "now".
export function ago(date) {
  const passed = Date.now() - date;
  return passed < 1000 ? "now" : `${duration(passed)} ago`;
}

// Returns a time of day, with the day where that is not today.
export function clock(date) {
  const time = clockFormat.format(date);
  const today = new Date();
  if (date.toDateString() === today.toDateString()) return time;
  const sameYear = date.getFullYear() === today.getFullYear();
  return `${(sameYear ? dayFormat : yearFormat).format(date)}, ${time}`;
}

// Returns a time with its milliseconds.
export function exactClock(date) {
  return `${clock(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

// Returns an element that shows an ISO time by `format`; those by `ago` go on by themselves.
export function timeElement(iso, format = clock) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return h("span", {}, iso || "–");
  const element = h(
    "time",
    { datetime: iso, title: date.toISOString(), class: format === ago ? "ago" : null },
    format(date),
  );
  return element;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time.ago")) {
    setText(element, ago(new Date(element.dateTime)));
  }
}, 1000);
