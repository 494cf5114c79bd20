// Applies the stored mode before the first paint: a classic script, loaded in the head.
(() => {
  let stored = null;
  try {
    stored = localStorage.getItem("theme");
  } catch {
    // Some private windows have no storage; the system's mode applies.
  }
  if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
  document.documentElement.classList.add("js");
})();
