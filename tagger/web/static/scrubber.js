// The scale beside a timeline: a slider over months, with the years at their places.

import { create } from "./elements.js";
import { monthName } from "./grid_tiles.js";
import { gettext, photoCount } from "./texts.js";

const LEAST_MONTHS = 3; // fewer need no scale
const LABEL_PX = 28; // least distance of two years

export class Scrubber {
  constructor(grid) {
    this.grid = grid;
    this.sections = grid.photos.sections;
    if (new Set(this.sections.map(({ month }) => month)).size < LEAST_MONTHS) return;
    this.create();
    this.element.addEventListener("keydown", (event) => this.handleKey(event));
    this.element.addEventListener("pointerdown", (event) => this.drag(event));
    addEventListener("resize", () => this.drawYears(), { signal: grid.closing.signal });
    this.drawYears();
  }

  create() {
    this.years = create("div", { className: "scrubber-years", "aria-hidden": "true" });
    this.thumb = create("div", { className: "scrubber-thumb", "aria-hidden": "true" });
    this.element = create("div", { className: "scrubber", role: "slider", tabIndex: 0, "aria-label": gettext("Month"), "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": this.sections.length - 1, "aria-controls": this.grid.list.id }, this.years, this.thumb);
    this.grid.list.after(this.element);
  }

  draw() {
    if (!this.element) return;
    const section = this.grid.photos.sectionAtPlace(Math.max(0, this.grid.y() + 1));
    const { height } = this.grid.photos;
    this.thumb.style.top = `${Math.min(100, (100 * Math.max(0, this.grid.y())) / Math.max(1, height))}%`;
    if (section === this.section) return;
    this.section = section;
    this.thumb.textContent = monthName(section.month);
    this.element.setAttribute("aria-valuenow", this.sections.indexOf(section));
    this.element.setAttribute("aria-valuetext", `${section.name}, ${photoCount(section.photos)}`);
  }

  drawYears() {
    const { height } = this.grid.photos;
    const track = this.element.clientHeight;
    let [last, year] = [-LABEL_PX, ""];
    const labels = [];
    for (const section of this.sections) {
      const at = (section.top / height) * track;
      if (section.key.slice(0, 4) === year) continue;
      year = section.key.slice(0, 4);
      if (at - last < LABEL_PX) continue;
      last = at;
      const label = create("div", { className: "scrubber-year" }, section.month === "none" ? "–" : year);
      label.style.top = `${(100 * section.top) / height}%`;
      labels.push(label);
    }
    this.years.replaceChildren(...labels);
  }

  handleKey(event) {
    const now = this.sections.indexOf(this.section);
    const year = (section) => section.key.slice(0, 4);
    const below = () => this.sections.findIndex(({ top }) => top > this.section.top);
    const above = () => this.sections.findLastIndex(({ top }) => top < this.section.top);
    const targets = {
      ArrowDown: below,
      ArrowRight: below,
      ArrowUp: above,
      ArrowLeft: above,
      PageDown: () => this.sections.findIndex((section, index) => index > now && year(section) !== year(this.section)),
      PageUp: () => this.sections.findLastIndex((section, index) => index < now && year(section) !== year(this.section)),
      Home: () => 0,
      End: () => this.sections.length - 1,
    };
    const target = targets[event.key]?.();
    if (target === undefined) return;
    event.preventDefault();
    const found = target < 0 && /Down|Right/.test(event.key) ? this.sections.length - 1 : target;
    this.grid.goTo(this.sections[Math.max(0, Math.min(this.sections.length - 1, found))]);
  }

  drag(event) {
    if (event.button) return;
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    this.element.dataset.dragging = "";
    const move = ({ clientY }) => {
      const { top, height } = this.element.getBoundingClientRect();
      this.grid.scrollToPlace(Math.max(0, Math.min(1, (clientY - top) / height)) * this.grid.photos.height);
    };
    const end = () => {
      delete this.element.dataset.dragging;
      this.element.removeEventListener("pointermove", move);
    };
    this.element.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.element.addEventListener(name, end, { once: true });
    move(event);
  }
}
