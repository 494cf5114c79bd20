// The menu of the bar for selected photos: what can be done with them beside verdicts.

import { openShare } from "./share.js";

/** Returns the menu; `photos` returns the numbers of the selected photos. `mayWrite`: the server lets the page write metadata. */
export function createSelectionMenu(photos, mayWrite) {
  const menu = document.createElement("details");
  menu.className = "menu selection-menu";
  const summary = document.createElement("summary");
  summary.className = "button button--quiet";
  summary.textContent = "More";
  const items = document.createElement("div");
  items.append(
    createItem("Share…", () => openShare({ photos: photos() }, "Photos")),
    createItem("Export as CSV", () => send("/photos/export", photos(), { format: "csv" })),
    createItem("Export as JSON", () => send("/photos/export", photos(), { format: "json" })),
    createItem("Download the photos (ZIP)", () => send("/photos/export", photos(), { format: "zip" })),
  );
  // Both show a preview with the number of photos, and change nothing before it is confirmed.
  if (mayWrite) {
    items.append(
      createItem("Write metadata…", () => send("/photos/metadata", photos(), { action: "write" })),
      createItem("Undo metadata…", () => send("/photos/metadata", photos(), { action: "undo" })),
    );
  }
  menu.append(summary, items);
  items.addEventListener("click", () => (menu.open = false));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation(); // the photos stay selected
    menu.open = false;
    summary.focus();
  });
  document.addEventListener("click", (event) => menu.contains(event.target) || (menu.open = false));
  return menu;
}

function createItem(text, run) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", run);
  return button;
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
