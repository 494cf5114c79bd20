// Every view takes photos that are dropped on it: it shows where to drop them, then opens the view that tries them.

import { HASH, keepDropped } from "./dropped_photos.js";
import { gettext } from "./texts.js";
import { toast } from "./toast.js";

const zone = document.querySelector("[data-drop-zone]");
let depth = 0; // of the elements that the pointer has entered
let isOwnDrag = false;

const hasPhotos = (event) => !isOwnDrag && event.dataTransfer?.types.includes("Files");

function showZone(isShown) {
  document.body.classList.toggle("is-over", isShown);
  if (!zone || zone.hidden === !isShown) return;
  if (!isShown) zone.hidePopover?.();
  zone.hidden = !isShown;
  if (isShown) zone.showPopover?.(); // above dialogs
}

function enter(change) {
  depth = Math.max(0, depth + change);
  showZone(depth > 0);
}

/** A dropped folder looks like a file that cannot be read. */
function filesOf({ items, files }) {
  const isFolder = [...items].map((item) => item.webkitGetAsEntry?.()?.isDirectory ?? false);
  return [...files].filter((_, at) => !isFolder[at]);
}

async function drop(data) {
  const files = filesOf(data);
  if (!files.length) return toast(gettext("Drop photos, not folders. To tag a folder, start a job."), { tone: "bad" });
  const event = new CustomEvent("photos-dropped", { detail: files, cancelable: true });
  if (!document.dispatchEvent(event)) return; // this view tries them itself
  try {
    await keepDropped(files);
    location.assign(`/try${HASH}`);
  } catch {
    toast(gettext("The browser could not hand over these photos. Choose them here."), { tone: "bad" });
  }
}

// The page's own images and links can be dragged too: they are no new photos.
document.addEventListener("dragstart", () => { isOwnDrag = true; });
document.addEventListener("dragend", () => { isOwnDrag = false; });

document.addEventListener("dragenter", (event) => { if (hasPhotos(event)) enter(1); });
document.addEventListener("dragleave", (event) => { if (hasPhotos(event)) enter(-1); });
document.addEventListener("dragover", (event) => {
  if (!hasPhotos(event)) return;
  event.preventDefault(); // otherwise the browser opens the photo in place of the page
  event.dataTransfer.dropEffect = "copy";
});
document.addEventListener("drop", (event) => {
  if (!hasPhotos(event)) return;
  event.preventDefault();
  depth = 0;
  showZone(false);
  drop(event.dataTransfer);
});
