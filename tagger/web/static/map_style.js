// The style of the map's land, borders and names, in the colours of the page. Names are drawn with the page's own font.

import { create } from "./elements.js";
import { language } from "./texts.js";

const OPEN_STREET_MAP = '<a href="https://www.openstreetmap.org/copyright" target="_blank" rel="noreferrer">© OpenStreetMap</a>';
const FONT = ["Noto Sans", "Segoe UI", "Helvetica Neue", "sans-serif"];

/** A colour of the page, as MapLibre reads it: without light-dark(). */
function colour(name) {
  const probe = create("span", { className: `map-colour map-colour--${name}` });
  (document.querySelector("dialog[open]") ?? document.body).append(probe); // a dialog may be dark in a light page
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// The codes of countries that the map names otherwise than CLDR does in English.
const CODES = {
  "brunei darussalam": "BN", "czech republic": "CZ", "dem. rep. korea": "KP", "democratic republic of the congo": "CD", "lao pdr": "LA",
  macao: "MO", myanmar: "MM", palestine: "PS", "republic of korea": "KR", "republic of the congo": "CG", "russian federation": "RU", vatican: "VA",
};
const NOT_LATIN = /[^\p{Script=Latin}\p{P}\p{M}\s]/u;
const folded = (name) => name.normalize("NFD").replace(/\p{M}/gu, "").replace("&", "and").replace("St.", "Saint").replace("’", "'").toLowerCase();

/** The names of countries in the reader's language by folded English ones. None in scripts other than Latin: MapLibre does not join letters. */
function countryNames() {
  const [english, local] = ["en", language].map((tag) => new Intl.DisplayNames(tag, { type: "region", fallback: "none" }));
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  const codes = letters.flatMap((first) => letters.map((second) => first + second)).filter((code) => english.of(code));
  const known = [...codes.map((code) => [folded(english.of(code)), code]), ...Object.entries(CODES)];
  const named = known.map(([name, code]) => [name, local.of(code)]);
  return Object.fromEntries(named.filter(([, name]) => name && !NOT_LATIN.test(name)));
}

/** The text of a name: the map has English ones, and of large cities those in some languages. */
function textOf(layer) {
  const name = ["get", "name"];
  if (layer === "cities") return ["coalesce", ["get", language], name];
  if (language === "en") return name;
  return ["coalesce", ["get", ["downcase", name], ["literal", countryNames()]], name];
}

function names(id, layer, size, filter, more = {}) {
  return {
    id,
    type: "symbol",
    source: "world",
    "source-layer": layer,
    filter,
    layout: { "text-field": textOf(layer), "text-font": FONT, "text-size": size, "text-max-width": 7, "text-padding": 4, "symbol-sort-key": ["get", "rank"], ...more },
    paint: { "text-color": colour(layer === "countries" ? "country" : "city"), "text-halo-color": colour("halo"), "text-halo-width": 1.2 },
  };
}

const line = (id, layer, name, width, more = {}) => ({
  id,
  type: "line",
  source: "world",
  "source-layer": layer,
  paint: { "line-color": colour(name), "line-width": width },
  ...more,
});

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

/** The layers of the operator's file in the published style, with names in the page's own font and without icons, whose pictures it lacks. */
function nearLayers() {
  const { basemaps } = window;
  const layers = basemaps.layers("near", basemaps.namedFlavor(isDark() ? "dark" : "light"), { lang: language });
  return layers
    .filter(({ type, layout }) => type !== "background" && (type !== "symbol" || layout["text-field"]))
    .map((layer) => {
      if (layer.type !== "symbol") return layer;
      const { "icon-image": _, ...layout } = layer.layout;
      return { ...layer, layout: { ...layout, "text-font": FONT } };
    });
}

/** The names of the package's map, where the operator's file has none. `bounds` are those of the file: west, south, east, north. */
function outside(layer, [west, south, east, north]) {
  const area = { type: "Polygon", coordinates: [[[west, south], [east, south], [east, north], [west, north], [west, south]]] };
  return { ...layer, filter: ["all", layer.filter, ["!", ["within", area]]] };
}

const addressOf = (file) => `pmtiles://${new URL(file, location.href).href}`;

/** The map that comes with the package, and above it the operator's file; or the tiles of the operator's server. */
export function mapStyle({ world, near, tiles, attribution }, bounds) {
  if (tiles) {
    return {
      version: 8,
      sources: { tiles: { type: "raster", tiles: [tiles], tileSize: 256, maxzoom: 19, attribution: attribution ?? "" } },
      layers: [{ id: "sea", type: "background", paint: { "background-color": colour("sea") } }, { id: "tiles", type: "raster", source: "tiles" }],
    };
  }
  const ofWorld = {
    version: 8,
    sources: { world: { type: "vector", url: addressOf(world), attribution: "Natural Earth, GeoNames" } },
    layers: [
      { id: "sea", type: "background", paint: { "background-color": colour("sea") } },
      { id: "land", type: "fill", source: "world", "source-layer": "land", paint: { "fill-color": colour("land") } },
      { id: "lakes", type: "fill", source: "world", "source-layer": "lakes", paint: { "fill-color": colour("sea") } },
      line("rivers", "rivers", "sea", ["interpolate", ["linear"], ["zoom"], 3, 0.6, 8, 2], { minzoom: 3 }),
      line("regions", "regions", "region", 0.7, { minzoom: 3.5 }),
      line("borders", "borders", "border", ["interpolate", ["linear"], ["zoom"], 1, 0.6, 6, 1.4], { filter: ["get", "settled"] }),
      { ...line("disputed", "borders", "border", 1, { filter: ["!", ["get", "settled"]] }), layout: {}, paint: { "line-color": colour("border"), "line-width": 1, "line-dasharray": [3, 2] } },
      names("cities", "cities", ["interpolate", ["linear"], ["zoom"], 3, 10, 8, 14], ["<=", ["get", "rank"], ["+", ["zoom"], 0.5]]),
      names("countries", "countries", ["interpolate", ["linear"], ["zoom"], 1, 10, 5, 15], ["has", "name"], { "text-transform": "uppercase", "text-letter-spacing": 0.08 }),
    ],
  };
  if (!bounds) return ofWorld;
  const { sources, layers } = ofWorld;
  const source = { type: "vector", url: addressOf(near), attribution: OPEN_STREET_MAP };
  const named = layers.map((layer) => (layer.type === "symbol" ? outside(layer, bounds) : layer));
  return { version: 8, sources: { ...sources, near: source }, layers: [...named, ...nearLayers()] };
}

/** The style with a path, which is below the names. */
export function withPath(style, geometry) {
  if (!geometry) return style;
  const path = {
    id: "path",
    type: "line",
    source: "path",
    layout: { "line-join": "round", "line-cap": "round" },
    paint: { "line-color": colour("path"), "line-width": 3, "line-opacity": 0.7 },
  };
  const above = style.layers.filter((layer) => layer.type === "symbol");
  const below = style.layers.filter((layer) => layer.type !== "symbol");
  const source = { type: "geojson", data: { type: "Feature", properties: {}, geometry } };
  return { ...style, sources: { ...style.sources, path: source }, layers: [...below, path, ...above] };
}
