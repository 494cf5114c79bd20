// The photos of a timeline, in sections of a month or of some of its days, and chunks of some photos each. Sections say how many photos
// there are, so every chunk has its place and its estimated height before it is loaded. A chunk is loaded from any place.

import { aspectOf, justify } from "./grid_layout.js";
import { photoOfTimeline } from "./grid_photos.js";
import { monthName } from "./grid_tiles.js";
import { requestJson } from "./server.js";
import { headingText } from "./texts.js";

const CHUNK = 100; // photos per request
const MAX_PHOTOS = 6000; // in memory, those nearest to the screen
const IDS = 10_000; // ids per request
const AT_A_TIME = 6; // requests for ids
export const HEADING_PX = 40; // above the photos of a section
const BESIDE_PX = 24; // between small sections side by side
const [LEAST_SECTION_PX, LETTER_PX] = [132, 9.5]; // the width of a heading

export class Timeline {
  /** `options`: those of the query, as in an address. */
  constructor(options) {
    this.options = new URLSearchParams(options);
    this.sections = [];
    this.chunks = []; // of all sections, in order
    this.total = 0;
    this.height = 0; // px, of all sections
    this.width = 0;
  }

  async loadSections() {
    const months = await fetchDocument("/timeline", this.options);
    const isByMonth = months.length > 1 || Boolean(months[0]?.month) || ["newest", "oldest"].includes(this.options.get("sort"));
    const isNewestFirst = this.options.get("sort") === "newest";
    this.useSections(months.flatMap((each) => sectionsOf({ ...each, month: isByMonth ? (each.month ?? "none") : "" }, isNewestFirst)));
  }

  useSections(sections) {
    this.sections = sections.map((section) => ({ ...section, aspect: aspectOf({ width: section.aspect, height: 1 }) }));
    for (const section of this.sections) {
      section.chunks = [];
      for (let first = 0; first < section.photos; first += CHUNK) this.addChunk(section, Math.min(CHUNK, section.photos - first));
    }
    this.place();
  }

  addChunk(section, count) {
    section.chunks.push({ section, skip: section.skip + section.chunks.length * CHUNK, count, photos: null, next: null, request: null, layout: null });
  }

  // ----- places -----

  setWidth(width) {
    this.width = width;
    for (const chunk of this.chunks) chunk.layout = null;
    this.place();
  }

  /** Computes where everything is, in px from the top of the grid. */
  place() {
    let [top, start] = [0, 0];
    let free = null; // the place beside a small section
    const estimates = new Map();
    this.chunks = [];
    for (const section of this.sections) {
      section.chunks.forEach((chunk, number) => this.layOut(chunk, number === section.chunks.length - 1, estimates));
      const small = this.smallWidth(section);
      const isBeside = small && free && free.left + small <= this.width;
      Object.assign(section, isBeside ? free : { left: 0, top }, { start, width: small ?? this.width });
      let y = section.top + (section.key ? HEADING_PX : 0);
      for (const chunk of section.chunks) {
        Object.assign(chunk, { top: y, left: section.left, start, height: chunk.layout.height });
        y += chunk.height;
        start += chunk.count;
        this.chunks.push(chunk);
      }
      section.height = y - section.top;
      top = Math.max(top, y);
      free = small && { top: section.top, left: section.left + small + BESIDE_PX };
    }
    [this.height, this.total] = [top, start];
  }

  layOut(chunk, end, estimates) {
    if (chunk.end !== end) chunk.layout = null;
    chunk.end = end;
    chunk.layout ??= chunk.photos ? justify(chunk.photos.map(aspectOf), this.width, end) : this.estimate(estimates, chunk);
  }

  /** The width of a section that does not fill a row; null of others. */
  smallWidth({ key, name, chunks }) {
    const last = chunks.length === 1 && key ? chunks[0].layout.boxes.at(-1) : null;
    if (!last || last.top || last.left + last.width > this.width - LEAST_SECTION_PX) return null;
    return Math.max(LEAST_SECTION_PX, LETTER_PX * name.length, last.left + last.width);
  }

  estimate(estimates, { section, count, end }) {
    const aspect = Math.round(section.aspect * 20) / 20;
    const key = `${count} ${aspect} ${end}`;
    if (!estimates.has(key)) estimates.set(key, justify(Array(count).fill(aspect), this.width, end));
    return estimates.get(key);
  }

  /** The first chunk of those side by side at a place. */
  chunkAtPlace(y) {
    return firstBeside(this.chunks, y);
  }

  chunkOf(index) {
    return this.chunks[lastIndex(this.chunks, (chunk) => chunk.start <= index)];
  }

  sectionAtPlace(y) {
    return firstBeside(this.sections, y);
  }

  /** The box of a photo, in px from the top of the grid. */
  box(index) {
    const chunk = this.chunkOf(index);
    const box = chunk?.layout.boxes[Math.min(index - chunk.start, chunk.count - 1)];
    return box && { ...box, left: chunk.left + box.left, top: chunk.top + box.top };
  }

  /** The number of the photo in the row at `y` that is nearest to `x`. */
  nearest(x, y) {
    const first = this.chunkAtPlace(y);
    let [best, least] = [0, Infinity];
    for (let at = this.chunks.indexOf(first); this.chunks[at]?.top === first.top; at++) {
      const chunk = this.chunks[at];
      chunk.layout.boxes.forEach((box, number) => {
        const [left, top] = [chunk.left + box.left, chunk.top + box.top];
        const distance = Math.max(0, top - y, y - top - box.height) * 10_000 + Math.abs(left + box.width / 2 - x);
        if (distance < least) [best, least] = [chunk.start + number, distance];
      });
    }
    return best;
  }

  /** The photo of this number; undefined while it is not loaded. */
  at(index) {
    const chunk = this.chunkOf(index);
    return chunk?.photos?.[index - chunk.start];
  }

  /** The number of a photo among those that are loaded; null if it is not there. */
  indexOf(id) {
    for (const { photos, start } of this.chunks) {
      const at = photos?.findIndex((photo) => photo.id === id) ?? -1;
      if (at >= 0) return start + at;
    }
    return null;
  }

  // ----- loading -----

  /** The photos in memory. */
  loaded() {
    return this.chunks.flatMap((chunk) => chunk.photos ?? []);
  }

  /** Loads a chunk and those after it in its month that one request has; resolves to a function that stores their photos, or to null if there is nothing to store. */
  async load(chunk) {
    if (chunk.photos || chunk.request) return null;
    chunk.request = new AbortController();
    const loading = this.chunksFrom(chunk);
    for (const each of loading) each.loader = chunk;
    try {
      const before = this.chunks[this.chunks.indexOf(chunk) - 1];
      const start = before?.next && before.section.month === chunk.section.month ? { after: before.next } : { skip: chunk.skip };
      if (chunk.section.month) start.month = chunk.section.month;
      const page = await fetchDocument("/timeline/photos", this.options, { ...start, limit: CHUNK }, chunk.request.signal);
      return () => this.store(loading, page);
    } catch (error) {
      if (error.name === "AbortError") return null;
      throw error;
    } finally {
      chunk.request = null;
    }
  }

  /** The chunks that one request has whole: this one, and those after it in its month. */
  chunksFrom(chunk) {
    const at = this.chunks.indexOf(chunk);
    let end = at + 1;
    for (let photos = chunk.count; this.chunks[end]?.section.month === chunk.section.month && photos + this.chunks[end].count <= CHUNK; end++) photos += this.chunks[end].count;
    return this.chunks.slice(at, end);
  }

  store(chunks, page) {
    const [at, last] = [this.chunks.indexOf(chunks[0]), chunks.at(-1)];
    const beside = [this.chunks[at - 1], this.chunks[at + chunks.length]].flatMap((chunk) => chunk?.photos ?? []);
    const others = new Set(beside.map((photo) => photo.id));
    const photos = page.photos.map(photoOfTimeline).filter((photo) => !others.has(photo.id));
    const isLast = this.chunks[at + chunks.length]?.section.month !== last.section.month;
    for (const chunk of chunks) {
      chunk.photos = photos.splice(0, chunk === last && (isLast || last.count === CHUNK) ? Infinity : chunk.count);
      Object.assign(chunk, { count: chunk.photos.length, layout: null });
    }
    if (!photos.length) last.next = page.next;
    if (isLast && page.next) this.addChunk(last.section, CHUNK); // photos were added since they were counted
    this.place();
  }

  abort(isNeeded) {
    for (const chunk of this.chunks) if (chunk.request && !isNeeded(chunk)) chunk.request.abort();
  }

  /** Forgets photos far from a chunk; their places stay. */
  dropFar(chunk) {
    const loaded = this.chunks.filter((each) => each.photos);
    if (loaded.reduce((sum, { count }) => sum + count, 0) <= MAX_PHOTOS) return;
    for (const each of loaded) if (Math.abs(each.start - chunk.start) > MAX_PHOTOS / 2) each.photos = null;
  }

  /** The ids of the photos from one number to another, which need not be loaded. */
  async ids(from, to) {
    const requests = [];
    for (const section of this.sections) {
      const count = section.chunks.reduce((sum, chunk) => sum + chunk.count, 0);
      const [first, last] = [Math.max(0, from - section.start), Math.min(count - 1, to - section.start)];
      if (first > last) continue;
      const start = section.month ? { month: section.month } : {};
      for (let skip = first; skip <= last; skip += IDS) {
        requests.push({ ...start, skip: section.skip + skip, limit: Math.min(IDS, last + 1 - skip) });
      }
    }
    const ids = [];
    for (let at = 0; at < requests.length; at += AT_A_TIME) {
      const pages = requests.slice(at, at + AT_A_TIME).map((request) => fetchDocument("/timeline/ids", this.options, request));
      for (const page of await Promise.all(pages)) for (const id of page.ids) ids.push(id);
    }
    return ids;
  }

  /** The ids of all photos; `progress` is called with how many there are so far. */
  async allIds(progress) {
    const ids = [];
    for (let after = null; ; ) {
      const page = await fetchDocument("/timeline/ids", this.options, after ? { after } : {});
      for (const id of page.ids) ids.push(id);
      progress(ids.length);
      if (!(after = page.next)) return ids;
    }
  }
}

/** The sections of a month: the month itself, or its parts, each by the day of its first photo. */
function sectionsOf({ month, photos, aspect, parts = [] }, isNewestFirst) {
  let skip = 0;
  const sections = parts.map(({ first, last, photos: count, place }) => {
    const section = { key: isNewestFirst ? last : first, month, skip, photos: count, aspect, name: headingText(first, last, place) };
    skip += count;
    return section;
  });
  return sections.length ? sections : [{ key: month, month, skip, photos, aspect, name: month && monthName(month) }];
}

async function fetchDocument(path, options, more = {}, signal = undefined) {
  const query = new URLSearchParams(options);
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  return requestJson(`/api${path}?${query}`, { priority: "high", signal });
}

function lastIndex(sorted, isBefore) {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (isBefore(sorted[middle])) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Of those side by side at a place, or the last ones above it, the first. */
function firstBeside(sorted, y) {
  let at = lastIndex(sorted, ({ top }) => top <= y);
  while (at > 0 && sorted[at - 1].top === sorted[at].top) at--;
  return sorted[at];
}
