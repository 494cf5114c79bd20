// A grid of photos that goes on as one scrolls, however many there are. Only rows near the screen are in the document;
// padding stands for the others. Photos far away are forgotten and fetched again by the cursor of their page.
// Words go in by textContent and attributes, never as HTML.

const PAGE = 200; // photos asked for at a time
const AHEAD_SCREENS = 7; // so far below the screen photos are fetched
const AROUND_SCREENS = 1; // so far above and below it rows are in the document
const PAGES_KEPT = 30; // photos of so many pages are remembered, those nearest to the screen
const TALLEST_PX = 8_000_000; // browsers draw nothing beyond some height; longer grids move their window of rows
const SETTLED_MS = 90; // who scrolls faster than a screen in this time sees no thumbnails
const SAVED_AT_MOST = 500_000; // characters

class PhotoGrid {
  constructor(list) {
    this.list = list;
    this.status = document.querySelector("[data-grid-status]");
    this.next = list.dataset.next || null;
    this.within = new URL(list.dataset.source, location.origin).searchParams; // a photo's page goes on through the same query
    this.within.set("within", "1");
    const shown = [...list.children].map(photoOfTile);
    this.pages = [{ first: 0, count: shown.length, photos: shown, cursor: null }];
    this.total = shown.length;
    this.tiles = new Map([...list.children].map((tile, index) => [index, tile]));
    for (const [index, tile] of this.tiles) this.number(tile, index);
    this.baseRow = 0;
    this.focused = 0;
    this.loading = false;
    this.fetching = new Set();
    this.lastTop = scrollY;
    list.tabIndex = -1;
  }

  start() {
    this.restore();
    this.measure();
    let asked = false;
    const soon = () => {
      if (!asked) requestAnimationFrame(() => ((asked = false), this.draw()));
      asked = true;
    };
    addEventListener("scroll", soon, { passive: true });
    new ResizeObserver(() => this.resized()).observe(this.list.parentElement);
    addEventListener("pagehide", () => this.save());
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("focusin", (event) => this.noteFocus(event.target));
    this.draw();
  }

  // ----- where things are -----

  measure() {
    const style = getComputedStyle(this.list);
    const tracks = style.gridTemplateColumns.split(" ");
    this.columns = Math.max(1, tracks.length);
    this.row_px = (parseFloat(tracks[0]) || this.list.clientWidth) + (parseFloat(style.rowGap) || 0);
    this.mostRows = Math.floor(TALLEST_PX / this.row_px);
  }

  resized() {
    const [before, top] = [this.columns, this.firstVisible()];
    const row_px = this.row_px;
    this.measure();
    if (before === this.columns && row_px === this.row_px) return;
    // What was at the top stays there, in whichever row it is now.
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

  // ----- what is in the document -----

  draw() {
    this.moveWindow();
    const shownRows = Math.min(this.rows() - this.baseRow, this.mostRows);
    const top = scrollY - this.listTop();
    const around = AROUND_SCREENS * innerHeight;
    const clamp = (row) => Math.max(0, Math.min(shownRows, row));
    const from = clamp(Math.floor((top - around) / this.row_px));
    const to = Math.max(from, clamp(Math.ceil((top + innerHeight + around) / this.row_px)));
    this.place((this.baseRow + from) * this.columns, Math.min(this.total, (this.baseRow + to) * this.columns));
    this.list.style.paddingTop = `${from * this.row_px}px`;
    this.list.style.paddingBottom = `${Math.max(0, shownRows - to) * this.row_px}px`;
    this.showThumbnails();
    this.forgetFar(Math.floor((this.baseRow + (from + to) / 2) * this.columns));
    const below = (shownRows * this.row_px - top) / innerHeight;
    if (below < AHEAD_SCREENS + 1) this.more();
  }

  /** Where all rows together are taller than a browser draws, the rows that there are move along. */
  moveWindow() {
    const half = Math.floor(this.mostRows / 2);
    const row = Math.floor((scrollY - this.listTop()) / this.row_px);
    const rows = this.rows();
    let move = 0;
    if (row > this.mostRows * 0.9 && this.baseRow + this.mostRows < rows) move = half;
    else if (row < this.mostRows * 0.1 && this.baseRow > 0) move = -Math.min(half, this.baseRow);
    if (!move) return;
    this.baseRow += move;
    // The list must be as tall as it will be, or there is nowhere to scroll to.
    this.list.style.paddingBottom = `${Math.min(rows - this.baseRow, this.mostRows) * this.row_px}px`;
    scrollBy(0, -move * this.row_px);
    this.lastTop = scrollY;
  }

  place(from, to) {
    for (const [index, tile] of this.tiles) {
      if (index >= from && index < to) continue;
      // Whoever is there with the keyboard goes on from the grid itself.
      if (tile.contains(document.activeElement)) this.list.focus({ preventScroll: true });
      tile.remove();
      this.tiles.delete(index);
    }
    let at = this.list.firstElementChild;
    for (let index = from; index < to; index++) {
      const tile = this.tiles.get(index) ?? this.make(index);
      if (tile === at) at = at.nextElementSibling;
      else this.list.insertBefore(tile, at);
    }
  }

  make(index) {
    const tile = document.createElement("li");
    tile.className = "photo-tile";
    this.number(tile, index);
    this.fill(tile, this.photo(index));
    this.tiles.set(index, tile);
    return tile;
  }

  number(tile, index) {
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
    image.fetchPriority = "low"; // the next photos before the pictures of these
    image.alt = photo.words;
    image.sizes = "(max-width: 48rem) 33vw, 13rem";
    tile.waiting = () => {
      image.srcset = `${address(photo, 256)} 256w, ${address(photo, 512)} 512w`;
      image.src = address(photo, 256);
    };
    const words = document.createElement("span");
    words.className = "photo-tile-words one-line";
    words.setAttribute("aria-hidden", "true");
    words.textContent = photo.name;
    link.append(image, words);
    tile.replaceChildren(link);
  }

  /** At once for who scrolls slowly, when the grid has come to rest for who flies past. */
  showThumbnails() {
    const fast = Math.abs(scrollY - this.lastTop) > innerHeight;
    this.lastTop = scrollY;
    clearTimeout(this.settling);
    const show = () => {
      for (const tile of this.tiles.values()) {
        tile.waiting?.();
        delete tile.waiting;
      }
    };
    if (fast) this.settling = setTimeout(show, SETTLED_MS);
    else show();
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

  async more() {
    if (this.loading || !this.next) return;
    this.loading = true;
    try {
      const cursor = this.next;
      const answer = await this.ask(cursor);
      this.next = answer.next;
      if (answer.photos.length) {
        this.pages.push({ first: this.total, count: answer.photos.length, photos: answer.photos, cursor });
        this.total += answer.photos.length;
      }
      this.say("");
    } catch (error) {
      this.failed(error);
      return;
    } finally {
      this.loading = false;
    }
    this.draw();
  }

  async fetchAgain(page) {
    if (this.fetching.has(page)) return;
    this.fetching.add(page);
    try {
      page.photos = (await this.ask(page.cursor)).photos;
      for (const [index, tile] of this.tiles) {
        if (index >= page.first && index < page.first + page.count) this.fill(tile, page.photos[index - page.first]);
      }
      this.showThumbnails();
    } catch (error) {
      this.failed(error);
    } finally {
      this.fetching.delete(page);
    }
  }

  async ask(cursor) {
    const url = new URL(this.list.dataset.source, location.origin);
    url.searchParams.set("limit", PAGE);
    if (cursor) url.searchParams.set("after", cursor);
    const answer = await fetch(url, { headers: { Accept: "application/json" }, priority: "high" });
    const document_ = await answer.json();
    if (!answer.ok) throw new Error(document_.error);
    return { photos: document_.photos.map(photoOfDocument), next: document_.next };
  }

  forgetFar(index) {
    const here = this.pages.indexOf(this.pageOf(Math.min(index, Math.max(0, this.total - 1))));
    if (here === this.lastPage) return;
    this.lastPage = here;
    this.pages.forEach((page, number) => {
      // The first one is the document's own: there is no cursor for it.
      if (number && Math.abs(number - here) > PAGES_KEPT / 2) page.photos = null;
    });
  }

  failed(error) {
    this.say(`More photos could not be loaded: ${error.message} `);
    const again = document.createElement("button");
    again.type = "button";
    again.className = "button button--small";
    again.textContent = "Try again";
    again.addEventListener("click", () => (this.say(""), this.draw(), this.refill()));
    this.status.append(again);
  }

  refill() {
    for (const index of this.tiles.keys()) this.photo(index);
  }

  say(words) {
    if (this.status.textContent !== words) this.status.textContent = words;
  }

  // ----- keyboard -----

  noteFocus(target) {
    for (const [index, tile] of this.tiles) if (tile.contains(target)) this.focused = index;
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -this.total, End: this.total };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const wanted = Math.max(0, Math.min(this.total - 1, this.focused + step));
    if (Math.abs(step) === this.columns && wanted !== this.focused + step) return;
    this.focusOn(wanted);
  }

  focusOn(index) {
    this.focused = index;
    const row = Math.floor(index / this.columns);
    if (row < this.baseRow || row >= this.baseRow + this.mostRows) this.baseRow = Math.max(0, row - Math.floor(this.mostRows / 2));
    const top = this.listTop() + (row - this.baseRow) * this.row_px;
    const header = document.querySelector("header.site")?.offsetHeight ?? 0;
    if (top < scrollY + header) scrollTo(0, top - header - 8);
    else if (top + this.row_px > scrollY + innerHeight) scrollTo(0, top + this.row_px - innerHeight + header);
    this.draw();
    this.tiles.get(index)?.querySelector("a")?.focus({ preventScroll: true });
  }

  // ----- coming back -----

  save() {
    const known = { pages: this.pages.slice(1).map((page) => [page.cursor, page.count]), next: this.next, base: this.baseRow, first: this.pages[0].count, top: scrollY };
    const text = JSON.stringify(known);
    try {
      if (text.length < SAVED_AT_MOST) sessionStorage.setItem(this.place_(), text);
    } catch {
      // Not remembered then: the grid begins at its first photo.
    }
  }

  restore() {
    if (performance.getEntriesByType("navigation")[0]?.type !== "back_forward") return;
    let known = null;
    try {
      known = JSON.parse(sessionStorage.getItem(this.place_()));
    } catch {
      return;
    }
    if (!known || known.first !== this.total) return;
    for (const [cursor, count] of known.pages) {
      this.pages.push({ first: this.total, count, photos: null, cursor });
      this.total += count;
    }
    [this.next, this.baseRow] = [known.next, known.base];
    history.scrollRestoration = "manual";
    this.measure();
    this.list.style.paddingBottom = `${Math.min(this.rows() - this.baseRow, this.mostRows) * this.row_px}px`;
    scrollTo(0, known.top);
    this.lastTop = scrollY;
  }

  place_() {
    return `grid ${location.pathname}${location.search}`;
  }
}

function photoOfTile(tile) {
  const image = tile.querySelector("img");
  return {
    id: Number(tile.dataset.photo),
    version: new URL(image.src).searchParams.get("v"),
    words: image.alt,
    name: tile.querySelector(".photo-tile-words").textContent,
  };
}

function photoOfDocument({ id, path, digest, tags }) {
  const name = tags.find((tag) => tag.accepted)?.name ?? "";
  const file = path.slice(path.lastIndexOf("/") + 1);
  return { id, version: digest?.slice(-16), name, words: name ? `${name}, ${file}` : file };
}

function address(photo, size) {
  const kept = photo.version ? `&v=${encodeURIComponent(photo.version)}` : "";
  return `/api/photos/${photo.id}/thumbnail?size=${size}${kept}`;
}

for (const list of document.querySelectorAll("[data-grid]")) new PhotoGrid(list).start();
