// Many photos of a grid at once: chosen by hand, judged through the API in pages. Works on what grid.js draws and forgets, by the
// numbers of photos. A click or a tap chooses one; with Shift, or pressed long, all from the last one to it.

import { Marks } from "./marks.js";
import { askForLandmark } from "./naming.js";
import { toast } from "./toast.js";

const PAGE = 200; // photos in one request
const ASKED_FROM = 50; // more than so many are asked about first
const LONG_MS = 450; // a finger that stays so long means all in between
const hasFinger = matchMedia("(pointer: coarse)");

class Selection {
  constructor(list) {
    this.list = list;
    const query = new URL(list.dataset.source, location.origin).searchParams;
    this.landmark = query.get("landmark"); // of other grids it is asked for
    this.marks = new Marks(this.landmark ? "rejected" : query.has("unknown") && "confirmed");
    this.order = new Map(); // numbers by place in the grid, as far as they were drawn
    this.chosen = new Set();
    this.anchor = null;
    this.done = null; // what the last word changed
    this.on = false;
    this.busy = false;
    this.draw();
    new MutationObserver(() => this.draw()).observe(list, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-photo"] });
    this.offer();
  }

  // ----- what is drawn -----

  draw() {
    for (const tile of this.list.children) {
      const { photo } = tile.dataset;
      if (!photo) continue;
      this.order.set(placeOf(tile), Number(photo));
      const is = this.on && this.chosen.has(Number(photo));
      if (is !== "chosen" in tile.dataset) is ? (tile.dataset.chosen = "") : delete tile.dataset.chosen;
      const link = tile.querySelector("a");
      if (link) this.drawLink(link, is);
      this.marks.draw(tile, Number(photo));
    }
    this.marks.count();
  }

  drawLink(link, is) {
    if (this.on) {
      link.setAttribute("role", "checkbox");
      link.setAttribute("aria-checked", is);
    } else {
      link.removeAttribute("role");
      link.removeAttribute("aria-checked");
    }
  }

  offer() {
    this.switch = button("Select", () => this.turn(!this.on), "button--small");
    this.switch.setAttribute("aria-pressed", "false");
    document.querySelector(".page-tools")?.prepend(this.switch);
    const name = document.querySelector("[data-landmark-name]")?.textContent; // said by the page where it is of one landmark alone
    this.asked = name ? `: ${name}?` : "";
    this.bar = document.createElement("div");
    this.bar.className = "action-bar";
    this.bar.hidden = true;
    this.bar.setAttribute("role", "group");
    this.bar.setAttribute("aria-label", "What to do with the chosen photos");
    this.count = document.createElement("span");
    this.count.setAttribute("role", "status");
    const known = { landmark: this.landmark, name: name ?? this.landmark };
    const naming = () => this.busy || askForLandmark((landmark) => this.ask("confirmed", landmark));
    this.acts = this.landmark
      ? [
          ["Confirm", button("Confirm", () => this.ask("confirmed", known), "button--primary")],
          ["Reject", button("Reject", () => this.ask("rejected", known), "button--danger")],
        ]
      : [["Name landmark…", button("Name landmark…", naming, "button--primary")]];
    this.undoing = button("Undo", () => this.undo(), "button--quiet");
    const act = document.createElement("div");
    act.className = "row action-bar-act";
    act.append(...this.acts.map(([, made]) => made));
    this.bar.append(this.count, act, this.undoing, button("Done", () => this.turn(false), "button--quiet"));
    this.list.after(this.bar);
    this.list.addEventListener("click", (event) => this.click(event), true);
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.on && !document.querySelector("dialog[open]")) this.turn(false);
    });
    this.list.addEventListener("keydown", (event) => this.key(event), true);
    this.list.addEventListener("pointerdown", (event) => this.press(event));
    for (const name of ["pointerup", "pointercancel"]) this.list.addEventListener(name, () => clearTimeout(this.pressing));
    // The browser's own menu for a link that is pressed long.
    this.list.addEventListener("contextmenu", (event) => this.on && event.pointerType === "touch" && event.preventDefault());
    this.show();
  }

  turn(on) {
    [this.on, this.anchor] = [on, null];
    this.chosen.clear();
    this.switch.setAttribute("aria-pressed", String(on));
    this.bar.hidden = !on;
    this.list.toggleAttribute("data-selecting", on);
    this.show();
    if (!on) this.switch.focus();
  }

  show(words = null) {
    const many = this.chosen.size;
    this.count.textContent = words ?? (many ? `${photos(many)} chosen${this.asked}` : this.hint());
    for (const [text, made] of this.acts) {
      made.disabled = this.busy || !many;
      if (this.landmark) made.textContent = many ? `${text} ${many}` : text;
    }
    this.undoing.hidden = !this.done?.length;
    this.undoing.disabled = this.busy;
    this.draw();
  }

  hint() {
    if (this.done?.length) return ""; // who has done it knows how
    return hasFinger.matches ? "Tap photos; press long for all in between" : "Choose photos; with Shift all in between";
  }

  // ----- choosing -----

  click(event) {
    const tile = event.target.closest("[data-photo]");
    if (!this.on || !tile || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.wasLong) this.wasLong = false;
    else this.pick(tile, event.shiftKey);
  }

  press(event) {
    clearTimeout(this.pressing);
    this.wasLong = false;
    const tile = event.target.closest("[data-photo]");
    if (!this.on || !tile || event.pointerType !== "touch") return;
    this.pressing = setTimeout(() => {
      this.wasLong = true; // the click that may follow is a part of it
      this.pick(tile, true);
    }, LONG_MS);
  }

  key(event) {
    const tile = event.target.closest?.("[data-photo]");
    if (!this.on || !tile || event.key !== " ") return;
    event.preventDefault();
    this.pick(tile, event.shiftKey);
  }

  pick(tile, isRange) {
    if (this.busy) return;
    const index = placeOf(tile);
    const photo = Number(tile.dataset.photo);
    if (isRange && this.anchor !== null) return this.pickRange(index);
    if (!this.chosen.delete(photo)) this.chosen.add(photo);
    this.anchor = index;
    this.show();
  }

  pickRange(index) {
    const [from, to] = [Math.min(index, this.anchor), Math.max(index, this.anchor)];
    const range = [];
    for (let at = from; at <= to; at++) range.push(this.order.get(at));
    if (range.includes(undefined)) {
      toast("Some photos in between were not shown yet. Scroll through them, then choose again.", { tone: "bad" });
      return;
    }
    for (const photo of range) this.chosen.add(photo);
    this.anchor = index;
    this.show();
  }

  // ----- saying -----

  ask(verdict, landmark) {
    const many = this.chosen.size;
    if (many <= ASKED_FROM) return this.say(verdict, landmark);
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-label", "Are you sure?");
    const words = document.createElement("p");
    const what = verdict === "confirmed" ? "Confirm" : "Reject";
    words.textContent = `${what} ${landmark.name} on ${photos(many)}? Undo takes it back.`;
    const row = document.createElement("div");
    row.className = "row row--end";
    row.append(
      button("Cancel", () => dialog.close()),
      button(`${what} ${photos(many)}`, () => (dialog.close(), this.say(verdict, landmark)), "button--primary"),
    );
    dialog.append(words, row);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  async say(verdict, { landmark, name }) {
    const changed = [];
    let leftOut = 0;
    const failure = await this.inPages([...this.chosen], verdict, async (page) => {
      const done = await send("POST", { photos: page, landmark, verdict });
      changed.push(...done.changed);
      leftOut += done.left_out.length;
      for (const photo of page) this.chosen.delete(photo);
    });
    this.done = changed.map((each) => ({ ...each, verdict, landmark, words: wordsOf(name) }));
    for (const each of this.done) this.marks.set(each.photo, verdict, each.words(verdict));
    this.show();
    const without = leftOut ? `; ${photos(leftOut)} left out: no model has looked at them` : "";
    if (failure) toast(`${photos(this.chosen.size)} stay as they were: ${failure}`, { tone: "bad" });
    else toast(`${photos(changed.length)} ${verdict}${without}`, { tone: leftOut ? "bad" : "ok" });
  }

  async undo() {
    if (this.busy || !this.done?.length) return;
    const rest = new Set(this.done);
    let failure = "";
    for (const before of [null, "confirmed", "rejected"]) {
      const meant = this.done.filter((each) => each.before === before);
      failure ||= await this.inPages(meant, "undone", async (page) => {
        const body = { photos: page.map((each) => each.photo), landmark: page[0].landmark, verdict: before ?? page[0].verdict };
        await send(before ? "POST" : "DELETE", body);
        for (const each of page) {
          rest.delete(each);
          this.marks.set(each.photo, before, before && each.words(before));
        }
      });
    }
    const many = this.done.length - rest.size;
    this.done = [...rest];
    this.show();
    if (failure) toast(`Not all was undone: ${failure}`, { tone: "bad" });
    else toast(`Undone on ${photos(many)}`, { tone: "ok" });
  }

  async inPages(all, words, run) {
    this.busy = true;
    try {
      for (let from = 0; from < all.length; from += PAGE) {
        this.show(`${from} of ${photos(all.length)} ${words}`);
        await run(all.slice(from, from + PAGE));
      }
      return "";
    } catch (error) {
      return error.message;
    } finally {
      this.busy = false;
    }
  }
}

const placeOf = (tile) => Number(tile.getAttribute("aria-posinset"));

/** What a photo's mark says; on a landmark's own page its name goes without saying. */
const wordsOf = (name) => (verdict) => (document.querySelector("[data-landmark-name]") ? verdict : `${name} ${verdict}`);

async function send(method, body) {
  const answer = await fetch("/api/verdicts", {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const document_ = await answer.json();
  if (!answer.ok) throw new Error(document_.error);
  return document_;
}

const photos = (many) => `${many} ${many === 1 ? "photo" : "photos"}`;

function button(text, run, kind = "") {
  const made = document.createElement("button");
  made.type = "button";
  made.className = `button ${kind}`.trim();
  made.textContent = text;
  made.addEventListener("click", run);
  return made;
}

for (const list of document.querySelectorAll("[data-grid]")) new Selection(list);
