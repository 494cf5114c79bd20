// The menu of the bar for selected photos: what can be done with them beside verdicts.

import { create } from "./elements.js";
import { gettext, ngettext } from "./texts.js";

/**
 * Returns the menu; `photos` returns the numbers of the selected photos. `mayWrite`: the server lets the page write metadata; `mayUndo`: it has written some. `options`: those of the query.
 * `limits`: how many photos the server takes at once. `star(isFavourite)` gives them a star, or among favourites takes it away. `showLimits(count)` disables items that cannot take so many photos.
 */
export function createSelectionMenu(photos, { mayWrite, mayUndo, options }, limits, star) {
  const isOfFavourites = new URLSearchParams(options).has("favourite");
  const summary = create("summary", { className: "button button--quiet" }, gettext("More"));
  const items = create("div", {},
    createItem(isOfFavourites ? gettext("Remove from favourites") : gettext("Add to favourites"), Infinity, () => star(!isOfFavourites)),
    createItem(gettext("Download without metadata (ZIP)"), limits.files, () => send("/photos/download", photos())),
    createItem(gettext("Download the files (ZIP)"), limits.files, () => send("/photos/download", photos(), { with_metadata: "1" })),
  );
  // Both show a preview with the number of photos, and change nothing before it is confirmed.
  if (mayWrite) items.append(createItem(gettext("Write metadata…"), limits.list, () => send("/photos/metadata", photos(), { action: "write" })));
  if (mayUndo) items.append(createItem(gettext("Undo metadata…"), limits.list, () => send("/photos/metadata", photos(), { action: "undo" })));
  const menu = create("details", { className: "menu selection-menu" }, summary, items);
  items.addEventListener("click", ({ target }) => target.closest("[aria-disabled]") || (menu.open = false));
  menu.showLimits = (count) => [...items.children].forEach((item) => showLimit(item, count));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation(); // the photos stay selected
    menu.open = false;
    summary.focus();
  });
  return menu;
}

function createItem(text, limit, run) {
  const button = create("button", { type: "button", onclick: () => button.hasAttribute("aria-disabled") || run() }, text);
  return Object.assign(button, { limit });
}

/** Disables an item that cannot take so many photos, and says why. It keeps the focus, so that the reason can be read. */
function showLimit(button, count) {
  button.querySelector("small")?.remove();
  button.removeAttribute("aria-disabled");
  if (count <= button.limit) return;
  button.setAttribute("aria-disabled", "true");
  button.append(create("small", {}, ` ${ngettext("%(count)s photo at most", "%(count)s photos at most", button.limit)}`));
}

/** Sends a form, as a button of the page would: the answer is a download or the next page. */
function send(address, photos, fields = {}) {
  const values = Object.entries({ photo: photos.join(","), ...fields });
  const inputs = values.map(([name, value]) => create("input", { type: "hidden", name, value }));
  const form = create("form", { method: "post", action: address, hidden: true }, ...inputs);
  document.body.append(form);
  form.submit();
  form.remove();
}
