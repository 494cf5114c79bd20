// The photos of a list around the one that is shown, and their previews. The server says which they are, since a grid has only
// those loaded that were near the screen.

import { create } from "./elements.js";
import { apiAddress, hasOriginals, pageAddress, photoOfDocument, previewAddress, thumbnailAddress } from "./grid_photos.js";
import { requestJson } from "./server.js";

const AROUND = 12; // photos to know before and after the one that is shown
const BLOCK = 40; // photos per request
const PRELOADED = [1, -1, 2]; // previews to load beside the one that is shown, in this order
const MOST_KEPT = 2; // previews to keep before and after it

/** Photos by their index in the list of a query. Those known are consecutive. */
export class PhotoList {
  /** The `source` of a query is its address, `options` are those of its order, too. A list without a query has all `photos` from `first` on. */
  constructor(query, first, photos) {
    this.source = query?.source;
    this.options = query?.options;
    this.photos = new Map(photos.map((photo, at) => [first + at, photo]));
    this.first = first;
    this.last = first + photos.length - 1;
    this.ends = { previous: !query, next: !query };
    this.requests = {};
  }

  at(index) {
    return this.photos.get(index);
  }

  /** The photo's page, which steps through the same list. */
  addressOf(photo) {
    return pageAddress(photo, this.source);
  }

  /** The index at which the list ends in the direction of `step`; null while that is not known. */
  end(step) {
    if (step < 0) return this.ends.previous ? this.first : null;
    return this.ends.next ? this.last : null;
  }

  /** Fetches what is missing around an index. Resolves when the photos next to it are known. */
  async extend(index) {
    const sides = [];
    if (index - this.first < AROUND && !this.ends.previous) sides.push(this.fetchSide("previous", this.first));
    if (this.last - index < AROUND && !this.ends.next) sides.push(this.fetchSide("next", this.last));
    await Promise.all(sides);
  }

  fetchSide(side, edge) {
    this.requests[side] ??= this.fetchPhotos(side, edge).finally(() => delete this.requests[side]);
    return this.requests[side];
  }

  async fetchPhotos(side, edge) {
    const options = new URLSearchParams(this.options);
    options.set("previous", String(side === "previous" ? BLOCK : 0));
    options.set("next", String(side === "next" ? BLOCK : 0));
    const document_ = await requestJson(`${apiAddress(`/photos/${this.at(edge).id}/neighbours`)}?${options}`);
    const step = side === "next" ? 1 : -1;
    document_[side].forEach((each, at) => this.photos.set(edge + step * (at + 1), photoOfDocument(each)));
    if (side === "next") this.last += document_.next.length;
    else this.first -= document_.previous.length;
    this.ends[side] = document_[side].length < BLOCK;
  }
}

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
    if (!hasOriginals || !preview?.complete || preview.isOriginal || preview.isReplaced) return null;
    preview.isReplaced = true; // requested once
    const image = createImage(photo, apiAddress(`/photos/${photo.id}/image`), "high");
    await image.decode();
    image.isOriginal = true;
    if (this.images.get(photo.id) === preview) this.images.set(photo.id, image);
    return image;
  }

  /** Loads and decodes the previews beside an index and drops those farther away. */
  preload(list, index) {
    const kept = new Set();
    for (let at = index - MOST_KEPT; at <= index + MOST_KEPT; at++) kept.add(list.at(at)?.id);
    for (const [id, image] of this.images) {
      if (kept.has(id)) continue;
      this.images.delete(id);
      image.removeAttribute("src"); // ends a request that nobody waits for
    }
    for (const step of PRELOADED) {
      const photo = list.at(index + step);
      if (photo) this.image(photo, "low").decode().catch(() => {});
    }
  }

  clear() {
    for (const image of this.images.values()) image.removeAttribute("src");
    this.images.clear();
  }
}
