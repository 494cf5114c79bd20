// The lightbox: a photo of a grid over the whole window. Its address opens the same photo over the same grid. Back and Escape lead to
// the grid, with the focus on the photo that was shown last.

import { create } from "./elements.js";
import { altOf, pageAddress, photoOfTile } from "./grid_photos.js";
import { Panel } from "./lightbox_panel.js";
import { Previews } from "./lightbox_previews.js";
import { Zoom } from "./lightbox_zoom.js";
import { setStars, starText } from "./selection_changes.js";
import { gettext, momentText } from "./texts.js";
import { toast } from "./toast.js";
import { actionOfKey, enqueue } from "./verdicts.js";

const SLIDE_MS = 4000; // a photo of the slide show
const AROUND = [1, -1, 12, -12]; // photos that are loaded before a step leads to them

const dialog = document.getElementById("lightbox");
const stage = dialog.querySelector("[data-stage]");
const [title, place, number, status] = ["title", "place", "number", "status"].map((name) => dialog.querySelector(`[data-${name}]`));
const stepButtons = [...dialog.querySelectorAll("[data-step]")];
const infoButton = dialog.querySelector("[data-info]");
const star = dialog.querySelector("[data-star]"); // only for those who may change something
const play = dialog.querySelector("[data-play]");
const download = dialog.querySelector("[data-download]");
const keysDialog = document.getElementById("lightbox-keys");
const previews = new Previews();
const isNarrow = matchMedia("(max-width: 63.99rem)"); // the panel is below the photo
const zoom = new Zoom(stage, {
  onSwipe: go,
  imageBeside: (step) => (photoAt(step) ? previews.image(photoAt(step)) : null),
  onRaise: () => panel.isOpen || togglePanel(),
  onDismiss: () => (panel.isOpen && isNarrow.matches ? togglePanel() : leave()),
  onSharp: showOriginal,
});
const panel = new Panel(dialog.querySelector("[data-panel]"), {
  announce: (text) => void (status.textContent = text),
  report,
  fallback: stage,
  askedThing: () => new URLSearchParams(grid.dataset.options).get("thing"),
  onChange: ({ id }, verdict) => grid.dispatchEvent(new CustomEvent("verdict", { detail: { photo: id, ...verdict } })),
  onRefresh: rename,
});
let pageTitle = document.title;

let grid = null; // the list of tiles that the photo was opened from
let photo = null; // the one that is shown, as long as the lightbox is open
let scrollRestoration = history.scrollRestoration;
let isLeaving = false; // the browser has yet to go back
let awaited = null; // returns the number of the photo to show, from that of the one shown and the total; null: none waits to be loaded
const laterActions = []; // actions for the time after that step, in order

/** The photos of the grid; this script may run before that of the grid. */
const photos = () => grid.photoGrid?.photos;

/** The number of the photo in the grid; null while it is not loaded there. */
const position = () => photos()?.indexOf(photo.id) ?? null;

/** The photo so many steps on, if it is loaded. */
function photoAt(step) {
  const index = position();
  if (!step) return photo;
  return index === null ? undefined : photos().at(index + step);
}

// ----- opening and closing -----

function open(tiles, tile) {
  prepare(tiles, tile);
  history.pushState({ lightbox: true }, "", pageAddress(photo, grid.dataset.source));
  showFirst();
}

/** Opens the photo of the page's address, before its grid is there. */
function openNamed(tiles) {
  prepare(tiles, tiles.querySelector("[data-photo]"));
  showFirst();
  if (tiles.dataset.opened === "details") togglePanel();
}

function prepare(tiles, tile) {
  [grid, photo] = [tiles, photoOfTile(tile)];
  pageTitle = document.title; // filters change it
  scrollRestoration = history.scrollRestoration;
  history.scrollRestoration = "manual"; // Back leads to the photo shown last, which may be elsewhere
}

function showFirst() {
  dialog.showModal();
  stage.focus();
  show();
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
  if (!photo) return;
  const [index, { id }] = [position(), photo];
  [photo, isLeaving] = [null, false];
  forgetAwaited();
  stopPlay();
  dialog.close();
  stage.replaceChildren();
  for (const part of [previews, panel]) part.clear();
  document.title = pageTitle;
  delete grid.dataset.shown;
  delete grid.dataset.opened;
  history.scrollRestoration = scrollRestoration;
  if (index !== null) grid.dispatchEvent(new CustomEvent("reveal", { detail: index }));
  else grid.querySelector(`[data-photo="${id}"] > a`)?.focus();
}

addEventListener("popstate", (event) => {
  const isElsewhere = event.state?.lightbox ? !photo : grid && "opened" in grid.dataset && location.pathname !== "/photos";
  if (isElsewhere) location.reload(); // Forward, or Back to another page after a reload
  else if (!event.state?.lightbox) hide();
});

// ----- the photo -----

function show() {
  describe();
  showPreview(photo);
  drawStar(photo);
  download.href = `/api/photos/${photo.id}/file`;
  panel.show(photo);
  lookAround();
}

/** Disables the steps that the list does not have. */
function drawSteps() {
  const index = position();
  for (const button of stepButtons) {
    const isEnd = index === (button.dataset.step === "-1" ? 0 : photos()?.total - 1);
    if (isEnd && button === document.activeElement) stage.focus(); // a disabled button gets no keys
    button.disabled = isEnd;
  }
}

function describe() {
  drawTitle();
  status.textContent = `${[gettext("Photo"), positionText()].filter(Boolean).join(" ")}: ${photo.name || photo.file}`;
}

function drawTitle() {
  const { name, file, alt, taken_at, place: where } = photo;
  const [first, ...others] = [taken_at && momentText(taken_at), name, where].filter(Boolean);
  title.textContent = first ?? file;
  place.textContent = others.join(" · ");
  number.textContent = positionText();
  document.title = `${alt} · landmark tagger`;
}

/** Takes the photo's landmarks from its details: a verdict may have changed them. */
function rename(renamed, details) {
  const name = [...details.querySelectorAll(".photo-title a")].map((link) => link.textContent).join(", ");
  const others = photos()?.loaded().filter(({ id }) => id === renamed.id) ?? [];
  for (const each of [renamed, ...others]) Object.assign(each, { name, alt: altOf({ ...each, name }) });
  if (photo?.id === renamed.id) drawTitle();
}

/** Shows what a verdict did, beside the photo or in a message, and tells screen readers. */
function report(text, undo) {
  status.textContent = text;
  if (panel.isOpen) return; // it shows the verdict, with what undoes it
  toast(text, undo ? { tone: "ok", action: { text: gettext("Undo"), run: undo } } : { duration_ms: 2500 });
}

/** "3 of 120", once the grid has the photo. */
function positionText() {
  const index = position();
  return index === null ? "" : gettext("%(number)s of %(total)s", { number: index + 1, total: photos().total });
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
  const own = photo;
  const image = own && (await previews.original(own).catch(() => null)); // the preview stays
  if (image && photo === own) zoom.sharpen(image);
}

function showProblem(text) {
  stage.ariaBusy = "false";
  stage.replaceChildren(create("p", { className: "lightbox-problem", role: "alert" }, text));
}

/** Draws what depends on the place of the photo in the grid, and loads what is beside it. */
function lookAround() {
  const index = position();
  grid.dataset.shown = String(index ?? "");
  drawSteps();
  previews.preload(photoAt);
  if (index !== null) for (const step of AROUND) grid.photoGrid.loadAt(index + step);
}

/** Forgets a step to a photo that did not load, and the verdicts after it, which are not for the photo that is still shown. */
function forgetAwaited() {
  awaited = null;
  laterActions.length = 0;
}

function go(step) {
  if (awaited) laterActions.push(() => go(step));
  else seek((index) => index + step);
}

/** Shows the photo of the number that `target` returns, once it is loaded. */
function seek(target) {
  awaited = target;
  proceed();
}

function proceed() {
  if (!awaited) return;
  const index = position();
  if (index === null) return void (grid.photoGrid?.isStarted && forgetAwaited()); // it is not in the grid
  const { total } = photos();
  const to = awaited(index, total);
  const isBeyond = to < 0 || to >= total;
  const next = isBeyond ? photo : photos().at(to);
  if (!next) return grid.photoGrid.loadAt(to);
  awaited = null;
  if (isBeyond) status.textContent = to < 0 ? gettext("This is the first photo") : gettext("This is the last photo");
  else moveTo(next);
  while (!awaited && laterActions.length) laterActions.shift()();
}

function moveTo(next) {
  photo = next;
  history.replaceState(history.state, "", pageAddress(photo, grid.dataset.source));
  show();
}

document.addEventListener("photosloaded", ({ target }) => {
  if (target !== grid || !photo) return;
  drawTitle();
  lookAround();
  proceed();
});
document.addEventListener("photosfailed", ({ target, detail }) => {
  if (target !== grid || !photo) return;
  forgetAwaited();
  status.textContent = detail;
});

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
  const { step } = button.dataset;
  if ("close" in button.dataset) leave();
  else if (button === infoButton) togglePanel();
  else if (button === star) toggleStar();
  else if (button === play) togglePlay();
  else if (step) (stopPlay(), go(Number(step)));
});

dialog.addEventListener("cancel", (event) => {
  if (event.target !== dialog) return;
  event.preventDefault();
  leave();
});
dialog.addEventListener("close", () => photo && leave()); // the browser closed it, such as for a second Escape

let playing = 0; // the timer of the slide show

function togglePlay() {
  if (playing) return stopPlay();
  play.setAttribute("aria-pressed", "true");
  playing = setInterval(playNext, SLIDE_MS);
}

function stopPlay() {
  clearInterval(playing);
  playing = 0;
  play.setAttribute("aria-pressed", "false");
}

/** Shows the next photo once this one is loaded; ends with the last one. */
function playNext() {
  if (position() === photos()?.total - 1) stopPlay();
  else if (stage.ariaBusy !== "true" && !awaited) go(1);
}

let sendingStars = Promise.resolve(); // in the order of the presses

/** Gives the photo a star, or takes it away. */
function toggleStar() {
  const own = photo;
  const isFavourite = !own.favourite;
  markStar(own, isFavourite);
  sendingStars = sendingStars.then(() => sendStar(own, isFavourite));
}

async function sendStar(own, isFavourite) {
  try {
    const { changed } = await setStars([own.id], isFavourite);
    if (!changed.length) throw new Error(gettext("not processed yet"));
    status.textContent = starText(isFavourite);
  } catch (error) {
    markStar(own, !isFavourite);
    toast(gettext("The photo was not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

function markStar(own, isFavourite) {
  own.favourite = isFavourite;
  if (photo?.id === own.id) drawStar(own);
  grid.dispatchEvent(new CustomEvent("starred", { detail: { photos: [own.id], isFavourite } }));
}

function drawStar({ favourite }) {
  star?.setAttribute("aria-pressed", String(Boolean(favourite)));
}

function togglePanel() {
  panel.toggle();
  infoButton.setAttribute("aria-expanded", String(panel.isOpen));
}

const KEYS = { ArrowLeft: () => go(-1), ArrowRight: () => go(1), Home: () => seek(() => 0), End: () => seek((_, total) => total - 1), i: togglePanel, n: nameAnother, f: () => star && toggleStar(), p: togglePlay, "?": () => keysDialog.showModal() };

// On the document, since a click beside the buttons leaves the focus there.
document.addEventListener("keydown", (event) => {
  if (!photo || isLeaving || document.querySelector("dialog[open]:not(#lightbox)")) return;
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
  return () => (awaited ? laterActions.push(() => giveVerdict(action)) : giveVerdict(action));
}

function giveVerdict(action) {
  const loaded = shownVerdicts();
  enqueue(async () => action(await loaded));
}

async function nameAnother() {
  const own = photo;
  const verdicts = await shownVerdicts();
  if (photo === own) verdicts.openNaming();
}

function shownVerdicts() {
  const loaded = panel.verdicts(photo);
  loaded.catch(() => toast(gettext("The server does not respond. Try again."), { tone: "bad" }));
  return loaded;
}

const named = document.querySelector("[data-opened]");
if (named) openNamed(named);
