// Light, dark, or as the system: chosen here, remembered in this browser.

import { $ } from "./dom.js";

const CHOICE = "ailb-theme";

export function prepareTheme() {
  const chosen = localStorage.getItem(CHOICE) ?? "auto";
  for (const input of $("theme").querySelectorAll("input")) {
    input.checked = input.value === chosen;
    input.addEventListener("change", () => choose(input.value));
  }
}

function choose(theme) {
  if (theme === "auto") {
    localStorage.removeItem(CHOICE);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(CHOICE, theme);
    document.documentElement.dataset.theme = theme;
  }
}
