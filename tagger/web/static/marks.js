// Marks the photos of a grid that got a verdict since the page was loaded. They stay in place; the heading's count is updated.

/** `removingVerdict` is the verdict after which a photo no longer belongs to the grid. */
export class Marks {
  constructor(removingVerdict) {
    this.removingVerdict = removingVerdict;
    this.texts = new Map(); // by photo
    this.removed = new Set();
    this.heading = document.querySelector("[data-count]");
  }

  /** Sets a photo's verdict, or null for none. */
  set(photo, verdict, text) {
    if (verdict) this.texts.set(photo, text);
    else this.texts.delete(photo);
    if (this.removingVerdict && verdict === this.removingVerdict) this.removed.add(photo);
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
    if (!this.heading) return;
    const count = Math.max(0, Number(this.heading.dataset.count) - this.removed.size);
    const number = count.toLocaleString("en").replaceAll(",", " ");
    const text = this.heading.dataset.counted ? `${number} ${count === 1 ? "photo" : "photos"}` : number;
    if (this.heading.textContent !== text) this.heading.textContent = text;
  }
}

function createMark(text) {
  const mark = document.createElement("span");
  mark.className = "photo-tile-verdict one-line";
  mark.dataset.mark = "";
  mark.textContent = text;
  return mark;
}
