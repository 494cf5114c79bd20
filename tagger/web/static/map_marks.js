// Clusters of photos on the map, as links to their photos, each with the thumbnail of one.

import { create } from "./elements.js";
import { gettext, language, photoCount } from "./texts.js";

const shortNumber = new Intl.NumberFormat(language, { notation: "compact" }); // 1234 as 1.2K

/** The place of a cluster, and whether it is estimated. */
const placeOf = ({ place, estimated }) => [place, estimated ? gettext("estimated") : ""].filter(Boolean).join(", ");

export class ClusterMarks {
  #maplibre;
  #map;
  #marks = new Map();
  #popup;

  constructor(maplibre, map) {
    this.#maplibre = maplibre;
    this.#map = map;
    this.#popup = new maplibre.Popup({ closeButton: false, closeOnClick: false, focusAfterOpen: false, offset: 30, className: "map-preview" });
    map.on("movestart", () => this.#popup.remove());
  }

  show(clusters) {
    const marks = new Map();
    // From west to east: the order of the Tab key.
    for (const cluster of [...clusters].sort((a, b) => a.longitude - b.longitude)) {
      const key = JSON.stringify([cluster.latitude, cluster.longitude, cluster.photos, cluster.address]);
      marks.set(key, this.#marks.get(key) ?? this.#mark(cluster));
      this.#marks.delete(key);
    }
    for (const mark of this.#marks.values()) mark.remove();
    this.#marks = marks;
  }

  #mark(cluster) {
    const photo = create("img", { className: "map-cluster-photo", alt: "", draggable: false, src: cluster.thumbnail });
    const count = create("span", { className: "map-cluster-count" }, cluster.photos === 1 ? "" : shortNumber.format(cluster.photos));
    const label = [photoCount(cluster.photos), placeOf(cluster)].filter(Boolean).join(", ");
    const className = cluster.estimated ? "map-cluster map-cluster--estimated" : "map-cluster";
    const link = create("a", { className, href: cluster.address, "data-photos": cluster.photos, "aria-label": label }, photo, count);
    for (const type of ["mouseenter", "focus"]) link.addEventListener(type, () => this.#preview(cluster));
    for (const type of ["mouseleave", "blur"]) link.addEventListener(type, () => this.#popup.remove());
    return new this.#maplibre.Marker({ element: link }).setLngLat([cluster.longitude, cluster.latitude]).addTo(this.#map);
  }

  #preview(cluster) {
    const image = create("img", { src: cluster.thumbnail, alt: "", onerror: () => image.remove() });
    const content = create("div", {}, image, create("p", {}, [placeOf(cluster), photoCount(cluster.photos)].filter(Boolean).join(": ")));
    this.#popup.setLngLat([cluster.longitude, cluster.latitude]).setDOMContent(content).addTo(this.#map);
  }
}
