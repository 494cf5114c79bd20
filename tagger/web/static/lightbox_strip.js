// The filmstrip of the lightbox: thumbnails of the photos around the one that is shown.

import { create } from "./elements.js";
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
  const shown = { width: 64, height: 64, alt: photo.alt, draggable: false };
  const image = create("img", { ...shown, decoding: "async", fetchPriority: "low", src: thumbnailAddress(photo, 256) });
  return create("li", { "data-index": index }, create("a", { href: address }, image));
}
