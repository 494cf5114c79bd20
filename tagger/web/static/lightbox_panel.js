// The panel of the lightbox: the landmarks and the facts of the photo that is shown, from the server.

import { create } from "./elements.js";
import { detailsAddress } from "./grid_photos.js";
import { requestPage } from "./server.js";
import { gettext } from "./texts.js";
import { PhotoVerdicts } from "./verdicts.js";

const DELAY_MS = 120; // photos that are passed are not fetched
const MOST_KEPT = 8;

export class Panel {
  /** `options` are those of PhotoVerdicts; their functions get the photo too. */
  constructor(element, options) {
    this.element = element;
    this.content = element.querySelector("[data-content]");
    this.options = options;
    this.loaded = new Map(); // by photo: its verdicts, or the promise of them
    this.photo = null;
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle() {
    this.element.hidden = this.isOpen;
    this.show(this.photo, 0);
  }

  /** Shows a photo in the panel, if it is open. */
  show(photo, delay_ms = DELAY_MS) {
    this.photo = photo;
    clearTimeout(this.timer);
    if (!this.isOpen) return this.content.replaceChildren();
    const known = this.loaded.get(photo.id);
    this.element.ariaBusy = String(!known?.root);
    if (known?.root) this.place(known.root);
    else this.timer = setTimeout(() => this.fill(photo), delay_ms);
  }

  async fill(photo) {
    try {
      const { root } = await this.verdicts(photo);
      if (this.photo === photo && this.isOpen) this.place(root);
    } catch {
      const text = gettext("The server does not respond. Try again.");
      if (this.photo === photo) this.content.replaceChildren(create("p", { className: "notice notice--bad", role: "alert" }, text));
    }
    this.element.ariaBusy = "false";
  }

  place(root) {
    this.content.replaceChildren(root);
    const figure = root.querySelector("[data-small-map]");
    if (figure) import("./map_photo.js").then(({ showPhotoMap }) => showPhotoMap(figure)).catch((error) => console.warn("the map cannot be loaded:", error));
  }

  /** The verdicts of a photo, fetched if necessary. */
  async verdicts(photo) {
    if (!this.loaded.has(photo.id)) {
      this.loaded.set(photo.id, this.fetch(photo));
      for (const id of this.loaded.keys()) if (this.loaded.size > MOST_KEPT && id !== photo.id) this.loaded.delete(id);
    }
    try {
      const verdicts = await this.loaded.get(photo.id);
      this.loaded.set(photo.id, verdicts);
      return verdicts;
    } catch (error) {
      this.loaded.delete(photo.id); // to be tried again
      throw error;
    }
  }

  async fetch(photo) {
    const load = () => requestPage(detailsAddress(photo), "landmarks");
    const page = await load();
    const root = create("div", { className: "stack", "data-photo": photo.id }, ...page.querySelectorAll("#landmarks, #when, [data-small-map], #facts"));
    const { onChange, onRefresh, ...options } = this.options;
    return new PhotoVerdicts(root, {
      ...options,
      load,
      onChange: (verdict) => onChange(photo, verdict),
      onRefresh: () => onRefresh(photo, root),
    });
  }

  clear() {
    clearTimeout(this.timer);
    this.content.replaceChildren();
    this.loaded.clear();
  }
}
