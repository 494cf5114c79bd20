// Photos of a grid of which something was said since the page was loaded: they stay where they are, and say so. The heading's
// count follows.

/** `leaves` is the word after which a photo is none of this grid any more. */
export class Marks {
  constructor(leaves) {
    this.leaves = leaves;
    this.words = new Map(); // by photo, what is said of it
    this.left = new Set();
    this.heading = document.querySelector("[data-count]");
  }

  /** A word on a photo, or null where none stands there any more. */
  set(photo, verdict, words) {
    if (verdict) this.words.set(photo, words);
    else this.words.delete(photo);
    if (this.leaves && verdict === this.leaves) this.left.add(photo);
    else this.left.delete(photo);
  }

  draw(tile, photo) {
    const words = this.words.get(photo);
    tile.toggleAttribute("data-left", this.left.has(photo));
    const there = tile.querySelector("[data-said]");
    if (there?.textContent === words) return;
    there?.remove();
    if (words) tile.querySelector("a")?.append(chip(words));
  }

  count() {
    if (!this.heading) return;
    const many = Math.max(0, Number(this.heading.dataset.count) - this.left.size);
    const shown = many.toLocaleString("en").replaceAll(",", " ");
    const words = this.heading.dataset.counted ? `${shown} ${many === 1 ? "photo" : "photos"}` : shown;
    if (this.heading.textContent !== words) this.heading.textContent = words;
  }
}

function chip(words) {
  const made = document.createElement("span");
  made.className = "photo-tile-said one-line";
  made.dataset.said = "";
  made.textContent = words;
  return made;
}
