// The menu of the bar for selected photos: what can be done with them beside verdicts.

import { number } from "./grid_tiles.js";
import { openShare } from "./share.js";

/**
 * Returns the menu; `photos` returns the numbers of the selected photos. `mayWrite`: the server lets the page write metadata.
 * `limits`: how many photos the server takes at once. `showLimits(count)` disables what is not for so many photos.
 */
export function createSelectionMenu(photos, mayWrite, limits) {
  const menu = document.createElement("details");
  menu.className = "menu selection-menu";
  const summary = document.createElement("summary");
  summary.className = "button button--quiet";
  summary.textContent = "More";
  const items = document.createElement("div");
  items.append(
    createItem("Share…", limits.share, () => openShare({ photos: photos() }, "Photos")),
    createItem("Export as CSV", limits.list, () => send("/photos/export", photos(), { format: "csv" })),
    createItem("Export as JSON", limits.list, () => send("/photos/export", photos(), { format: "json" })),
    createItem("Download the photos (ZIP)", limits.files, () => send("/photos/export", photos(), { format: "zip" })),
    createItem("Download with RAW and sidecars (ZIP)", limits.files, () => send("/photos/export", photos(), { format: "zip-all" })),
  );
  // Both show a preview with the number of photos, and change nothing before it is confirmed.
  if (mayWrite) {
    items.append(
      createItem("Write metadata…", limits.list, () => send("/photos/metadata", photos(), { action: "write" })),
      createItem("Undo metadata…", limits.list, () => send("/photos/metadata", photos(), { action: "undo" })),
    );
  }
  menu.append(summary, items);
  items.addEventListener("click", ({ target }) => target.closest("[aria-disabled]") || (menu.open = false));
  menu.showLimits = (count) => [...items.children].forEach((item) => showLimit(item, count));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation(); // the photos stay selected
    menu.open = false;
    summary.focus();
  });
  document.addEventListener("click", (event) => menu.contains(event.target) || (menu.open = false));
  return menu;
}

function createItem(text, limit, run) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.limit = limit;
  button.addEventListener("click", () => button.hasAttribute("aria-disabled") || run());
  return button;
}

/** An item that is not for so many photos says so. It keeps the focus, so that the reason can be read. */
function showLimit(button, count) {
  button.querySelector("small")?.remove();
  button.removeAttribute("aria-disabled");
  if (count <= button.limit) return;
  button.setAttribute("aria-disabled", "true");
  const reason = document.createElement("small");
  reason.textContent = ` ${number(button.limit)} photos at most`;
  button.append(reason);
}

/** Sends a form, as a button of the page would: the answer is a download or the next page. */
function send(address, photos, fields) {
  const form = document.createElement("form");
  [form.method, form.action, form.hidden] = ["post", address, true];
  for (const [name, value] of Object.entries({ photo: photos.join(","), ...fields })) {
    const field = document.createElement("input");
    [field.type, field.name, field.value] = ["hidden", name, value];
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}
