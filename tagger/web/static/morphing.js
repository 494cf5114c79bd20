// Parts of a page that are morphed into what the server answers: elements that stay the same keep the focus, and what was opened stays open.

import { loadScript } from "./elements.js";

/** Loads Idiomorph, unless the page has it from the start. */
export async function loadIdiomorph() {
  window.htmx ??= { defineExtension() {} }; // Idiomorph extends htmx, which not every page has
  if (!window.Idiomorph) await loadScript(new URL("vendor/idiomorph-ext.min.js", import.meta.url).href);
  window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => name !== "open" || !(element instanceof HTMLDetailsElement);
}
