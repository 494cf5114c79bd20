// Selecting many photos of a grid and giving them a verdict through the API. Photos are tracked by number, since grid.js removes
// tiles. A click or tap selects one photo; with Shift or a long press, all from the last one to it.

import { learnAction } from "./learning.js";
import { Marks } from "./marks.js";
import { selectLandmark } from "./naming.js";
import { toast } from "./toast.js";

const PAGE = 200; // photos per request
const CONFIRM_ABOVE = 50; // more photos need a confirmation
const LEARN_FROM = 3; // as many confirmed photos are worth learning from
const LONG_PRESS_MS = 450; // a long press selects the range
const isTouch = matchMedia("(pointer: coarse)");

class Selection {
  constructor(list) {
    this.list = list;
    const query = new URLSearchParams(list.dataset.options);
    this.landmark = query.get("landmark"); // null in other grids, where a dialog asks for it
    this.marks = new Marks(this.landmark ? "rejected" : query.has("unknown") && "confirmed");
    this.order = new Map(); // photo numbers by position, of tiles drawn so far
    this.selected = new Set();
    this.anchor = null;
    this.undoable = null; // what the last verdict changed
    this.isOn = false;
    this.isBusy = false;
    this.draw();
    list.addEventListener("verdict", ({ detail }) => this.markVerdict(detail));
    new MutationObserver(() => this.draw()).observe(list, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-photo"] });
    this.offer();
  }

  // ----- drawing -----

  draw() {
    for (const tile of this.list.children) {
      const { photo } = tile.dataset;
      if (!photo) continue;
      this.order.set(positionOf(tile), Number(photo));
      const isSelected = this.isOn && this.selected.has(Number(photo));
      if (isSelected !== "selected" in tile.dataset) isSelected ? (tile.dataset.selected = "") : delete tile.dataset.selected;
      const link = tile.querySelector("a");
      if (link) this.drawLink(link, isSelected);
      this.marks.draw(tile, Number(photo));
    }
    this.marks.count();
  }

  /** Marks a photo that got a verdict in the lightbox. */
  markVerdict({ photo, landmark, name, verdict }) {
    if (this.landmark && this.landmark !== landmark) return;
    this.marks.set(photo, verdict, textOf(name)(verdict));
    this.draw();
  }

  drawLink(link, isSelected) {
    if (this.isOn) {
      link.setAttribute("role", "checkbox");
      link.setAttribute("aria-checked", isSelected);
    } else {
      link.removeAttribute("role");
      link.removeAttribute("aria-checked");
    }
  }

  offer() {
    this.switch = button("Select", () => this.setOn(!this.isOn), "button--small");
    this.switch.setAttribute("aria-pressed", "false");
    document.querySelector(".page-tools")?.prepend(this.switch);
    const name = document.querySelector("[data-landmark-name]")?.textContent; // only on the page of one landmark
    this.question = name ? `: ${name}?` : "";
    this.bar = document.createElement("div");
    this.bar.className = "action-bar";
    this.bar.hidden = true;
    this.bar.setAttribute("role", "group");
    this.bar.setAttribute("aria-label", "Actions for the selected photos");
    this.count = document.createElement("span");
    this.count.setAttribute("role", "status");
    const landmark = { landmark: this.landmark, name: name ?? this.landmark };
    const selectName = () => this.isBusy || selectLandmark((chosen) => this.confirmMany("confirmed", chosen));
    this.actions = this.landmark
      ? [
          ["Confirm", button("Confirm", () => this.confirmMany("confirmed", landmark), "button--primary")],
          ["Reject", button("Reject", () => this.confirmMany("rejected", landmark), "button--danger")],
        ]
      : [["Name landmark…", button("Name landmark…", selectName, "button--primary")]];
    this.undoButton = button("Undo", () => this.undo(), "button--quiet");
    const actions = document.createElement("div");
    actions.className = "row action-bar-act";
    actions.append(...this.actions.map(([, element]) => element));
    this.allButton = button("Select all", () => this.selectAll(), "button--quiet");
    this.bar.append(this.count, actions, this.undoButton, this.allButton, button("Done", () => this.setOn(false), "button--quiet"));
    this.list.after(this.bar);
    this.list.addEventListener("click", (event) => this.click(event), true);
    addEventListener("keydown", (event) => {
      if (document.querySelector("dialog[open]")) return;
      if (event.key === "Escape" && this.isOn) this.setOn(false);
      const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (event.key === "a" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && !isTyping) {
        event.preventDefault();
        this.selectAll();
      }
    });
    this.list.addEventListener("keydown", (event) => this.key(event), true);
    this.list.addEventListener("pointerdown", (event) => this.press(event));
    for (const name of ["pointerup", "pointercancel"]) this.list.addEventListener(name, () => clearTimeout(this.pressTimer));
    // Suppresses the browser's menu of a long-pressed link.
    this.list.addEventListener("contextmenu", (event) => this.isOn && event.pointerType === "touch" && event.preventDefault());
    this.show();
  }

  setOn(isOn) {
    [this.isOn, this.anchor] = [isOn, null];
    this.selected.clear();
    this.switch.setAttribute("aria-pressed", String(isOn));
    this.bar.hidden = !isOn;
    this.list.toggleAttribute("data-selecting", isOn);
    this.show();
    if (!isOn) this.switch.focus();
  }

  show(text = null) {
    const count = this.selected.size;
    this.count.textContent = text ?? (count ? `${photos(count)} selected${this.question}` : this.hint());
    for (const [label, element] of this.actions) {
      element.disabled = this.isBusy || !count;
      if (this.landmark) element.textContent = count ? `${label} ${count}` : label;
    }
    this.undoButton.hidden = !this.undoable?.length;
    this.undoButton.disabled = this.isBusy;
    this.allButton.disabled = this.isBusy;
    this.draw();
  }

  hint() {
    if (this.undoable?.length) return "";
    return isTouch.matches ? "Tap photos. Long-press to select a range." : "Click photos. Shift-click to select a range.";
  }

  // ----- selecting -----

  click(event) {
    const tile = event.target.closest("[data-photo]");
    if (!this.isOn || !tile || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.wasLongPress) this.wasLongPress = false;
    else this.pick(tile, event.shiftKey);
  }

  press(event) {
    clearTimeout(this.pressTimer);
    this.wasLongPress = false;
    const tile = event.target.closest("[data-photo]");
    if (!this.isOn || !tile || event.pointerType !== "touch") return;
    this.pressTimer = setTimeout(() => {
      this.wasLongPress = true; // ignore the click that may follow
      this.pick(tile, true);
    }, LONG_PRESS_MS);
  }

  key(event) {
    const tile = event.target.closest?.("[data-photo]");
    if (!this.isOn || !tile || event.key !== " ") return;
    event.preventDefault();
    this.pick(tile, event.shiftKey);
  }

  pick(tile, isRange) {
    if (this.isBusy) return;
    const index = positionOf(tile);
    const photo = Number(tile.dataset.photo);
    if (isRange && this.anchor !== null) return this.pickRange(index);
    if (!this.selected.delete(photo)) this.selected.add(photo);
    this.anchor = index;
    this.show();
  }

  async pickRange(index) {
    const [from, to] = [Math.min(index, this.anchor), Math.max(index, this.anchor)];
    const range = [];
    for (let at = from; at <= to; at++) range.push(this.order.get(at));
    const { photos } = this.list.photoGrid;
    const ids = range.includes(undefined) ? await this.find(() => photos.ids(from - 1, to - 1)) : range;
    for (const photo of ids) this.selected.add(photo);
    this.anchor = index;
    this.show();
  }

  /** Selects all photos of the query, loaded or not. */
  async selectAll() {
    if (this.isBusy) return;
    if (!this.isOn) this.setOn(true);
    const { photos } = this.list.photoGrid;
    const ids = await this.find(() => photos.allIds((count) => this.show(`${count} photos found…`)));
    for (const photo of ids) this.selected.add(photo);
    this.show();
  }

  async find(run) {
    this.isBusy = true;
    try {
      return await run();
    } catch (error) {
      toast(`The photos could not be found: ${error.message}`, { tone: "bad" });
      return [];
    } finally {
      this.isBusy = false;
    }
  }

  // ----- verdicts -----

  confirmMany(verdict, landmark) {
    const count = this.selected.size;
    if (count <= CONFIRM_ABOVE) return this.give(verdict, landmark);
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-label", "Are you sure?");
    const question = document.createElement("p");
    const action = verdict === "confirmed" ? "Confirm" : "Reject";
    question.textContent = `${action} ${landmark.name} on ${photos(count)}? You can undo this.`;
    const row = document.createElement("div");
    row.className = "row row--end";
    row.append(
      button("Cancel", () => dialog.close()),
      button(`${action} ${photos(count)}`, () => (dialog.close(), this.give(verdict, landmark)), "button--primary"),
    );
    dialog.append(question, row);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  async give(verdict, { landmark, name }) {
    const changed = [];
    let leftOut = 0;
    const failure = await this.inPages([...this.selected], verdict, async (page) => {
      const result = await send("POST", { photos: page, landmark, verdict });
      changed.push(...result.changed);
      leftOut += result.left_out.length;
      for (const photo of page) this.selected.delete(photo);
    });
    this.undoable = changed.map((each) => ({ ...each, verdict, landmark, text: textOf(name) }));
    for (const each of this.undoable) this.marks.set(each.photo, verdict, each.text(verdict));
    this.show();
    const skipped = leftOut ? `; ${photos(leftOut)} skipped because they are not classified` : "";
    if (failure) toast(`${photos(this.selected.size)} not changed: ${failure}`, { tone: "bad" });
    else {
      const action = verdict === "confirmed" && changed.length >= LEARN_FROM ? learnAction(landmark, name) : null;
      toast(`${photos(changed.length)} ${verdict}${skipped}`, { tone: leftOut ? "bad" : "ok", action, duration_ms: action ? 15000 : undefined });
    }
  }

  async undo() {
    if (this.isBusy || !this.undoable?.length) return;
    const rest = new Set(this.undoable);
    let failure = "";
    for (const before of [null, "confirmed", "rejected"]) {
      const group = this.undoable.filter((each) => each.before === before);
      failure ||= await this.inPages(group, "undone", async (page) => {
        const body = { photos: page.map((each) => each.photo), landmark: page[0].landmark, verdict: before ?? page[0].verdict };
        await send(before ? "POST" : "DELETE", body);
        for (const each of page) {
          rest.delete(each);
          this.marks.set(each.photo, before, before && each.text(before));
        }
      });
    }
    const count = this.undoable.length - rest.size;
    this.undoable = [...rest];
    this.show();
    if (failure) toast(`Not everything was undone: ${failure}`, { tone: "bad" });
    else toast(`Undone on ${photos(count)}`, { tone: "ok" });
  }

  async inPages(items, label, run) {
    this.isBusy = true;
    try {
      for (let from = 0; from < items.length; from += PAGE) {
        this.show(`${from} of ${photos(items.length)} ${label}`);
        await run(items.slice(from, from + PAGE));
      }
      return "";
    } catch (error) {
      return error.message;
    } finally {
      this.isBusy = false;
    }
  }
}

const positionOf = (tile) => Number(tile.getAttribute("aria-posinset"));

/** The text of a photo's mark; a landmark's own page omits the name. */
const textOf = (name) => (verdict) => (document.querySelector("[data-landmark-name]") ? verdict : `${name} ${verdict}`);

async function send(method, body) {
  const response = await fetch("/api/verdicts", {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const document_ = await response.json();
  if (!response.ok) throw new Error(document_.error);
  return document_;
}

const photos = (count) => `${count} ${count === 1 ? "photo" : "photos"}`;

function button(text, run, kind = "") {
  const element = document.createElement("button");
  element.type = "button";
  element.className = `button ${kind}`.trim();
  element.textContent = text;
  element.addEventListener("click", run);
  return element;
}

for (const list of document.querySelectorAll("[data-grid]")) new Selection(list);
