// Marks the photos of a grid that got a verdict since the page was loaded. They stay in place; the heading's count is updated.

import { create } from "./elements.js";
import { number, photoCount } from "./texts.js";

/** `removing` are the verdicts after which a photo no longer belongs to the grid. */
export class Marks {
  constructor(removing) {
    this.removing = removing;
    this.texts = new Map(); // by photo
    this.removed = new Set();
  }

  /** Sets a photo's verdict, or null for none. One on a thing does not remove the photo: `mayRemove` is false. */
  set(photo, verdict, text, mayRemove = true) {
    if (verdict) this.texts.set(photo, text);
    else this.texts.delete(photo);
    if (!mayRemove) return;
    if (this.removing.includes(verdict)) this.removed.add(photo);
    else this.removed.delete(photo);
  }

  draw(tile, photo) {
    const text = this.texts.get(photo);
    tile.toggleAttribute("data-removed", this.removed.has(photo));
    const mark = tile.querySelector("[data-mark]");
    if (mark?.textContent === text) return;
    mark?.remove();
    if (text) tile.querySelector("a")?.append(createMark(text));
  }

  count() {
    showCount(this.removed.size);
  }
}

/** Writes the number of photos into the heading, less those `removed`. Nothing while the server counts them. */
export function showCount(removed = 0) {
  const heading = document.querySelector("[data-count]");
  if (!heading?.dataset.count) return;
  const { counted } = heading.dataset;
  const count = Math.max(0, Number(heading.dataset.count) - removed);
  const text = counted ? photoCount(count) : number(count);
  if (heading.textContent !== text) heading.textContent = text;
}

const createMark = (text) => create("span", { className: "photo-tile-verdict one-line", "data-mark": "" }, text);
