// Selecting many photos of a grid and changing them at once: verdicts, and putting them away. Photos are tracked by number, since grid.js removes
// tiles. The circle on a photo, or a long press, begins. A click or tap selects one photo; with Shift or a long press, all from the last one to it.

import { create, createButton } from "./elements.js";
import { Marks } from "./marks.js";
import { removeAdded, selectLandmark } from "./naming.js";
import { DISMISSAL_MARKS, DismissalChange, isThing, setStars, starText, VerdictChange } from "./selection_changes.js";
import { createSelectionTools, offerTools } from "./selection_menu.js";
import { showFound } from "./teaching.js";
import { gettext, ngettext, number } from "./texts.js";
import { removeUndo, toast } from "./toast.js";

const PAGE = 200; // photos per request
const LEARN_FROM = 3; // with this many confirmed photos, a landmark is found in others
const UNDO_MS = 15000; // a change can be undone
const LONG_PRESS_MS = 450; // a long press begins to select, or selects the range
const CIRCLE_PX = 40; // around the circle that selects
const REMOVING = { landmark: ["rejected", "dismissed"], thing: ["rejected"], unknown: ["confirmed", "dismissed"], dismissed: ["confirmed", "restored"], other: [] };
const isTouch = matchMedia("(pointer: coarse)");

class Selection {
  constructor(list) {
    this.list = list;
    const query = new URLSearchParams(list.dataset.options);
    const landmarks = query.getAll("landmark");
    const isOfThing = "thing" in list.dataset;
    const [only = null] = isOfThing ? query.getAll("thing").map((thing) => `thing:${thing}`) : landmarks.length === 1 ? landmarks : [];
    this.landmark = only; // what verdicts are on; in other grids, a dialog asks for a landmark
    this.kind = isOfThing ? "thing" : only ? "landmark" : (["unknown", "dismissed"].find((option) => query.has(option)) ?? "other");
    this.marks = new Marks(REMOVING[this.kind]);
    this.order = new Map(); // photo numbers by position, of tiles drawn so far
    this.selected = new Set();
    this.anchor = null;
    this.isOn = false;
    this.isBusy = false;
    this.draw();
    list.addEventListener("verdict", ({ detail }) => this.markVerdict(detail));
    this.closing = new AbortController();
    const observer = new MutationObserver(() => this.draw());
    this.closing.signal.addEventListener("abort", () => (observer.disconnect(), this.switch.remove()));
    observer.observe(list, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-photo"] });
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
    if (landmark === null) this.markDismissal(photo, verdict ?? "restored");
    else if (!this.landmark || this.landmark === landmark) this.marks.set(photo, verdict, new VerdictChange(verdict, { landmark, name }, this.isAlone).mark(verdict), !isThing(landmark) || landmark === this.landmark);
    this.draw();
  }

  markDismissal(photo, verdict) {
    this.marks.set(photo, verdict, DISMISSAL_MARKS[verdict]);
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
    this.switch = createButton(gettext("Select"), () => this.setOn(!this.isOn), "button--small");
    this.switch.setAttribute("aria-pressed", "false");
    document.querySelector(".page-tools")?.prepend(this.switch);
    const name = document.querySelector("[data-landmark-name]")?.textContent ?? this.list.dataset.thing; // only on the page of one landmark, or thing
    this.isAlone = name !== undefined;
    this.question = create("span", { className: "action-bar-question" }, name ? `: ${name}?` : "");
    this.bar = create("div", { className: "action-bar", hidden: true, role: "group", "aria-label": gettext("Actions for the selected photos") });
    this.count = create("span", { role: "status" });
    this.actions = this.landmark ? this.landmarkActions(name) : this.otherActions();
    this.tools = createSelectionTools(() => [...this.selected], this.list.dataset, JSON.parse(this.list.dataset.limits), (isFavourite) => this.star([...this.selected], isFavourite));
    const tools = create("div", { className: "row action-bar-tools" }, ...this.tools);
    const actions = create("div", { className: "row action-bar-act" }, ...this.actions.map(([, element]) => element));
    this.allButton = createButton(gettext("Select all"), () => this.selectAll(), "button--quiet");
    this.bar.append(this.count, tools, actions, this.allButton, createButton(gettext("Done"), () => this.setOn(false), "button--quiet"));
    this.list.after(this.bar);
    this.list.toggleAttribute("data-selectable", true);
    this.list.addEventListener("click", (event) => this.click(event), true);
    addEventListener("keydown", (event) => {
      if (document.querySelector("dialog[open]")) return;
      if (event.key === "Escape" && this.isOn) this.setOn(false);
      const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (event.key === "a" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && !isTyping) {
        event.preventDefault();
        this.selectAll();
      }
    }, { signal: this.closing.signal });
    this.list.addEventListener("keydown", (event) => this.key(event), true);
    this.list.addEventListener("pointerdown", (event) => this.press(event));
    for (const name of ["pointerup", "pointercancel"]) this.list.addEventListener(name, () => clearTimeout(this.pressTimer));
    // Suppresses the browser's menu of a long-pressed link.
    this.list.addEventListener("contextmenu", (event) => this.isOn && event.pointerType === "touch" && event.preventDefault());
    this.show();
  }

  landmarkActions(name) {
    const landmark = { landmark: this.landmark, name: name ?? this.landmark };
    const give = (verdict) => this.apply(new VerdictChange(verdict, landmark, this.isAlone));
    return [
      ...(this.kind === "thing" ? [] : [[gettext("Confirm"), createButton(gettext("Confirm"), () => give("confirmed"), "button--primary")]]),
      [gettext("Reject"), createButton(gettext("Reject"), () => give("rejected"), "button--danger")],
    ];
  }

  otherActions() {
    const select = () => this.isBusy || selectLandmark((chosen) => this.apply(new VerdictChange("confirmed", chosen)), [...this.selected]);
    const naming = [gettext("Name landmark…"), createButton(gettext("Name landmark…"), select, "button--primary")];
    const dismissal = (label, isWithdrawal) => [label, createButton(label, () => this.apply(new DismissalChange(isWithdrawal)))];
    if (this.kind === "unknown") return [naming, dismissal(gettext("Not a landmark"), false)];
    return this.kind === "dismissed" ? [dismissal(gettext("Bring back"), true), naming] : [naming];
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
    if (text === null && count) this.count.replaceChildren(ngettext("%(count)s photo selected", "%(count)s photos selected", count), this.question);
    else this.count.textContent = text ?? (isTouch.matches ? gettext("Tap photos. Long-press to select a range.") : gettext("Click photos. Shift-click to select a range."));
    for (const [label, element] of this.actions) {
      element.disabled = this.isBusy || !count;
      if (this.landmark) element.textContent = count ? `${label} ${number(count)}` : label;
    }
    offerTools(this.tools, this.isBusy ? 0 : count);
    this.allButton.disabled = this.isBusy;
    this.draw();
  }

  // ----- selecting -----

  click(event) {
    const tile = event.target.closest("[data-photo]");
    if (!tile || event.ctrlKey || event.metaKey) return;
    if (!this.isOn && isOnCircle(event, tile)) this.setOn(true);
    if (!this.isOn) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.wasLongPress) this.wasLongPress = false;
    else this.pick(tile, event.shiftKey);
  }

  press(event) {
    clearTimeout(this.pressTimer);
    this.wasLongPress = false;
    const tile = event.target.closest("[data-photo]");
    if (!tile || event.pointerType !== "touch") return;
    this.pressTimer = setTimeout(() => {
      if (!this.isOn) this.setOn(true);
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
    const ids = await this.find(() => photos.allIds((count) => this.show(ngettext("%(count)s photo found…", "%(count)s photos found…", count))));
    for (const photo of ids) this.selected.add(photo);
    this.show();
  }

  async find(run) {
    this.isBusy = true;
    try {
      return await run();
    } catch (error) {
      toast(gettext("The photos could not be found: %(reason)s", { reason: error.message }), { tone: "bad" });
      return [];
    } finally {
      this.isBusy = false;
    }
  }

  // ----- changes -----

  async apply(change) {
    const changed = [];
    let skipped = 0;
    const failure = await this.inPages([...this.selected], async (page) => {
      const result = await change.apply(page);
      changed.push(...result.changed);
      skipped += result.skipped;
      for (const photo of page) this.selected.delete(photo);
    });
    for (const { photo } of changed) this.marks.set(photo, change.verdict, change.mark(change.verdict));
    this.show();
    if (failure) return toast(ngettext("%(count)s photo not changed: %(reason)s", "%(count)s photos not changed: %(reason)s", this.selected.size, { reason: failure }), { tone: "bad" });
    const because = ngettext("%(count)s photo skipped: %(reason)s", "%(count)s photos skipped: %(reason)s", skipped, { reason: change.skippedBecause });
    const isLearned = "compares" in this.list.dataset && change.verdict === "confirmed" && changed.length >= LEARN_FROM;
    const text = [change.done(changed.length), skipped && because].filter(Boolean).join("; ");
    const undo = () => this.undo(change, changed);
    if (isLearned) showFound(change, text, undo);
    else toast(text, { tone: skipped ? "bad" : "ok", action: changed.length ? { text: gettext("Undo"), run: undo } : null, duration_ms: UNDO_MS });
  }

  async star(photos, isFavourite) {
    let [rest, skipped] = [photos.length, 0];
    const failure = await this.inPages(photos, async (page) => {
      const { changed, left_out } = await setStars(page, isFavourite);
      this.list.dispatchEvent(new CustomEvent("starred", { detail: { photos: changed, isFavourite } }));
      rest -= page.length;
      skipped += left_out.length;
    });
    this.show();
    if (failure) return toast(ngettext("%(count)s photo not changed: %(reason)s", "%(count)s photos not changed: %(reason)s", rest, { reason: failure }), { tone: "bad" });
    const because = ngettext("%(count)s photo skipped: %(reason)s", "%(count)s photos skipped: %(reason)s", skipped, { reason: gettext("not processed yet") });
    toast([starText(isFavourite), skipped && because].filter(Boolean).join("; "), { tone: skipped ? "bad" : "ok" });
  }

  async undo(change, changed) {
    if (this.isBusy) return;
    removeUndo();
    const rest = new Set(changed);
    let failure = "";
    for (const group of change.groups(changed)) {
      failure ||= await this.inPages(group, async (page) => {
        await change.revert(page);
        for (const each of page) {
          rest.delete(each);
          this.marks.set(each.photo, each.before, each.before && change.mark(each.before));
        }
      });
    }
    this.show();
    if (change.landmark && !rest.size) await removeAdded(change.landmark);
    if (failure) toast(gettext("Not everything was undone: %(reason)s", { reason: failure }), { tone: "bad" });
    else toast(ngettext("Undone on %(count)s photo", "Undone on %(count)s photos", changed.length - rest.size), { tone: "ok" });
  }

  async inPages(items, run) {
    this.isBusy = true;
    try {
      for (let from = 0; from < items.length; from += PAGE) {
        this.show(gettext("%(number)s of %(total)s", { number: number(from), total: number(items.length) }));
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

/** Whether a mouse clicked the circle that its hover shows in the corner of a photo. */
function isOnCircle({ clientX, clientY, pointerType }, tile) {
  const { left, top } = tile.getBoundingClientRect();
  return pointerType === "mouse" && clientX - left < CIRCLE_PX && clientY - top < CIRCLE_PX;
}

const positionOf = (tile) => Number(tile.getAttribute("aria-posinset"));

let selections = [];

function startAll() {
  selections = [...document.querySelectorAll("[data-grid]")].map((list) => new Selection(list));
}

startAll();
// A filter replaces the photos.
document.addEventListener("beforeresults", () => selections.forEach((selection) => selection.closing.abort()));
document.addEventListener("results", startAll);
