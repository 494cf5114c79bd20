// An endless grid of photos. Only rows near the screen are in the document; padding replaces the others. Photos far from the
// screen are dropped and fetched again with the cursor of their page. Text is set by textContent and attributes, never as HTML.

import { photoOfDocument, photoOfTile, thumbnailAddress } from "./grid_photos.js";

const PAGE = 200; // photos per request
const AHEAD_SCREENS = 7; // photos are fetched this far below the screen
const AROUND_SCREENS = 1; // rows are in the document this far above and below the screen
const MAX_PAGES = 30; // pages in memory, those nearest to the screen
const MAX_HEIGHT_PX = 8_000_000; // browsers limit the height of elements; longer grids move their window of rows
const SETTLE_MS = 90; // during fast scrolling, thumbnails are loaded after this pause
const MAX_STATE_LENGTH = 500_000; // characters

class PhotoGrid {
  constructor(list) {
    this.list = list;
    this.status = document.querySelector("[data-grid-status]");
    this.next = list.dataset.next || null;
    this.within = new URL(list.dataset.source, location.origin).searchParams; // a photo's page steps through the same query
    this.within.set("within", "1");
    const photos = [...list.children].map(photoOfTile);
    this.pages = [{ first: 0, count: photos.length, photos, cursor: null }];
    this.total = photos.length;
    this.tiles = new Map([...list.children].map((tile, index) => [index, tile]));
    for (const [index, tile] of this.tiles) this.setPosition(tile, index);
    this.baseRow = 0;
    this.focused = 0;
    this.loading = null; // the request for more photos
    this.storageKey = `grid ${location.pathname}${location.search}`; // the address changes while the lightbox is open
    this.fetching = new Set();
    this.lastTop = scrollY;
    list.tabIndex = -1;
  }

  start() {
    this.restore();
    this.measure();
    let isScheduled = false;
    const scheduleDraw = () => {
      if (!isScheduled) requestAnimationFrame(() => ((isScheduled = false), this.draw()));
      isScheduled = true;
    };
    addEventListener("scroll", scheduleDraw, { passive: true });
    new ResizeObserver(() => this.onResize()).observe(this.list.parentElement);
    addEventListener("pagehide", () => this.save());
    this.list.addEventListener("keydown", (event) => this.handleKey(event));
    this.list.addEventListener("focusin", (event) => this.noteFocus(event.target));
    this.list.addEventListener("reveal", (event) => this.reveal(event.detail));
    this.draw();
    if (this.restoredFocus !== undefined) this.focusOn(this.restoredFocus);
  }

  // ----- layout -----

  measure() {
    const style = getComputedStyle(this.list);
    const tracks = style.gridTemplateColumns.split(" ");
    this.columns = Math.max(1, tracks.length);
    this.row_px = (parseFloat(tracks[0]) || this.list.clientWidth) + (parseFloat(style.rowGap) || 0);
    this.maxRows = Math.floor(MAX_HEIGHT_PX / this.row_px);
  }

  onResize() {
    const [before, top] = [this.columns, this.firstVisible()];
    const row_px = this.row_px;
    this.measure();
    if (before === this.columns && row_px === this.row_px) return;
    // The photo at the top stays there, possibly in another row.
    const row = Math.floor(top / this.columns);
    this.baseRow = Math.max(0, Math.min(this.baseRow, row));
    this.draw();
    if (top) scrollTo(0, this.listTop() + (row - this.baseRow) * this.row_px);
    this.draw();
  }

  listTop() {
    return this.list.getBoundingClientRect().top + scrollY;
  }

  firstVisible() {
    const row = this.baseRow + Math.max(0, Math.floor((scrollY - this.listTop()) / this.row_px));
    return Math.min(row * this.columns, Math.max(0, this.total - 1));
  }

  rows() {
    return Math.ceil(this.total / this.columns);
  }

  // ----- drawing -----

  draw() {
    this.moveWindow();
    const windowRows = Math.min(this.rows() - this.baseRow, this.maxRows);
    const top = scrollY - this.listTop();
    const around = AROUND_SCREENS * innerHeight;
    const clamp = (row) => Math.max(0, Math.min(windowRows, row));
    const from = clamp(Math.floor((top - around) / this.row_px));
    const to = Math.max(from, clamp(Math.ceil((top + innerHeight + around) / this.row_px)));
    this.placeTiles((this.baseRow + from) * this.columns, Math.min(this.total, (this.baseRow + to) * this.columns));
    this.list.style.paddingTop = `${from * this.row_px}px`;
    this.list.style.paddingBottom = `${Math.max(0, windowRows - to) * this.row_px}px`;
    this.showThumbnails();
    this.dropFarPages(Math.floor((this.baseRow + (from + to) / 2) * this.columns));
    const below = (windowRows * this.row_px - top) / innerHeight;
    if (below < AHEAD_SCREENS + 1) this.loadMore();
    if (!this.next) this.list.dataset.total = this.total;
  }

  /** If all rows together exceed the height limit, moves the window of rows along with the screen. */
  moveWindow() {
    const half = Math.floor(this.maxRows / 2);
    const row = Math.floor((scrollY - this.listTop()) / this.row_px);
    const rows = this.rows();
    let move = 0;
    if (row > this.maxRows * 0.9 && this.baseRow + this.maxRows < rows) move = half;
    else if (row < this.maxRows * 0.1 && this.baseRow > 0) move = -Math.min(half, this.baseRow);
    if (!move) return;
    this.baseRow += move;
    // The list needs its final height before it can be scrolled.
    this.list.style.paddingBottom = `${Math.min(rows - this.baseRow, this.maxRows) * this.row_px}px`;
    scrollBy(0, -move * this.row_px);
    this.lastTop = scrollY;
  }

  placeTiles(from, to) {
    for (const [index, tile] of this.tiles) {
      if (index >= from && index < to) continue;
      // The keyboard focus moves from a removed tile to the grid.
      if (tile.contains(document.activeElement)) this.list.focus({ preventScroll: true });
      tile.remove();
      this.tiles.delete(index);
    }
    let at = this.list.firstElementChild;
    for (let index = from; index < to; index++) {
      const tile = this.tiles.get(index) ?? this.createTile(index);
      if (tile === at) at = at.nextElementSibling;
      else this.list.insertBefore(tile, at);
    }
  }

  createTile(index) {
    const tile = document.createElement("li");
    tile.className = "photo-tile";
    this.setPosition(tile, index);
    this.fill(tile, this.photo(index));
    this.tiles.set(index, tile);
    return tile;
  }

  setPosition(tile, index) {
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this.next ? -1 : this.total);
  }

  fill(tile, photo) {
    if (!photo) return;
    tile.dataset.photo = photo.id;
    const link = document.createElement("a");
    link.href = `/photos/${photo.id}?${this.within}`;
    const image = new Image();
    image.width = image.height = 256;
    image.decoding = "async";
    image.fetchPriority = "low"; // the next page has priority over thumbnails
    image.alt = photo.alt;
    image.sizes = "(max-width: 48rem) 33vw, 13rem";
    tile.loadThumbnail = () => {
      image.srcset = `${thumbnailAddress(photo, 256)} 256w, ${thumbnailAddress(photo, 512)} 512w`;
      image.src = thumbnailAddress(photo, 256);
    };
    const name = document.createElement("span");
    name.className = "photo-tile-name one-line";
    name.setAttribute("aria-hidden", "true");
    name.textContent = photo.name;
    link.append(image, name);
    tile.replaceChildren(link);
  }

  /** Loads thumbnails at once, or during fast scrolling when the grid has come to rest. */
  showThumbnails() {
    const isFast = Math.abs(scrollY - this.lastTop) > innerHeight;
    this.lastTop = scrollY;
    clearTimeout(this.settleTimer);
    const load = () => {
      for (const tile of this.tiles.values()) {
        tile.loadThumbnail?.();
        delete tile.loadThumbnail;
      }
    };
    if (isFast) this.settleTimer = setTimeout(load, SETTLE_MS);
    else load();
  }

  // ----- photos -----

  photo(index) {
    const page = this.pageOf(index);
    if (!page.photos) this.fetchAgain(page);
    return page.photos?.[index - page.first];
  }

  pageOf(index) {
    let [low, high] = [0, this.pages.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.pages[middle].first <= index) low = middle;
      else high = middle - 1;
    }
    return this.pages[low];
  }

  loadMore() {
    if (this.next) this.loading ??= this.loadNextPage();
    return this.loading;
  }

  async loadNextPage() {
    try {
      const cursor = this.next;
      const page = await this.fetchPage(cursor);
      this.next = page.next;
      if (page.photos.length) {
        this.pages.push({ first: this.total, count: page.photos.length, photos: page.photos, cursor });
        this.total += page.photos.length;
      }
      this.setStatus("");
    } catch (error) {
      this.showError(error);
      return;
    } finally {
      this.loading = null;
    }
    this.draw();
  }

  async fetchAgain(page) {
    if (this.fetching.has(page)) return;
    this.fetching.add(page);
    try {
      page.photos = (await this.fetchPage(page.cursor)).photos;
      for (const [index, tile] of this.tiles) {
        if (index >= page.first && index < page.first + page.count) this.fill(tile, page.photos[index - page.first]);
        if (index === this.awaited) this.focusOn(index);
      }
      this.showThumbnails();
    } catch (error) {
      this.showError(error);
    } finally {
      this.fetching.delete(page);
    }
  }

  async fetchPage(cursor) {
    const url = new URL(this.list.dataset.source, location.origin);
    url.searchParams.set("limit", PAGE);
    if (cursor) url.searchParams.set("after", cursor);
    const response = await fetch(url, { headers: { Accept: "application/json" }, priority: "high" });
    const document_ = await response.json();
    if (!response.ok) throw new Error(document_.error);
    return { photos: document_.photos.map(photoOfDocument), next: document_.next };
  }

  dropFarPages(index) {
    const current = this.pages.indexOf(this.pageOf(Math.min(index, Math.max(0, this.total - 1))));
    if (current === this.currentPage) return;
    this.currentPage = current;
    this.pages.forEach((page, number) => {
      // The first page is part of the document and has no cursor.
      if (number && Math.abs(number - current) > MAX_PAGES / 2) page.photos = null;
    });
  }

  showError(error) {
    this.setStatus(`More photos could not be loaded: ${error.message} `);
    const retry = document.createElement("button");
    retry.type = "button";
    retry.className = "button button--small";
    retry.textContent = "Try again";
    retry.addEventListener("click", () => (this.setStatus(""), this.draw(), this.refill()));
    this.status.append(retry);
  }

  refill() {
    for (const index of this.tiles.keys()) this.photo(index);
  }

  setStatus(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  // ----- keyboard -----

  noteFocus(target) {
    for (const [index, tile] of this.tiles) if (tile.contains(target)) this.focused = index;
  }

  handleKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -this.total, End: this.total };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const target = Math.max(0, Math.min(this.total - 1, this.focused + step));
    if (Math.abs(step) === this.columns && target !== this.focused + step) return;
    this.focusOn(target);
  }

  focusOn(index) {
    this.focused = index;
    const row = Math.floor(index / this.columns);
    if (row < this.baseRow || row >= this.baseRow + this.maxRows) this.baseRow = Math.max(0, row - Math.floor(this.maxRows / 2));
    const top = this.listTop() + (row - this.baseRow) * this.row_px;
    const header = document.querySelector("header.site")?.offsetHeight ?? 0;
    if (top < scrollY + header) scrollTo(0, top - header - 8);
    else if (top + this.row_px > scrollY + innerHeight) scrollTo(0, top + this.row_px - innerHeight + header);
    this.draw();
    const link = this.tiles.get(index)?.querySelector("a");
    this.awaited = link ? null : index; // until its page is fetched again
    link?.focus({ preventScroll: true });
  }

  /** Focuses the photo that the lightbox showed last; it may be farther than the grid has loaded. */
  async reveal(index) {
    let cursor = null;
    while (index >= this.total && this.next && this.next !== cursor) {
      cursor = this.next;
      await this.loadMore();
    }
    this.focusOn(Math.max(0, Math.min(index, this.total - 1)));
  }

  // ----- state for the back button -----

  save() {
    const { shown } = this.list.dataset; // the index of the photo in the lightbox
    const focused = shown ?? (this.list.contains(document.activeElement) ? this.focused : null);
    const state = { focused, lightbox: shown !== undefined, pages: this.pages.slice(1).map((page) => [page.cursor, page.count]), next: this.next, base: this.baseRow, first: this.pages[0].count, top: scrollY };
    const text = JSON.stringify(state);
    try {
      if (text.length < MAX_STATE_LENGTH) sessionStorage.setItem(this.storageKey, text);
    } catch {
      // Storage is not available: the grid starts at its first photo.
    }
  }

  restore() {
    const { type } = performance.getEntriesByType("navigation")[0] ?? {};
    let state = null;
    try {
      state = JSON.parse(sessionStorage.getItem(this.storageKey));
    } catch {
      return;
    }
    if (!state || state.first !== this.total) return;
    // Back from a photo that was reloaded in the lightbox reloads the grid.
    if (type !== "back_forward" && !(type === "reload" && state.lightbox)) return;
    for (const [cursor, count] of state.pages) {
      this.pages.push({ first: this.total, count, photos: null, cursor });
      this.total += count;
    }
    [this.next, this.baseRow] = [state.next, state.base];
    history.scrollRestoration = "manual";
    this.measure();
    this.list.style.paddingBottom = `${Math.min(this.rows() - this.baseRow, this.maxRows) * this.row_px}px`;
    scrollTo(0, state.top);
    this.lastTop = scrollY;
    if (state.focused !== null) this.restoredFocus = Math.min(Number(state.focused), this.total - 1);
  }
}

for (const list of document.querySelectorAll("[data-grid]")) new PhotoGrid(list).start();
