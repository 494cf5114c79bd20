// Clusters of photos on the map, as links: a click zooms in as far as the map is drawn, then it opens their photos. Where there is
// room, a cluster has the thumbnail of one of its photos.

import { create } from "./elements.js";
import { gettext, language, photoCount } from "./texts.js";

const [MARK_PX, ROOM_PX] = [48, 68]; // the least distance of a thumbnail from a mark, and from another thumbnail
const MOST_THUMBNAILS = 60;
const shortNumber = new Intl.NumberFormat(language, { notation: "compact" }); // 1234 as 1.2K

/** Puts a thumbnail behind the mark, which then is small. */
function showPhoto(link, address) {
  const hide = () => (image.remove(), link.classList.remove("map-cluster--photo"));
  const image = create("img", { className: "map-cluster-photo", alt: "", draggable: false, onerror: hide, src: address });
  link.classList.add("map-cluster--photo");
  link.prepend(image);
}

/** The place of a cluster, and whether it is estimated. */
const placeOf = ({ place, estimated }) => [place, estimated ? gettext("estimated") : ""].filter(Boolean).join(", ");

export class ClusterMarks {
  #maplibre;
  #map;
  #marks = new Map();
  #popup;
  #refocus = null;
  #drawnZoom;

  /** `drawnZoom`: beyond it, the map is empty. */
  constructor(maplibre, map, drawnZoom) {
    this.#drawnZoom = drawnZoom;
    this.#maplibre = maplibre;
    this.#map = map;
    this.#popup = new maplibre.Popup({ closeButton: false, closeOnClick: false, focusAfterOpen: false, offset: 22, className: "map-preview" });
    map.on("movestart", () => this.#popup.remove());
  }

  show(clusters) {
    const marks = new Map();
    const roomy = this.#roomy(clusters);
    // From west to east: the order of the Tab key.
    for (const cluster of [...clusters].sort((a, b) => a.longitude - b.longitude)) {
      const key = JSON.stringify([cluster.latitude, cluster.longitude, cluster.photos, roomy.has(cluster)]);
      marks.set(key, this.#marks.get(key) ?? this.#mark(cluster, roomy.has(cluster)));
      this.#marks.delete(key);
    }
    for (const mark of this.#marks.values()) mark.remove();
    this.#marks = marks;
    this.#restoreFocus();
  }

  /** The largest clusters that have room for a thumbnail. */
  #roomy(clusters) {
    const places = new Map(clusters.map((cluster) => [cluster, this.#map.project([cluster.longitude, cluster.latitude])]));
    const isApart = (one, others, least) => others.every((other) => other === one || places.get(one).dist(places.get(other)) >= least);
    const chosen = [];
    for (const cluster of [...clusters].sort((a, b) => b.photos - a.photos)) {
      if (chosen.length < MOST_THUMBNAILS && isApart(cluster, chosen, ROOM_PX) && isApart(cluster, clusters, MARK_PX)) chosen.push(cluster);
    }
    return new Set(chosen);
  }

  #mark(cluster, hasRoom) {
    const count = create("span", { className: "map-cluster-count" }, cluster.photos === 1 ? "" : shortNumber.format(cluster.photos));
    const shape = create("span", { className: "map-cluster-shape" }, count);
    const label = [photoCount(cluster.photos), placeOf(cluster)].filter(Boolean).join(", ");
    const link = create("a", { className: cluster.estimated ? "map-cluster map-cluster--estimated" : "map-cluster", href: cluster.address, "data-photos": cluster.photos, "aria-label": label }, shape);
    link.addEventListener("click", (event) => this.#open(event, cluster));
    for (const type of ["mouseenter", "focus"]) link.addEventListener(type, () => this.#preview(cluster));
    if (hasRoom) showPhoto(link, cluster.thumbnail);
    for (const type of ["mouseleave", "blur"]) link.addEventListener(type, () => this.#popup.remove());
    return new this.#maplibre.Marker({ element: link }).setLngLat([cluster.longitude, cluster.latitude]).addTo(this.#map);
  }

  #open(event, cluster) {
    const [south, west, north, east] = cluster.box;
    const bounds = [[west, south], [east, north]];
    const isBeyond = this.#map.cameraForBounds(bounds, { padding: 72 }).zoom >= this.#drawnZoom;
    if (isBeyond || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    // The keyboard goes on where it was, at the cluster nearest to this one.
    if (event.detail === 0) this.#refocus = [cluster.longitude, cluster.latitude];
    this.#map.fitBounds(bounds, { padding: 72 });
  }

  #preview(cluster) {
    const image = create("img", { src: cluster.thumbnail, alt: "", onerror: () => image.remove() });
    const content = create("div", {}, image, create("p", {}, [placeOf(cluster), photoCount(cluster.photos)].filter(Boolean).join(": ")));
    this.#popup.setLngLat([cluster.longitude, cluster.latitude]).setDOMContent(content).addTo(this.#map);
  }

  #restoreFocus() {
    if (!this.#refocus) return;
    const to = this.#map.project(this.#refocus);
    const distance = (mark) => this.#map.project(mark.getLngLat()).dist(to);
    const nearest = [...this.#marks.values()].sort((a, b) => distance(a) - distance(b))[0];
    this.#refocus = null;
    nearest?.getElement().focus();
  }
}
