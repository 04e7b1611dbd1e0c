// Runs before the first paint: the saved theme, or the system's.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    document.documentElement.dataset.theme =
      localStorage.getItem("ringroad-theme") || (dark.matches ? "dark" : "light");
  };
  dark.addEventListener("change", set);
  set();
})();
