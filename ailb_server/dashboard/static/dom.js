// Elements from plain values. Text only ever becomes text: nothing here, and nothing on this page,
// reads markup, and the page's policy (trusted types) holds the browser to it.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `props` are attributes, but for `class`, `text` and `on` (listeners by event). */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/** One of the page's symbols, for the eye only. */
export function icon(name, className = "icon") {
  return s("svg", { class: className, "aria-hidden": "true" }, s("use", { href: `#${name}` }));
}

/** The page's own element of that id. */
export function $(id) {
  return document.getElementById(id);
}

/** Sets a node's text only if it is another: a selection in it stays. */
export function setText(node, text) {
  const told = String(text);
  if (node.textContent !== told) node.textContent = told;
}

/** Sets an attribute, or takes it away. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/** Says a sentence to those who listen to the page. */
export function announce(text) {
  setText($("announcer"), text);
}

const known = new WeakMap();

/**
 * Makes a parent's children those of `items`: those with the same key stay, with their focus.
 * `make(item)` gives `{node, update(item)}`.
 */
export function keyed(parent, items, keyOf, make) {
  const before = known.get(parent) ?? new Map();
  const now = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (now.has(key)) continue;
    const part = before.get(key) ?? make(item);
    part.update?.(item);
    now.set(key, part);
    if (part.node === place) place = place.nextSibling;
    else parent.insertBefore(part.node, place);
  }
  for (const [key, part] of before) if (!now.has(key)) part.node.remove();
  known.set(parent, now);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "on")
      for (const [event, listen] of Object.entries(value)) node.addEventListener(event, listen);
    else setAttribute(node, name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
