// The filmstrip of the lightbox: thumbnails of the photos around the one that is shown.

import { thumbnailAddress } from "./grid_photos.js";

const AROUND = 15;

export class Filmstrip {
  /** `onChoose` gets the index of the photo that was chosen. */
  constructor(list, onChoose) {
    this.list = list;
    this.items = new Map(); // by index
    list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (!item || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      onChoose(Number(item.dataset.index));
    });
  }

  draw(photos, index) {
    const items = new Map();
    for (let at = index - AROUND; at <= index + AROUND; at++) {
      const photo = photos.at(at);
      if (photo) items.set(at, this.items.get(at) ?? createItem(at, photo, photos.addressOf(photo)));
    }
    for (const [at, item] of this.items) if (!items.has(at)) item.remove();
    this.items = items;
    [...items.values()].forEach((item, at) => {
      if (this.list.children[at] !== item) this.list.insertBefore(item, this.list.children[at] ?? null);
    });
    for (const [at, item] of items) mark(item.firstChild, at === index);
    const shown = items.get(index);
    this.list.scrollLeft = shown.offsetLeft + (shown.clientWidth - this.list.clientWidth) / 2;
  }

  clear() {
    this.items.clear();
    this.list.replaceChildren();
  }
}

function mark(link, isShown) {
  link.tabIndex = isShown ? 0 : -1; // arrow keys lead to the others
  if (isShown) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
}

function createItem(index, photo, address) {
  const item = document.createElement("li");
  item.dataset.index = index;
  const link = document.createElement("a");
  link.href = address;
  const image = new Image();
  [image.width, image.height, image.alt, image.decoding, image.fetchPriority] = [64, 64, photo.alt, "async", "low"];
  image.draggable = false;
  image.src = thumbnailAddress(photo, 256);
  link.append(image);
  item.append(link);
  return item;
}
