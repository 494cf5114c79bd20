// The menu of the bar for selected photos: what can be done with them beside verdicts.

import { openShare } from "./share.js";

/** Returns the menu; `photos` returns the numbers of the selected photos. */
export function createSelectionMenu(photos) {
  const menu = document.createElement("details");
  menu.className = "menu selection-menu";
  const summary = document.createElement("summary");
  summary.className = "button button--quiet";
  summary.textContent = "More";
  const items = document.createElement("div");
  items.append(createItem("Share…", () => openShare({ photos: photos() }, "Photos")));
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
