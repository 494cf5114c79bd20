// The previews of the photo that is shown and of those beside it.

import { create } from "./elements.js";
import { previewAddress, thumbnailAddress } from "./grid_photos.js";

const PRELOADED = [1, -1, 2]; // previews to load beside the one that is shown, in this order
const MOST_KEPT = 2; // previews to keep before and after it

function createImage(photo, address, priority) {
  // Decoded in the frame in which it is put in place.
  return create("img", { fetchPriority: priority, decoding: "sync", draggable: false, alt: photo.alt, src: address });
}

/** Images of previews, loaded before they are shown. */
export class Previews {
  constructor() {
    this.images = new Map(); // by photo
  }

  /** The photo's preview, which may still be loading; the original, once it was loaded. */
  image(photo, priority = "high") {
    const known = this.images.get(photo.id);
    if (known) return known;
    const image = createImage(photo, previewAddress(photo), priority);
    // Meanwhile, the thumbnail that the grid has.
    const thumbnail = document.querySelector(`[data-grid] [data-photo="${photo.id}"] img`)?.currentSrc || thumbnailAddress(photo, 256);
    image.style.background = `center / contain no-repeat url("${thumbnail}")`;
    image.addEventListener("load", () => (image.style.background = ""), { once: true });
    image.addEventListener("error", () => this.images.delete(photo.id)); // showing it again tries again
    this.images.set(photo.id, image);
    return image;
  }

  /** Loads the photo's own file, or a larger preview of a format that browsers do not display; null if it was loaded before. */
  async original(photo) {
    const preview = this.images.get(photo.id);
    if (!preview?.complete || preview.isOriginal || preview.isReplaced) return null;
    preview.isReplaced = true; // requested once
    const image = createImage(photo, `/api/photos/${photo.id}/image`, "high");
    await image.decode();
    image.isOriginal = true;
    if (this.images.get(photo.id) === preview) this.images.set(photo.id, image);
    return image;
  }

  /** Loads and decodes the previews beside the photo that is shown and drops those farther away. `photoAt` returns the photo so many steps on. */
  preload(photoAt) {
    const kept = new Set();
    for (let step = -MOST_KEPT; step <= MOST_KEPT; step++) kept.add(photoAt(step)?.id);
    for (const [id, image] of this.images) {
      if (kept.has(id)) continue;
      this.images.delete(id);
      image.removeAttribute("src"); // ends a request that nobody waits for
    }
    for (const step of PRELOADED) {
      const photo = photoAt(step);
      if (photo) this.image(photo, "low").decode().catch(() => {});
    }
  }

  clear() {
    for (const image of this.images.values()) image.removeAttribute("src");
    this.images.clear();
  }
}
