// A classic script, before the page is painted: a module would come too late and flash.
(() => {
  const chosen = localStorage.getItem("ailb-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
