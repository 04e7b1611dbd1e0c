// Runs before the first paint: the saved theme, or the system's; and what is pressed before the other scripts ran.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    document.documentElement.dataset.theme =
      localStorage.getItem("ringroad-theme") || (dark.matches ? "dark" : "light");
  };
  dark.addEventListener("change", set);
  set();
})();
// What is pressed before the deferred scripts ran is done once they did: the browser alone would open the API's address.
(() => {
  const pressed = new Map(); // the last of each: whoever presses twice on a slow line asks once
  const keep = (event) => {
    const { target, submitter } = event;
    const button = target.closest("button[type=button]");
    if (event.type === "submit" ? !target.matches("[data-api], [data-import]") : !button) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    pressed.set(button || target, () => (button ? button.click() : target.requestSubmit(submitter)));
  };
  const kinds = ["submit", "click"];
  for (const kind of kinds) document.addEventListener(kind, keep, true);
  addEventListener("DOMContentLoaded", () => {
    for (const kind of kinds) document.removeEventListener(kind, keep, true);
    for (const again of pressed.values()) again();
  });
})();
