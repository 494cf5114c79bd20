// The photos of a grid, as tiles and as documents of the API, and their addresses.

import { momentText, ngettext } from "./texts.js";

export function photoOfTile(tile) {
  const image = tile.querySelector("img");
  const { name } = tile.querySelector(".photo-tile-name").dataset;
  return {
    id: Number(tile.dataset.photo),
    colours: tile.dataset.colours,
    taken_at: tile.dataset.taken,
    place: tile.dataset.place,
    version: new URL(image.src, location.origin).searchParams.get("v"), // a tile may be without its thumbnail as yet
    alt: image.alt,
    name,
    file: tile.dataset.file,
    width: Number(image.getAttribute("width")),
    height: Number(image.getAttribute("height")),
    facts: tile.querySelector(".photo-tile-name").textContent,
    guess: tile.querySelector(".photo-tile-guess")?.textContent.trim(),
    favourite: tile.querySelector(".photo-tile-favourite") !== null,
    confirmed: tile.querySelector(".photo-tile-confirmed") !== null,
    copies: Number.parseInt(tile.querySelector(".photo-tile-copies")?.textContent ?? "1", 10),
  };
}

/**
 * A photo as `/api/timeline/photos` lists it.
 * @param {any} document_
 */
export function photoOfTimeline({ digest, ...photo }) {
  const name = photo.name ?? "";
  const file = photo.files > 1 ? `${photo.file}, ${ngettext("%(count)s file", "%(count)s files", photo.files)}` : photo.file;
  return { ...photo, version: digest?.slice(-16), name, file, alt: altOf({ ...photo, name, file }) };
}

/** The photo's page, which steps through the photos of the query at the address `source`. */
export function pageAddress(photo, source) {
  const options = new URL(source, location.origin).searchParams;
  options.set("within", "1");
  return `/photos/${photo.id}?${options}`;
}

/** What the panel shows of a photo: its landmarks and facts. */
export const detailsAddress = (photo) => `/photos/${photo.id}/details`;

/** The photo in words: “Colosseum, 12 April 2024, 10:05”; its file if nothing is known. */
export const altOf = ({ name, place, taken_at: takenAt, file }) => [name || place, takenAt && momentText(takenAt)].filter(Boolean).join(", ") || file;

export const thumbnailAddress = (photo, size) => `/api/photos/${photo.id}/thumbnail?size=${size}${version(photo, "&")}`;

export const previewAddress = (photo) => `/api/photos/${photo.id}/preview${version(photo, "?")}`;

function version(photo, separator) {
  return photo.version ? `${separator}v=${encodeURIComponent(photo.version)}` : "";
}
