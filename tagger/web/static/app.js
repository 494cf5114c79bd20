// The switch between light and dark mode, the choice of a language, and menus that close, on every page.

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
  // The system's own mode is not stored, so that the page follows later changes of it.
  const stored = (next === "dark") === dark.matches ? null : next;
  if (stored) root.dataset.theme = stored;
  else delete root.dataset.theme;
  try {
    if (stored) localStorage.setItem("theme", stored);
    else localStorage.removeItem("theme");
  } catch {
    // Storage is not available; the choice applies to this page only.
  }
}

document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = menu.contains(target);
});

// A file that is dropped where nothing takes it would replace the page.
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files") || event.target.closest?.("input[type=file]")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "none";
});

document.querySelector("[data-language]")?.addEventListener("change", (event) => event.target.form.submit());

for (const control of document.querySelectorAll("[data-theme-switch]")) {
  control.hidden = false;
  showTheme(control);
  control.addEventListener("click", () => (switchTheme(), showTheme(control)));
  dark.addEventListener("change", () => showTheme(control));
}
