// What can be done with selected photos beside verdicts: a star, downloads, and their tags in metadata.

import { create, createButton } from "./elements.js";
import { gettext, ngettext } from "./texts.js";

/**
 * Returns the tools; `photos` returns the numbers of the selected photos. `mayWrite`: the server lets the page write metadata; `mayUndo`: it has written some. `options`: those of the query.
 * `limits`: how many photos the server takes at once. `star(isFavourite)` gives them a star, or among favourites takes it away.
 */
export function createSelectionTools(photos, { mayWrite, mayUndo, options }, limits, star) {
  const isOfFavourites = new URLSearchParams(options).has("favourite");
  const starText = isOfFavourites ? gettext("Remove from favourites") : gettext("Add to favourites");
  const tools = [
    createButton(iconOf("star"), () => star(!isOfFavourites), "button--quiet button--icon", { "aria-label": starText, title: starText }),
    createMenu(gettext("Download"), iconOf("download"), [
      createItem(gettext("Download without metadata (ZIP)"), limits.files, () => send("/photos/download", photos())),
      createItem(gettext("Download the files (ZIP)"), limits.files, () => send("/photos/download", photos(), { with_metadata: "1" })),
    ]),
  ];
  // Both show a preview with the number of photos, and change nothing before it is confirmed.
  const writing = [];
  if (mayWrite) writing.push(createItem(gettext("Write metadata…"), limits.list, () => send("/photos/metadata", photos(), { action: "write" })));
  if (mayUndo) writing.push(createItem(gettext("Undo metadata…"), limits.list, () => send("/photos/metadata", photos(), { action: "undo" })));
  if (writing.length) tools.push(createMenu(gettext("Metadata"), gettext("Metadata"), writing));
  return tools;
}

/** Offers the tools for so many photos; items that cannot take them are disabled, and say why. */
export function offerTools(tools, count) {
  for (const tool of tools) {
    tool.hidden = !count;
    for (const item of tool.querySelectorAll("div > button")) showLimit(item, count);
  }
}

/** A copy of the icon of a button of the lightbox. */
const iconOf = (name) => document.querySelector(`#lightbox [data-${name}] .icon`).cloneNode(true);

function createMenu(label, content, items) {
  const kind = content === label ? "" : " button--icon";
  const summary = create("summary", { className: `button button--quiet${kind}`, title: label, "aria-label": label }, content);
  const menu = create("details", { className: "menu selection-menu" }, summary, create("div", {}, ...items));
  menu.addEventListener("click", ({ target }) => target.closest("div > button:not([aria-disabled])") && (menu.open = false));
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

/** It keeps the focus, so that the reason can be read. */
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
