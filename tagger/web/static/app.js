// What every page has: the switch between light and dark.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
}

function showTheme(control) {
  control.setAttribute("aria-pressed", String(isDark()));
}

function switchTheme() {
  const next = isDark() ? "light" : "dark";
  // What the system says anyway is not remembered, so the page goes on following it.
  const remembered = (next === "dark") === dark.matches ? null : next;
  if (remembered) root.dataset.theme = remembered;
  else delete root.dataset.theme;
  try {
    if (remembered) localStorage.setItem("theme", remembered);
    else localStorage.removeItem("theme");
  } catch {
    // Not remembered then; it holds for this page.
  }
}

for (const control of document.querySelectorAll("[data-theme-switch]")) {
  control.hidden = false;
  showTheme(control);
  control.addEventListener("click", () => (switchTheme(), showTheme(control)));
  dark.addEventListener("change", () => showTheme(control));
}
