// Follows Airflow's light or dark theme, which is in localStorage under "theme"; "system" uses the browser's.
"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function chosen() {
    try {
      const theme = window.localStorage.getItem("theme");
      if (theme === "light" || theme === "dark") return theme;
    } catch {
      // No storage: use the browser's setting.
    }
    return dark.matches ? "dark" : "light";
  }
  function apply() {
    if (document.documentElement.dataset.theme === chosen()) return;
    document.documentElement.dataset.theme = chosen();
    window.dispatchEvent(new Event("themechange"));
  }
  apply();
  dark.addEventListener("change", apply);
  // Airflow writes it in the frame around this page.
  window.addEventListener("storage", apply);
})();
