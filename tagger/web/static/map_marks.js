// Clusters of photos on the map, each with the thumbnail of one: a click zooms in on them. At one spot, they are links to its photos.

import { create } from "./elements.js";
import { gettext, language, photoCount } from "./texts.js";

const PADDING_PX = 60; // around a cluster that fills the map
const LEAST_STEP = 0.5; // of the zoom

const shortNumber = new Intl.NumberFormat(language, { notation: "compact" }); // 1234 as 1.2K

/** South, west, north and east of an attribute, as MapLibre's corners. */
export function corners(text) {
  const [south, west, north, east] = text.split(",").map(Number);
  return [[west, south], [east < west ? east + 360 : east, north]];
}

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
    link.addEventListener("click", (event) => !event.ctrlKey && !event.metaKey && !event.shiftKey && this.#zoomTo(cluster) && event.preventDefault());
    return new this.#maplibre.Marker({ element: link }).setLngLat([cluster.longitude, cluster.latitude]).addTo(this.#map);
  }

  /** Whether the map shows the parts of the cluster now: it is no spot, and the map can be enlarged. */
  #zoomTo({ address }) {
    const bounds = corners(new URL(address, location.href).searchParams.get("box"));
    const { center, zoom } = this.#map.cameraForBounds(bounds, { padding: PADDING_PX, maxZoom: this.#map.getMaxZoom() });
    const isSpot = bounds[0].join() === bounds[1].join();
    const target = Math.min(this.#map.getMaxZoom(), Math.max(zoom, this.#map.getZoom() + 1));
    if (isSpot || target < this.#map.getZoom() + LEAST_STEP) return false;
    this.#map.easeTo({ center, zoom: target });
    return true;
  }

  #preview(cluster) {
    const image = create("img", { src: cluster.thumbnail, alt: "", onerror: () => image.remove() });
    const content = create("div", {}, image, create("p", {}, [placeOf(cluster), photoCount(cluster.photos)].filter(Boolean).join(": ")));
    this.#popup.setLngLat([cluster.longitude, cluster.latitude]).setDOMContent(content).addTo(this.#map);
  }
}
