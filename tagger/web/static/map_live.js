// A map that can be moved and zoomed, with clusters of photos: what the map of the library and that of a trip have in common.

import { create, loadScript } from "./elements.js";
import { ClusterMarks, corners } from "./map_marks.js";
import { mapStyle, withPath } from "./map_style.js";
import { requestJson } from "./server.js";
import { gettext } from "./texts.js";

const MOST_ZOOM = 18;
const LEAST_ZOOM = -1; // a phone shows the whole world
const WORLD_PX = 512; // at zoom 0
const MARK_PX = 40; // from the edge, in the first view
const PACKAGE_ZOOM = 10; // the map of the package has names of cities, and no streets
const isTouch = matchMedia("(pointer: coarse)");

const hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl2"));

/** Draws the map by `start`. Where that is not possible, a note says why. */
export async function startOrExplain(host, start) {
  host.dataset.started = "";
  try {
    if (hasWebGL()) return await start(host);
  } catch (error) {
    console.warn("the map cannot be drawn:", error);
  }
  for (const element of host.closest("figure").querySelectorAll(".needs-script")) element.hidden = true;
  host.closest("figure").querySelector("[data-map-note]").classList.remove("without-script");
}

function loadStyle(address) {
  document.head.prepend(create("link", { rel: "stylesheet", href: address }));
}

/** A longitude between -180 and 180. */
const turned = (longitude) => ((((longitude + 180) % 360) + 360) % 360) - 180;

/** The visible part as an option of a query: south, west, north, east. */
export function boxOf(map) {
  const [west, south, east, north] = map.getBounds().toArray().flat();
  const sides = east - west >= 360 ? [-180, 180] : [turned(west), turned(east)];
  return [south, sides[0], north, sides[1]].map((degrees) => Number(degrees.toFixed(5))).join(",");
}

async function loadLibrary({ library, worker, style, reader, near, nearStyle }) {
  loadStyle(style);
  const scripts = [window.pmtiles ?? loadScript(reader), near && (window.basemaps ?? loadScript(nearStyle))];
  const [maplibre] = await Promise.all([import(library), ...scripts]);
  maplibre.setWorkerUrl(new URL(worker, location.href).href);
  maplibre.addProtocol("pmtiles", new window.pmtiles.Protocol().tile);
  return maplibre;
}

/** The bounds of the operator's file: west, south, east, north; null: there is none that can be read. */
async function boundsOfFile(file) {
  if (!file) return null;
  try {
    const { minLon, minLat, maxLon, maxLat } = await new window.pmtiles.PMTiles(new URL(file, location.href).href).getHeader();
    return [minLon, minLat, maxLon, maxLat];
  } catch (error) {
    console.warn("the map file cannot be read:", error);
    return null;
  }
}

/** The centre from which nothing beyond the poles is in sight; of a world that is lower than the map, its middle. */
function withinWorld({ MercatorCoordinate }, height, center, zoom) {
  const half = Math.min(0.5, height / 2 / (WORLD_PX * 2 ** zoom));
  const { x, y } = MercatorCoordinate.fromLngLat(center);
  return { center: new MercatorCoordinate(x, Math.max(half, Math.min(1 - half, y))).toLngLat(), zoom };
}

function createMap(maplibre, host, style, maxZoom) {
  const map = new maplibre.Map({
    container: host,
    style: style(),
    bounds: corners(host.dataset.bounds),
    fitBoundsOptions: { padding: { top: MARK_PX, right: MARK_PX, bottom: 2 * MARK_PX, left: MARK_PX }, maxZoom: 15 },
    maxZoom,
    transformConstrain: (center, zoom) => withinWorld(maplibre, host.clientHeight, center, Math.max(LEAST_ZOOM, Math.min(maxZoom, zoom))),
    cooperativeGestures: isTouch.matches, // one finger scrolls the page
    locale: { "CooperativeGesturesHandler.MobileHelpText": gettext("Use two fingers to move the map") },
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    attributionControl: { compact: true },
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibre.ScaleControl());
  return map;
}

/** Repeats the style in the colours of the other mode. */
function followTheme(map, style) {
  const update = () => map.setStyle(style());
  new MutationObserver(update).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
}

/** The map of an element. */
export class LiveMap {
  /** Loads what the map needs, and draws it; with a path, if there is its geometry. */
  static async start(host, path = null) {
    const { tiles, near } = host.dataset;
    const maplibre = await loadLibrary(host.dataset);
    return new LiveMap(maplibre, host, path, tiles ? null : await boundsOfFile(near));
  }

  #maplibre;
  #marks;
  #request = null;

  constructor(maplibre, host, path, boundsNearBy) {
    const style = () => withPath(mapStyle(host.dataset, boundsNearBy), path);
    const drawnZoom = host.dataset.tiles || boundsNearBy ? MOST_ZOOM : PACKAGE_ZOOM;
    this.map = createMap(maplibre, host, style, drawnZoom);
    this.#marks = new ClusterMarks(maplibre, this.map);
    followTheme(this.map, style);
    this.#maplibre = maplibre;
  }

  /** Puts a pin at a position. */
  mark(longitude, latitude) {
    new this.#maplibre.Marker().setLngLat([longitude, latitude]).addTo(this.map);
  }

  /** Shows the clusters of the visible part; returns what the server says of it, or null if the map moved on. */
  async update(options = {}) {
    const box = boxOf(this.map);
    this.#request?.abort();
    this.#request = new AbortController();
    try {
      const query = new URLSearchParams({ ...options, box, zoom: Math.max(0, this.map.getZoom()).toFixed(2) });
      const found = await requestJson(`/map/clusters?${query}`, { signal: this.#request.signal });
      this.#marks.show(found.clusters);
      return found;
    } catch (error) {
      if (error.name === "AbortError") return null;
      throw error;
    }
  }
}
