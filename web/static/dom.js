// Elements out of data. Data become text and attributes, never markup: names are others' text.

const SVG = "http://www.w3.org/2000/svg";

// Returns an HTML element. Attributes that are null or false are left out; functions listen to the
// event of that name; children that are null are left out.
export function h(name, attributes, ...children) {
  return furnished(document.createElement(name), attributes, children);
}

// Returns an SVG element, likewise.
export function svg(name, attributes, ...children) {
  return furnished(document.createElementNS(SVG, name), attributes, children);
}

function furnished(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

// Makes the children of `parent` one for each item, in order. The child of a key stays the same
// element, and with it the focus; `fill` puts the item's content into it.
export function reconcile(parent, items, keyOf, make, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = make(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    fill(child, item);
  }
  for (const child of old.values()) child.remove();
}

// Sets an element's text where it differs, so that nothing is announced or selected anew.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows a notice in place of, or above, a section's content; none for an empty text.
export function notify(element, text, kind = "info") {
  setText(element, text);
  element.hidden = !text;
  element.dataset.kind = kind;
}
