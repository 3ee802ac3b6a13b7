// The drawer: more about one thing, above the page. Escape closes it, by the browser's own dialog.

import { $, setText } from "./dom.js";

/** Opens it with a title and content; returns where the content is. */
export function openDrawer(title, ...content) {
  const drawer = $("drawer");
  setText($("drawer-title"), title);
  $("drawer-body").replaceChildren(...content);
  if (!drawer.open) drawer.showModal();
  return $("drawer-body");
}

/** Wires its ways out. */
export function prepareDrawer() {
  const drawer = $("drawer");
  $("drawer-close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
  // What it told may be another key's not to see.
  drawer.addEventListener("close", () => $("drawer-body").replaceChildren());
}
