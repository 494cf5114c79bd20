// The map of photos. MapLibre draws the land, and links stand for clusters of photos. Without WebGL, the drawing of the page stays.

import { ClusterMarks } from "./map_marks.js";
import { mapStyle } from "./map_style.js";
import { requestJson } from "./server.js";

const hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl2"));

function loadScript(address) {
  const script = document.createElement("script");
  script.src = address;
  return new Promise((resolve, reject) => {
    script.onload = resolve;
    script.onerror = () => reject(new Error(`cannot load ${address}`));
    document.head.append(script);
  });
}

function loadStyle(address) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = address;
  document.head.prepend(link);
}

/** South, west, north and east of an attribute, as MapLibre's corners. */
function corners(text) {
  const [south, west, north, east] = text.split(",").map(Number);
  return [[west, south], [east < west ? east + 360 : east, north]];
}

/** The visible part as an option of a query: south, west, north, east. */
function boxOf(map) {
  const bounds = map.getBounds();
  const isWorld = bounds.getEast() - bounds.getWest() >= 360;
  const turned = (longitude) => ((((longitude + 180) % 360) + 360) % 360) - 180;
  const [west, east] = isWorld ? [-180, 180] : [turned(bounds.getWest()), turned(bounds.getEast())];
  return [bounds.getSouth(), west, bounds.getNorth(), east].map((degrees) => Number(degrees.toFixed(5))).join(",");
}

async function loadLibrary({ library, worker, style, reader }) {
  loadStyle(style);
  const [maplibre] = await Promise.all([import(library), window.pmtiles ?? loadScript(reader)]);
  maplibre.setWorkerUrl(new URL(worker, location.href).href);
  maplibre.addProtocol("pmtiles", new window.pmtiles.Protocol().tile);
  return maplibre;
}

function createMap(maplibre, host) {
  const map = new maplibre.Map({
    container: host,
    style: mapStyle(host.dataset),
    bounds: corners(host.dataset.bounds),
    fitBoundsOptions: { padding: 48, maxZoom: 15 },
    maxZoom: 18,
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
function followTheme(map, host) {
  const update = () => map.setStyle(mapStyle(host.dataset));
  new MutationObserver(update).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
}

function showSummary(summary, { photos, text, address }) {
  summary.replaceChildren();
  if (photos) {
    const link = document.createElement("a");
    link.className = "button button--small";
    link.href = address;
    link.textContent = `Show ${photos === 1 ? "the photo" : `these ${photos} photos`}`;
    summary.append(link, ` ${text}`);
  } else {
    summary.textContent = "No photos in this part of the map";
  }
}

async function start(host) {
  const figure = host.closest("figure");
  const summary = figure.querySelector(".map-live-summary");
  const maplibre = await loadLibrary(host.dataset);
  figure.classList.add("map-figure--live");
  host.hidden = summary.hidden = false;
  const map = createMap(maplibre, host);
  const marks = new ClusterMarks(maplibre, map);
  followTheme(map, host);
  let pending = null;

  async function update() {
    const box = boxOf(map);
    pending?.abort();
    pending = new AbortController();
    try {
      const query = new URLSearchParams({ box, zoom: Math.max(0, map.getZoom()).toFixed(2) });
      const found = await requestJson(`/map/clusters?${query}`, { signal: pending.signal });
      marks.show(found.clusters);
      showSummary(summary, found);
      host.dataset.shown = box;
    } catch (error) {
      if (error.name !== "AbortError") summary.textContent = "The photos cannot be loaded. Move the map to try again.";
    }
  }

  map.on("moveend", () => {
    history.replaceState(history.state, "", `/map?box=${boxOf(map)}`);
    update();
  });
  for (const chip of figure.querySelectorAll("[data-bounds].chip")) {
    chip.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      for (const other of figure.querySelectorAll(".chip[aria-current]")) other.removeAttribute("aria-current");
      chip.setAttribute("aria-current", "true");
      map.fitBounds(corners(chip.dataset.bounds), { padding: 48, maxZoom: 15 });
    });
  }
  update();
}

function startAll() {
  const host = document.querySelector(".map-live[hidden]");
  if (host && hasWebGL()) start(host).catch((error) => console.warn("the map cannot be drawn:", error));
}

startAll();
// The page replaces its map once the photos are counted.
document.addEventListener("htmx:afterSettle", startAll);
