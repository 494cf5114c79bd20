// The lightbox: a photo of a grid over the whole window. Its address opens the same photo over the same grid. Back and Escape lead to
// the grid, with the focus on the photo that was shown last.

import { create } from "./elements.js";
import { altOf, apiAddress, hasOriginals, photoOfTile } from "./grid_photos.js";
import { Panel } from "./lightbox_panel.js";
import { PhotoList, Previews } from "./lightbox_photos.js";
import { Filmstrip } from "./lightbox_strip.js";
import { Zoom } from "./lightbox_zoom.js";
import { setStars, starText } from "./selection_changes.js";
import { gettext, momentText } from "./texts.js";
import { toast } from "./toast.js";
import { actionOfKey, enqueue } from "./verdicts.js";

const dialog = document.getElementById("lightbox");
const stage = dialog.querySelector("[data-stage]");
const [title, place, number, status] = ["title", "place", "number", "status"].map((name) => dialog.querySelector(`[data-${name}]`));
const stepButtons = [...dialog.querySelectorAll("[data-step]")];
const infoButton = dialog.querySelector("[data-info]");
const star = dialog.querySelector("[data-star]"); // only for those who may change something
const download = dialog.querySelector("[data-download]");
const keysDialog = document.getElementById("lightbox-keys");
const previews = new Previews();
const isNarrow = matchMedia("(max-width: 63.99rem)"); // the panel is below the photo
const zoom = new Zoom(stage, {
  onSwipe: go,
  imageBeside: (step) => (list?.at(index + step) ? previews.image(list.at(index + step)) : null),
  onRaise: () => panel.isOpen || togglePanel(),
  onDismiss: () => (panel.isOpen && isNarrow.matches ? togglePanel() : leave()),
  onSharp: showOriginal,
});
const strip = new Filmstrip(dialog.querySelector("[data-strip]"), (at) => moveTo(at));
const panel = new Panel(dialog.querySelector("[data-panel]"), {
  announce: (text) => void (status.textContent = text),
  report,
  fallback: stage,
  onChange: (photo, verdict) => grid.dispatchEvent(new CustomEvent("verdict", { detail: { photo: photo.id, ...verdict } })),
  onRefresh: rename,
});
let pageTitle = document.title;

let grid = null; // the list of tiles that the photo was opened from
let list = null;
let index = 0;
let offset = 0; // from the index to the number in the grid; null while the grid has not found the photo of the page's address
let scrollRestoration = history.scrollRestoration;
let isLeaving = false; // the browser has yet to go back
let awaitedSteps = 0; // steps to photos that the server has yet to name
const laterActions = []; // actions for the time after these steps, in order

// ----- opening and closing -----

function open(tiles, tile) {
  prepare(tiles, tile);
  history.pushState({ lightbox: true }, "", list.addressOf(list.at(index)));
  showFirst();
}

/** Opens the photo of the page's address, before its grid is there. */
function openNamed(tiles) {
  prepare(tiles, tiles.querySelector("[data-photo]"));
  offset = null;
  showFirst();
  if (tiles.dataset.opened === "details") togglePanel();
}

function prepare(tiles, tile) {
  grid = tiles;
  [index, offset] = [Number(tile.getAttribute("aria-posinset") ?? 1) - 1, 0]; // the photo of the address is the first of its page
  list = listOf(grid, photoOfTile(tile));
  pageTitle = document.title; // filters change it
  scrollRestoration = history.scrollRestoration;
  history.scrollRestoration = "manual"; // Back leads to the photo shown last, which may be elsewhere
}

function showFirst() {
  dialog.showModal();
  stage.focus();
  show();
}

/** The photos beside a photo of a grid; a grid without a query has them all. */
function listOf({ dataset, photoGrid }, photo) {
  if (dataset.source) return new PhotoList(dataset, index, [photo]);
  return new PhotoList(null, 0, photoGrid.photos.all());
}

/** Leaves the lightbox as Back does. */
function leave() {
  if (isLeaving) return; // a second Escape would leave the grid too
  isLeaving = Boolean(history.state?.lightbox);
  if (isLeaving) return history.back();
  if ("opened" in grid.dataset) history.replaceState(history.state, "", grid.dataset.source.replace("/api", ""));
  hide();
}

function hide() {
  if (!list) return;
  [list, isLeaving] = [null, false];
  forgetAwaited();
  dialog.close();
  stage.replaceChildren();
  for (const part of [previews, strip, panel]) part.clear();
  document.title = pageTitle;
  delete grid.dataset.shown;
  delete grid.dataset.opened;
  history.scrollRestoration = scrollRestoration;
  if (offset !== null) grid.dispatchEvent(new CustomEvent("reveal", { detail: index + offset }));
}

addEventListener("popstate", (event) => {
  const isElsewhere = event.state?.lightbox ? !list : grid && "opened" in grid.dataset && location.pathname !== "/photos";
  if (isElsewhere) location.reload(); // Forward, or Back to another page after a reload
  else if (!event.state?.lightbox) hide();
});

document.addEventListener("located", (event) => {
  if (event.target !== grid || offset !== null) return;
  offset = event.detail;
  if (!list) return;
  drawTitle(list.at(index));
  grid.dataset.shown = index + offset;
});

// ----- the photo -----

function show() {
  const photo = list.at(index);
  if (offset !== null) grid.dataset.shown = index + offset;
  describe(photo);
  showPreview(photo);
  drawStar(photo);
  download.hidden = !hasOriginals;
  if (hasOriginals) download.href = apiAddress(`/photos/${photo.id}/file`);
  panel.show(photo);
  drawAround();
  lookAround();
}

/** Draws what depends on the photos beside this one. */
function drawAround() {
  strip.draw(list, index);
  for (const button of stepButtons) {
    const isEnd = list.end(Number(button.dataset.step)) === index;
    if (isEnd && button === document.activeElement) stage.focus(); // a disabled button gets no keys
    button.disabled = isEnd;
  }
}

function describe(photo) {
  drawTitle(photo);
  status.textContent = `${[gettext("Photo"), positionText()].filter(Boolean).join(" ")}: ${photo.name || photo.file}`;
}

function drawTitle({ name, file, alt, taken_at, place: where }) {
  const [first, ...others] = [taken_at && momentText(taken_at), name, where].filter(Boolean);
  title.textContent = first ?? file;
  place.textContent = others.join(" · ");
  number.textContent = positionText();
  document.title = `${alt} · landmark tagger`;
}

/** Takes the photo's landmarks from its details: a verdict may have changed them. */
function rename(photo, details) {
  photo.name = [...details.querySelectorAll(".photo-title a")].map((link) => link.textContent).join(", ");
  photo.alt = altOf(photo.name, photo.file);
  if (list?.at(index) === photo) drawTitle(photo);
}

/** Shows what a verdict did, beside the photo or in a message, and tells screen readers. */
function report(text) {
  status.textContent = text;
  if (!panel.isOpen) toast(text, { duration_ms: 2500 });
}

/** "3 of 120", as far as it is known: a page of the list in the middle of it has no numbers. */
function positionText() {
  if (offset === null || document.querySelector(".grid-first")) return "";
  const total = grid.dataset.total ?? document.querySelector("[data-count]")?.dataset.count;
  const position = index + offset + 1;
  return total ? gettext("%(number)s of %(total)s", { number: position, total }) : `${position}`;
}

function showPreview(photo) {
  const image = previews.image(photo);
  stage.replaceChildren(image);
  zoom.start(image);
  stage.ariaBusy = String(!image.complete);
  if (image.complete) return;
  const isShown = () => image.parentElement === stage;
  image.addEventListener("load", () => isShown() && (stage.ariaBusy = "false"), { once: true });
  image.addEventListener("error", () => isShown() && showProblem(gettext("The photo could not be loaded. Its details may say why.")), { once: true });
}

/** Replaces the preview by the photo itself, which has more pixels. */
async function showOriginal() {
  const photo = list?.at(index);
  if (!photo) return;
  const image = await previews.original(photo).catch(() => null); // the preview stays
  if (image && list?.at(index) === photo) zoom.sharpen(image);
}

function showProblem(text) {
  stage.ariaBusy = "false";
  stage.replaceChildren(create("p", { className: "lightbox-problem", role: "alert" }, text));
}

/** Preloads the photos beside this one, once the server has named them. */
async function lookAround() {
  const [around, at] = [list, index];
  previews.preload(around, at);
  try {
    await around.extend(at);
  } catch (error) {
    forgetAwaited();
    if (list === around) status.textContent = gettext("The photos could not be loaded: %(reason)s", { reason: error.message });
    return;
  }
  if (list !== around) return;
  drawAround();
  previews.preload(list, index);
  if (awaitedSteps) go(0);
  while (!awaitedSteps && laterActions.length) laterActions.shift()();
}

/** Forgets steps to photos that did not load, and the verdicts after them, which are not for the photo that is still shown. */
function forgetAwaited() {
  awaitedSteps = 0;
  laterActions.length = 0;
}

function go(step) {
  if (awaitedSteps && step) {
    laterActions.push(() => go(step));
    return;
  }
  const steps = awaitedSteps + step;
  const end = list.end(steps);
  awaitedSteps = 0;
  if (list.at(index + steps)) moveTo(index + steps);
  else if (end === null) {
    awaitedSteps = steps;
    lookAround();
  } else if (end === index) status.textContent = steps > 0 ? gettext("This is the last photo") : gettext("This is the first photo");
  else moveTo(end);
}

/** Shows the first or the last photo of the grid. */
async function goToEnd(step) {
  forgetAwaited();
  const [from, end] = [list, list.end(step)];
  if (end !== null) return moveTo(end);
  const { photoGrid } = grid;
  const chunk = photoGrid.photos.chunks.at(step < 0 ? 0 : -1);
  if (!chunk) return; // the grid has yet to load
  await photoGrid.loadAndDraw(chunk);
  const photo = chunk.photos?.at(step < 0 ? 0 : -1);
  if (!photo || list !== from) return;
  [index, offset] = [step < 0 ? 0 : photoGrid.photos.total - 1, 0];
  list = new PhotoList(grid.dataset, index, [photo]);
  moveTo(index);
}

function moveTo(at) {
  index = at;
  history.replaceState(history.state, "", list.addressOf(list.at(index)));
  show();
}

document.addEventListener("counted", ({ target }) => target === grid && list && drawTitle(list.at(index)));

// ----- controls -----

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-grid] [data-photo] > a");
  if (!link || event.defaultPrevented || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link.closest("[data-grid]"), link.parentElement);
});

dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { step, zoom: factor } = button.dataset;
  if ("close" in button.dataset) leave();
  else if (button === infoButton) togglePanel();
  else if (button === star) toggleStar();
  else if (step) go(Number(step));
  else if (factor) zoom.scaleBy(Number(factor));
});

dialog.addEventListener("cancel", (event) => {
  if (event.target !== dialog) return;
  event.preventDefault();
  leave();
});
dialog.addEventListener("close", () => list && leave()); // the browser closed it, such as for a second Escape

let sendingStars = Promise.resolve(); // in the order of the presses

/** Gives the photo a star, or takes it away. */
function toggleStar() {
  const photo = list.at(index);
  const isFavourite = !photo.favourite;
  markStar(photo, isFavourite);
  sendingStars = sendingStars.then(() => sendStar(photo, isFavourite));
}

async function sendStar(photo, isFavourite) {
  try {
    const { changed } = await setStars([photo.id], isFavourite);
    if (!changed.length) throw new Error(gettext("not processed yet"));
    status.textContent = starText(isFavourite);
  } catch (error) {
    markStar(photo, !isFavourite);
    toast(gettext("The photo was not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

function markStar(photo, isFavourite) {
  photo.favourite = isFavourite;
  if (list?.at(index) === photo) drawStar(photo);
  grid.dispatchEvent(new CustomEvent("starred", { detail: { photos: [photo.id], isFavourite } }));
}

function drawStar({ favourite }) {
  star?.setAttribute("aria-pressed", String(Boolean(favourite)));
}

function togglePanel() {
  panel.toggle();
  infoButton.setAttribute("aria-expanded", String(panel.isOpen));
}

const KEYS = { ArrowLeft: () => go(-1), ArrowRight: () => go(1), Home: () => goToEnd(-1), End: () => goToEnd(1), i: togglePanel, n: nameAnother, f: () => star && toggleStar(), "?": () => keysDialog.showModal() };

// On the document, since a click beside the buttons leaves the focus there.
document.addEventListener("keydown", (event) => {
  if (!list || isLeaving || document.querySelector("dialog[open]:not(#lightbox)")) return;
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  const action = event.shiftKey && event.key !== "?" ? null : (KEYS[event.key] ?? (event.repeat ? null : verdictKey(event.key)));
  if (action) action();
  else if (!zoom.pressKey(event)) return;
  event.preventDefault();
});

/** Returns what a key does with the verdicts of the photo that is shown now, or that a step before the key leads to. */
function verdictKey(key) {
  const action = actionOfKey(key);
  if (!action) return null;
  return () => (awaitedSteps ? laterActions.push(() => giveVerdict(action)) : giveVerdict(action));
}

function giveVerdict(action) {
  const loaded = shownVerdicts();
  enqueue(async () => action(await loaded));
}

async function nameAnother() {
  const photo = list.at(index);
  const verdicts = await shownVerdicts();
  if (list?.at(index) === photo) verdicts.openNaming();
}

function shownVerdicts() {
  const loaded = panel.verdicts(list.at(index));
  loaded.catch(() => toast(gettext("The server does not respond. Try again."), { tone: "bad" }));
  return loaded;
}

const named = document.querySelector("[data-opened]");
if (named) openNamed(named);
