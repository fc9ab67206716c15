// What is typed into the filter: words, and fields such as "state:paused".

import { STATES } from "./states.js";

const FIELDS = new Set(["state", "kind", "phase", "host", "tenant"]);
const STATE_NAMES = new Set(STATES.filter((state) => state !== "other"));

// Returns {phrase, fields}: a word that is a state's name counts as that state, all others make the
// phrase.
export function parse(text) {
  const fields = {};
  const words = [];
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const colon = word.indexOf(":");
    const name = word.slice(0, colon).toLowerCase();
    if (colon > 0 && FIELDS.has(name)) {
      if (word.length > colon + 1) (fields[name] ??= []).push(word.slice(colon + 1));
    } else if (STATE_NAMES.has(word.toLowerCase())) (fields.state ??= []).push(word.toLowerCase());
    else words.push(word.toLowerCase());
  }
  return { phrase: words.join(" "), fields };
}

// Returns whether a filter leaves anything out.
export const isNarrow = ({ phrase, fields }) => phrase !== "" || Object.keys(fields).length > 0;

// Returns the query parameters of a list of instances, as pairs.
export function instanceParameters({ phrase, fields }) {
  const pairs = [];
  for (const state of fields.state ?? []) pairs.push(["state", state]);
  for (const kind of fields.kind ?? []) pairs.push(["kind", kind]);
  for (const host of fields.host ?? []) pairs.push(["host", host]);
  for (const tenant of fields.tenant ?? []) pairs.push(["tenant_id", tenant]);
  if (phrase) pairs.push(["name", phrase]);
  return pairs;
}

// Returns whether an event is to be shown. Few name a host, and none a tenant, so those fields leave
// all of them.
export function matchesEvent({ phrase, fields }, event) {
  const one = (name, ...values) =>
    !fields[name] || fields[name].some((wanted) => values.some((value) => same(value, wanted)));
  if (!one("state", event.new_state, event.new_task_state)) return false;
  if (!one("kind", event.kind) || !one("phase", event.phase)) return false;
  return [event.display_name, event.instance_id, event.vim_id, event.kind, event.phase]
    .concat(event.new_state, event.new_task_state, event.host, event.reason, event.alarm?.name)
    .some((text) => text?.toLowerCase().includes(phrase));
}

const same = (value, wanted) =>
  (value ?? "").toLowerCase().replaceAll("-", "_") === wanted.toLowerCase().replaceAll("-", "_");

// Returns the text of the filter with a field's value added, or removed where it is there.
export function toggled(text, name, value) {
  const word = `${name}:${value}`;
  const words = text.split(/\s+/).filter(Boolean);
  const others = words.filter((each) => ![word, value].includes(each.toLowerCase()));
  return (others.length < words.length ? others : [...words, word]).join(" ");
}
