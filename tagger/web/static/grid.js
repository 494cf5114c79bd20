// A grid of any number of photos, under headings of months and days. Only rows near the screen are in the document. The grid is as
// high as all photos: what is not loaded has an estimated place, and what is on the screen stays there when estimates change.

import { createButton } from "./elements.js";
import { photoOfTile } from "./grid_photos.js";
import { createHeading, createTile, drawStar, fillTile, loadImage, showColours, stopImage } from "./grid_tiles.js";
import { showCount } from "./marks.js";
import { showResults } from "./results.js";
import { Scrubber } from "./scrubber.js";
import { gettext, ngettext } from "./texts.js";
import { HEADING_PX, Timeline } from "./timeline.js";

const AROUND_SCREENS = 0.5; // rows are in the document this far above and below the screen
const AHEAD_SCREENS = 2; // photos are requested this far ahead
const NEEDED_SCREENS = 4; // requests for photos farther away are cancelled
const MAX_HEIGHT_PX = 8_000_000; // browsers limit the height of elements; longer grids move their window
const MAX_REQUESTS = 2; // for photos at a time; the nearest come first
const FOUND_AT_ONCE = 20_000; // ids among which a photo is searched for
const MOST_PRINTED = 300; // photos of a trip
const SETTLE_MS = 90; // during fast scrolling, photos and thumbnails are requested after this pause

class PhotoGrid {
  constructor(list) {
    this.list = list;
    this.closing = new AbortController();
    this.status = document.querySelector("[data-grid-status]");
    this.source = list.dataset.source;
    this.photos = new Timeline(list.dataset.options);
    this.storageKey = `grid ${entryKey()}`;
    this.elements = new Map(); // those in the list, by number of the photo or key of the section
    this.base = 0; // px of the photos above the window
    this.focused = 0;
    this.offer = null; // the button that shows new photos
    list.tabIndex = -1;
    list.photoGrid = this;
    list.addEventListener("starred", (event) => this.showStars(event.detail));
    list.addEventListener("reveal", (event) => this.reveal(event.detail));
    list.toggleAttribute("data-follows-jobs", true);
    list.addEventListener("outdated", ({ detail }) => this.follow(detail), { signal: this.closing.signal });
    list.querySelectorAll("[data-photo]").forEach((tile, index) => tile.setAttribute("aria-posinset", String(index + 1)));
  }

  /** `own`: the photos of the page itself. */
  async start(own = this.list.dataset.start ? [] : this.photosOfPage()) {
    if (own.length) this.placeOwn(own);
    try {
      await this.photos.loadSections();
    } catch (error) {
      this.showError(error, () => this.start(own));
      return;
    }
    if (this.closing.signal.aborted) return;
    if (!this.photos.total) return this.finish();
    this.setStatus("");
    this.countInHeading();
    this.list.dataset.total = this.photos.total;
    const store = this.list.dataset.start ? () => {} : await this.loadFirst(own);
    if (!store || this.closing.signal.aborted) return; // the photos of the page itself stay
    this.rendered = new Map([...this.list.querySelectorAll("[data-photo]")].map((tile) => [Number(tile.dataset.photo), tile]));
    this.hadFocus = this.list.contains(document.activeElement) ? document.activeElement.closest("[data-photo]")?.dataset.photo : null;
    this.list.replaceChildren();
    this.list.dataset.placed = this.list.dataset.drawn = "";
    this.photos.setWidth(this.list.clientWidth);
    store();
    this.scrubber = new Scrubber(this);
    this.setHeight();
    if ("opened" in this.list.dataset || !this.restore()) await this.goToStart();
    this.lastTop = scrollY;
    this.listen();
    this.draw();
    if (this.pendingFocus !== undefined) this.focusOn(this.pendingFocus);
    else if (this.hadFocus) this.list.querySelector(`[data-photo="${this.hadFocus}"] > a`)?.focus({ preventScroll: true });
    this.rendered.clear();
    this.finish();
  }

  finish() {
    this.isStarted = true;
    this.notify("photosloaded");
  }

  /** Tells the lightbox. */
  notify(type, detail = null) {
    this.list.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
  }

  /** The photos in the page itself, in its sections. */
  photosOfPage() {
    const sections = [];
    for (const element of this.list.children) {
      if (!element.dataset.photo || !sections.length) sections.push({ key: element.dataset.section ?? "", name: element.textContent, elements: [], heading: element.dataset.photo ? null : element });
      if (element.dataset.photo) sections.at(-1).elements.push(element);
    }
    return sections.map((section) => ({ ...section, skip: 0, photos: section.elements.length, aspect: 0, documents: section.elements.map(photoOfTile) }));
  }

  /** Places the photos of the page itself where they will be among all; those below the screen are drawn later. */
  placeOwn(own) {
    const photos = new Timeline(this.list.dataset.options);
    photos.useSections(own);
    photos.sections.forEach(({ chunks: [chunk], documents }) => (chunk.photos = documents));
    this.list.dataset.placed = "";
    photos.setWidth(this.list.clientWidth);
    this.list.style.height = `${photos.height}px`;
    for (const { heading, elements, chunks: [chunk], ...box } of photos.sections) {
      if (heading) setBox(heading, box);
      chunk.layout.boxes.forEach((each, number) => setBox(elements[number], each, chunk));
      for (const tile of elements) if (tile.offsetTop > innerHeight) tile.remove();
    }
  }

  /** Uses the photos of the page itself, and loads the rest of the section that they end in. */
  async loadFirst(own) {
    let first = null;
    for (const { key, chunks, photos } of this.photos.sections.slice(0, own.length)) {
      const found = own.find((each) => each.key === key);
      if (found?.photos === photos && chunks.length === 1) chunks[0].photos = found.documents;
      else first ??= chunks[0];
    }
    if (!own.length) first = this.photos.chunks[0];
    return first ? this.load(first, () => this.start(own)) : () => {};
  }

  /** The heading says how many photos the grid has, as the lightbox does. */
  countInHeading() {
    const heading = document.querySelector("[data-count]");
    if (!heading) return;
    heading.dataset.count = this.photos.total;
    showCount();
  }

  /** Offers to show what has changed since the page was opened; does so at once after teaching, unless people look at some photos. */
  async follow(detail) {
    const now = new Timeline(this.list.dataset.options);
    try {
      await now.loadSections();
    } catch {
      return; // the next change asks again
    }
    const count = now.total - this.photos.total;
    if (!count || this.closing.signal.aborted) return;
    const isIdle = scrollY < HEADING_PX && !this.isCovered && !this.list.querySelector("[data-selected]");
    if (detail === "taught" && isIdle) return showResults();
    this.offer ??= createButton("", showResults, "button--small grid-new");
    this.offer.textContent = count > 0 ? ngettext("Show %(count)s new photo", "Show %(count)s new photos", count) : gettext("Show what has changed");
    this.list.parentElement.before(this.offer);
  }

  listen() {
    const { signal } = this.closing;
    let isScheduled = false;
    addEventListener("scroll", () => {
      if (!isScheduled) requestAnimationFrame(() => ((isScheduled = false), this.draw()));
      isScheduled = true;
    }, { passive: true, signal });
    const observer = new ResizeObserver(() => this.onResize());
    observer.observe(this.list.parentElement);
    signal.addEventListener("abort", () => observer.disconnect());
    addEventListener("pagehide", () => this.save(), { signal });
    this.list.addEventListener("keydown", (event) => this.handleKey(event));
    this.list.addEventListener("focusin", (event) => this.noteFocus(event.target));
    if (this.photos.options.has("trip") && this.photos.total <= MOST_PRINTED) this.loadAll();
  }

  /** Ends the grid, which other photos replace. */
  close() {
    if ("drawn" in this.list.dataset) this.save();
    clearTimeout(this.settleTimer);
    this.offer?.remove();
    this.closing.abort();
    this.photos.abort(() => false);
  }

  /** Whether the lightbox is over it: then it loads no photos of its own. */
  get isCovered() {
    return "shown" in this.list.dataset;
  }

  // ----- places: `y` is in px from the top of all photos, whatever part of them the window has -----

  listTop() {
    return this.list.getBoundingClientRect().top + scrollY;
  }

  /** The place at the upper edge of the screen, below the page's header. */
  y() {
    return scrollY - this.listTop() + this.base + this.headerHeight();
  }

  headerHeight() {
    return document.querySelector("header.site")?.offsetHeight ?? 0;
  }

  windowHeight() {
    return Math.min(this.photos.height - this.base, MAX_HEIGHT_PX);
  }

  setHeight() {
    this.list.style.height = `${Math.max(0, this.windowHeight())}px`;
  }

  scrollToPlace(y) {
    const room = MAX_HEIGHT_PX / 2;
    if (y - this.base < room / 4 || y - this.base > MAX_HEIGHT_PX - room / 4) this.base = Math.round(Math.max(0, Math.min(y - room, this.photos.height - MAX_HEIGHT_PX)));
    this.setHeight();
    scrollTo(0, y <= 0 ? 0 : y - this.base + this.listTop() - this.headerHeight());
  }

  /** Runs a change of places; what is on the screen stays there. */
  keepPlace(change) {
    const y = this.y();
    const isAtTop = y <= HEADING_PX && !this.base;
    const index = isAtTop ? 0 : this.photos.nearest(0, y + HEADING_PX);
    const before = this.photos.box(index)?.top;
    change();
    this.setHeight();
    const moved = (this.photos.box(index)?.top ?? before) - before;
    if (isAtTop || !moved) return;
    scrollBy(0, moved);
    this.lastTop = scrollY;
  }

  /** Lays the photos out anew, for another width. */
  onResize() {
    if (this.isPrinting || this.list.clientWidth === this.photos.width) return;
    this.keepPlace(() => this.photos.setWidth(this.list.clientWidth));
    this.draw();
  }

  /** On paper, a trip has all its photos. Paper has another width, for which nothing is drawn anew. */
  drawAll() {
    this.isPrinting = true;
    this.insert(this.placeElements(0, this.photos.height));
    for (const tile of this.elements.values()) if (tile.box) loadImage(tile, "auto");
  }

  async loadAll() {
    for (const chunk of [...this.photos.chunks]) if (isMissing(chunk)) await this.loadAndDraw(chunk);
    const later = [...this.placeElements(0, this.photos.height).values()].filter((element) => element.box);
    for (const tile of later) loadImage(tile, "low"); // the browser keeps them for paper
    addEventListener("beforeprint", () => this.drawAll(), { signal: this.closing.signal });
    addEventListener("afterprint", () => ((this.isPrinting = false), this.draw()), { signal: this.closing.signal });
  }

  moveWindow() {
    const y = this.y();
    const isLow = y - this.base > MAX_HEIGHT_PX * 0.9 && this.base + MAX_HEIGHT_PX < this.photos.height;
    const isHigh = y - this.base < MAX_HEIGHT_PX * 0.1 && this.base > 0;
    if (!isLow && !isHigh) return;
    const base = Math.round(Math.max(0, Math.min(y - MAX_HEIGHT_PX / 2, this.photos.height - MAX_HEIGHT_PX)));
    const moved = this.base - base;
    this.base = base;
    this.setHeight();
    scrollBy(0, moved);
    this.lastTop = scrollY;
  }

  // ----- drawing -----

  draw() {
    if (this.isPrinting) return;
    this.moveWindow();
    const y = this.y();
    const [screen, around] = [innerHeight, AROUND_SCREENS * innerHeight];
    const drawn = this.placeElements(y - around, y + screen + around);
    this.insert(drawn);
    this.list.dataset.total = this.photos.total;
    const isFast = Math.abs(scrollY - this.lastTop) > innerHeight;
    this.lastTop = scrollY;
    clearTimeout(this.settleTimer);
    const request = () => this.isCovered || (this.loadImages(), this.request());
    if (isFast) this.settleTimer = setTimeout(request, SETTLE_MS);
    else request();
    this.scrubber.draw();
  }

  /** Returns the elements between two places, in order. */
  placeElements(from, to) {
    const drawn = new Map();
    const { photos } = this;
    let chunk = photos.chunks.indexOf(photos.chunkAtPlace(from));
    let section = photos.chunkAtPlace(from)?.section;
    if (section?.key) drawn.set(section.key, this.placeHeading(section));
    for (; chunk < photos.chunks.length && photos.chunks[chunk].top < to + HEADING_PX; chunk++) {
      const each = photos.chunks[chunk];
      if (each.section !== section && each.section.key) drawn.set(each.section.key, this.placeHeading(each.section));
      section = each.section;
      each.layout.boxes.forEach((box, number) => {
        const top = each.top + box.top;
        if (top + box.height >= from && top <= to) drawn.set(each.start + number, this.placeTile(each, number, box));
      });
    }
    return drawn;
  }

  placeHeading(section) {
    const element = this.elements.get(section.key) ?? createHeading(section);
    const top = Math.max(section.top, this.y() - MAX_HEIGHT_PX / 10);
    const height = Math.min(section.top + section.height - top, MAX_HEIGHT_PX / 5);
    setBox(element, { left: section.left, top: top - this.base, width: section.width, height });
    return element;
  }

  placeTile(chunk, number, box) {
    const index = chunk.start + number;
    const photo = chunk.photos?.[number];
    let tile = this.elements.get(index);
    if (tile?.dataset.photo && photo && Number(tile.dataset.photo) !== photo.id) tile = null;
    if (!tile) {
      tile = this.rendered.get(photo?.id) ?? createTile();
      if (tile.dataset.photo) showColours(tile, photo);
    }
    if (photo && !tile.dataset.photo) fillTile(tile, photo, this.source);
    setBox(tile, box, { left: chunk.left, top: chunk.top - this.base });
    tile.box = { ...box, top: chunk.top + box.top };
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this.photos.total);
    return tile;
  }

  insert(drawn) {
    const kept = new Set(drawn.values());
    for (const element of [...this.list.children]) {
      if (kept.has(element)) continue;
      // The keyboard focus moves from a removed tile to the grid.
      if (element.contains(document.activeElement)) this.list.focus({ preventScroll: true });
      element.remove();
      stopImage(element);
    }
    let at = this.list.firstElementChild;
    for (const element of drawn.values()) {
      if (element === at) at = at.nextElementSibling;
      else this.list.insertBefore(element, at);
    }
    this.elements = drawn;
  }

  /** Requests thumbnails on the screen first. */
  loadImages() {
    const y = this.y();
    const end = y + innerHeight - this.headerHeight();
    const isOnScreen = ({ box }) => box.top < end && box.top + box.height > y;
    const tiles = [...this.elements.values()].filter((element) => element.box);
    for (const tile of tiles.filter(isOnScreen)) loadImage(tile, "auto");
    for (const tile of tiles.filter((each) => !isOnScreen(each))) loadImage(tile, "low");
  }

  // ----- photos -----

  request() {
    const y = this.y();
    const within = (chunk, screens) => chunk.top < y + (1 + screens) * innerHeight && chunk.top + chunk.height > y - screens * innerHeight;
    this.photos.abort((chunk) => within(chunk, NEEDED_SCREENS));
    const near = this.photos.chunks.filter((chunk) => within(chunk, AHEAD_SCREENS));
    const distance = (chunk) => Math.max(0, chunk.top - y - innerHeight, y - chunk.top - chunk.height);
    near.sort((one, other) => distance(one) - distance(other));
    for (const chunk of near.filter(isMissing).slice(0, MAX_REQUESTS)) this.loadAndDraw(chunk);
    if (near.length) this.photos.dropFar(near[0]);
  }

  /** Loads the photo of this number, or the first or last one, for the lightbox. */
  loadAt(index) {
    const chunk = this.photos.chunkOf(Math.max(0, Math.min(this.photos.total - 1, index)));
    if (isMissing(chunk)) this.loadAndDraw(chunk);
  }

  async loadAndDraw(chunk) {
    const store = await this.load(chunk);
    if (!store) return;
    this.keepPlace(store);
    this.draw();
    this.notify("photosloaded");
    if (this.pendingFocus !== undefined) this.focusOn(this.pendingFocus);
  }

  async load(chunk, again = () => this.draw()) {
    try {
      const store = await this.photos.load(chunk);
      if (store) this.setStatus("");
      return store;
    } catch (error) {
      this.showError(error, again);
      return null;
    }
  }

  showError(error, again) {
    const text = gettext("The photos could not be loaded: %(reason)s", { reason: error.message });
    this.notify("photosfailed", text);
    this.setStatus(`${text} `);
    this.status.append(createButton(gettext("Try again"), () => (this.setStatus(""), again()), "button--small"));
  }

  /** Shows on photos of the grid that they are favourites, or no longer. */
  showStars({ photos, isFavourite }) {
    const changed = new Set(photos);
    for (const tile of this.list.querySelectorAll("[data-photo]")) if (changed.has(Number(tile.dataset.photo))) drawStar(tile, isFavourite);
    for (const photo of this.photos.loaded()) if (changed.has(photo.id)) photo.favourite = isFavourite;
  }

  setStatus(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  // ----- keyboard -----

  noteFocus(target) {
    const position = target.closest("[data-photo]")?.getAttribute("aria-posinset");
    if (position) this.focused = Number(position) - 1;
  }

  handleKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const target = this.keyTarget(event.key);
    if (target === undefined) return;
    event.preventDefault();
    this.focusOn(Math.max(0, Math.min(this.photos.total - 1, target)));
  }

  keyTarget(key) {
    const steps = { ArrowLeft: this.focused - 1, ArrowRight: this.focused + 1, Home: 0, End: this.photos.total - 1 };
    if (key in steps) return steps[key];
    if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
    const box = this.photos.box(this.focused);
    const [x, isUp] = [box.left + box.width / 2, key === "ArrowUp"];
    let target = this.photos.nearest(x, isUp ? box.top - 8 : box.top + box.height + 8);
    const other = (index) => this.photos.box(index).top === box.top;
    // Between two months there is a heading.
    if (other(target)) target = this.photos.nearest(x, isUp ? box.top - HEADING_PX - 8 : box.top + box.height + HEADING_PX + 16);
    return other(target) ? this.focused : target;
  }

  focusOn(index) {
    this.focused = index;
    const box = this.photos.box(index);
    const [y, heading] = [this.y(), this.photos.chunkOf(index).section.key ? HEADING_PX : 8];
    const screen = innerHeight - this.headerHeight();
    if (box.top < y + heading) this.scrollToPlace(box.top - heading);
    else if (box.top + box.height > y + screen - 8) this.scrollToPlace(box.top + box.height - screen + this.bottomHeight() + 8);
    this.draw();
    const link = this.elements.get(index)?.querySelector("a");
    this.pendingFocus = link ? undefined : index;
    link?.focus({ preventScroll: true });
  }

  /** Focuses the photo that the lightbox showed last. */
  reveal(index) {
    if ("drawn" in this.list.dataset) this.focusOn(Math.min(index, this.photos.total - 1));
  }

  bottomHeight() {
    return parseFloat(getComputedStyle(document.querySelector("main")).paddingBottom) || 0;
  }

  // ----- where it starts -----

  goTo(section) {
    this.scrollToPlace(section.top);
    this.draw();
  }

  /** An address of one page of photos, without script, starts at its first photo. */
  async goToStart() {
    const [month, photo] = this.list.dataset.start?.split(" ") ?? [];
    if (!photo) return;
    document.querySelector(".grid-first")?.remove();
    const sections = this.photos.sections.filter((each) => each.month === month);
    const { start } = sections[0] ?? this.photos.sections[0];
    const index = await this.find(Number(photo), start, sections.reduce((sum, { photos }) => sum + photos, 0)).catch(() => null);
    await this.goToPhoto(index ?? start, HEADING_PX);
  }

  /** The index of a photo among `count` photos from a start, which need not be loaded; null if it is not there. */
  async find(photo, start, count) {
    for (let from = start; from < start + count; from += FOUND_AT_ONCE) {
      const ids = await this.photos.ids(from, Math.min(start + count, from + FOUND_AT_ONCE) - 1);
      if (ids.includes(photo)) return from + ids.indexOf(photo);
    }
    return null;
  }

  goToPhoto(index, offset) {
    const chunk = this.photos.chunkOf(index);
    this.scrollToPlace(this.photos.box(index).top - offset);
    this.focused = index;
    return this.loadAndDraw(chunk);
  }

  save() {
    const { shown } = this.list.dataset; // the number of the photo in the lightbox
    const focused = shown || (this.list.contains(document.activeElement) ? this.focused : null);
    const y = this.y();
    const index = this.photos.nearest(0, y + HEADING_PX);
    const place = y > 0 ? { index, offset: this.photos.box(index).top - y } : null;
    try {
      sessionStorage.setItem(this.storageKey, JSON.stringify({ place, focused }));
    } catch {
      // Storage is not available: the grid starts at its first photo.
    }
  }

  restore() {
    const state = this.savedState();
    if (!state?.place && (state?.focused ?? null) === null) return false;
    history.scrollRestoration = "manual";
    const last = this.photos.total - 1;
    if (state.focused !== null) this.pendingFocus = Math.min(Number(state.focused), last);
    if (state.place) this.goToPhoto(Math.min(state.place.index, last), state.place.offset);
    return true;
  }

  savedState() {
    try {
      return JSON.parse(sessionStorage.getItem(this.storageKey));
    } catch {
      return null;
    }
  }
}

const isMissing = (chunk) => !chunk.photos && (chunk.loader === chunk || !chunk.loader?.request);

function setBox({ style }, { left, top, width, height }, from = { left: 0, top: 0 }) {
  style.cssText = `left:${from.left + left}px;top:${from.top + top}px;width:${width}px;height:${height}px`;
}

/** The name of this entry of the history: each visit of an address has a place of its own, to which Back and Forward lead. */
function entryKey() {
  if (!history.state?.grid) history.replaceState({ ...history.state, grid: `${Date.now()} ${Math.random()}` }, "");
  return history.state.grid;
}

let grids = [];

function startAll() {
  grids = [...document.querySelectorAll("[data-grid]")].map((list) => new PhotoGrid(list));
  for (const grid of grids) grid.start();
}

startAll();
// A filter replaces the photos.
document.addEventListener("beforeresults", () => grids.forEach((grid) => grid.close()));
document.addEventListener("results", startAll);
