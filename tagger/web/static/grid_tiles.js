// The elements of a grid: a photo, and the heading of a month.

import { create } from "./elements.js";
import { pageAddress, thumbnailAddress } from "./grid_photos.js";
import { gettext, language, momentText, part } from "./texts.js";

const [SMALL_PX, LARGE_PX, MOST_ASPECT] = [256, 512, 4]; // as thumbnail_size on the server
const SHARPEST = 2; // pixels of a thumbnail per pixel of the page: more make no visible difference, and take four times the bytes
const month = new Intl.DateTimeFormat(language, { month: "long", year: "numeric", timeZone: "UTC" });

/** `June 2024` for `2024-06`. */
export const monthName = (key) => (key === "none" ? gettext("No date") : month.format(new Date(`${key}-01T00:00:00Z`)));

/** The heading of a section. */
export const createHeading = ({ key, name }) => create("li", { className: "photo-month", "data-section": key }, create("h2", {}, name));

export const createTile = () => create("li", { className: "photo-tile" });

export function fillTile(tile, photo, source) {
  tile.dataset.photo = photo.id;
  const image = create("img", { decoding: "async", alt: photo.alt });
  const facts = create("span", { className: "photo-tile-name one-line", "data-name": photo.name, "aria-hidden": "true" }, factsOf(photo));
  const link = create("a", { href: pageAddress(photo, source) }, image, facts);
  if (photo.guess) link.append(create("span", { className: "photo-tile-guess one-line" }, create("span", { className: "visually-hidden" }, " "), photo.guess));
  if (photo.confirmed) link.append(createBadge("photo-tile-confirmed", "", gettext("confirmed")));
  if (photo.favourite) link.append(createStar());
  if (photo.copies > 1) link.append(createBadge("photo-tile-copies", photo.copies, gettext("copies")));
  tile.replaceChildren(link);
  tile.photo = photo;
  showColours(tile, photo);
}

/** Draws the colours of a photo, smoothed by the browser, in the place of its thumbnail. */
export function showColours(tile, { colours }) {
  if (colours) tile.querySelector("img").style.backgroundImage = imageOf(colours);
}

const canvas = create("canvas", { width: 3, height: 3 });
const brush = canvas.getContext("2d");

function imageOf(colours) {
  const bytes = atob(colours);
  const pixels = brush.createImageData(3, 3);
  for (let at = 0; at < 9; at++) pixels.data.set([...[0, 1, 2].map((part) => bytes.charCodeAt(3 * at + part)), 255], 4 * at);
  brush.putImageData(pixels, 0, 0);
  return `url(${canvas.toDataURL()})`;
}

/** Requests the thumbnail of a tile, unless it was requested, and marks the tile until it is there. */
export function loadImage(tile, priority) {
  const image = tile.querySelector("img");
  if (!image) return;
  requestImage(tile, image, priority);
  if (image.complete || image.onload) return;
  tile.dataset.loading = "";
  image.onload = image.onerror = () => delete tile.dataset.loading;
}

function requestImage({ photo, box }, image, priority) {
  if (!photo || image.hasAttribute("src")) return;
  image.fetchPriority = priority;
  image.sizes = `${Math.ceil(box.width * Math.min(1, SHARPEST / devicePixelRatio))}px`;
  image.srcset = [SMALL_PX, LARGE_PX].map((px) => `${thumbnailAddress(photo, px)} ${thumbnailWidth(photo, px)}w`).join(", ");
  image.src = thumbnailAddress(photo, SMALL_PX);
}

/** Cancels the request of a tile that left the screen. */
export function stopImage(tile) {
  const image = tile.querySelector("img");
  if (!image || image.complete) return;
  image.removeAttribute("srcset");
  image.removeAttribute("src");
  image.onload = image.onerror = null;
  delete tile.dataset.loading;
}

/** Gives a drawn tile a star, or takes it away. */
export function drawStar(tile, isFavourite) {
  tile.querySelector(".photo-tile-favourite")?.remove();
  if (isFavourite) tile.querySelector("a")?.append(createStar());
}

const createStar = () => createBadge("photo-tile-favourite", "", gettext("favourite"));

/** A sign on a photo, with words for those who do not see it. */
function createBadge(className, text, words) {
  return create("span", { className }, text, create("span", { className: "visually-hidden" }, ` ${words}`));
}

/** `Eiffel Tower 83% · 3 June 2024, 14:05`. */
function factsOf({ name, score, taken_at, facts }) {
  if (facts !== undefined) return facts;
  const parts = [];
  if (name) parts.push(score === null ? name : `${name} ${percent(score)}`);
  if (taken_at) parts.push(momentText(taken_at));
  return parts.join(" · ");
}

function percent(score) {
  if (score > 0 && score < 0.01) return `<${part(0.01)}`;
  return score > 0.99 && score < 1 ? `>${part(0.99)}` : part(score);
}

function thumbnailWidth({ width, height }, px) {
  if (!width || !height) return Math.round((px * 4) / 3);
  return Math.max(1, Math.round(width * Math.min(1, px / Math.min(width, height), (MOST_ASPECT * px) / Math.max(width, height))));
}
