// The verdicts on one photo: confirming, rejecting and naming its landmarks, and undoing that. A verdict is shown at
// once and then replaced by the server's response.

import { loadIdiomorph } from "./morphing.js";
import { removeAdded, selectLandmark } from "./naming.js";
import { isThing, sendDismissal, sendVerdict } from "./selection_changes.js";
import { gettext, verdictText } from "./texts.js";
import { removeUndo, toast } from "./toast.js";

const STATES = { confirmed: [gettext("confirmed"), "chip--sure"], rejected: [gettext("rejected"), "chip--bad"] };
const PARTS = ["#landmarks", "#when", "#facts"]; // what a verdict changes

// ----- queue -----

const queue = []; // actions that wait for the current one
const stale = new Set(); // photos whose state on the server is not shown yet
let isBusy = false;

/** Runs actions in the order of the key presses. After a failure, the queued actions are dropped. */
export async function enqueue(action) {
  queue.push(action);
  if (isBusy) return;
  isBusy = true;
  while (queue.length || stale.size) {
    try {
      await (queue.shift() ?? refreshOne)();
    } catch {
      await new Promise((resolve) => setTimeout(resolve)); // a page that is left fails its requests before it hides
      queue.length = 0;
    }
  }
  isBusy = false;
}

const refreshOne = () => [...stale][0].refresh();

// When the page is left, queued verdicts are still sent.
addEventListener("pagehide", () => {
  for (const action of queue.splice(0)) Promise.resolve(action()).catch(() => {});
});

// ----- keys -----

const KEYS = {
  c: (verdicts) => verdicts.giveFirst("confirmed"),
  r: (verdicts) => verdicts.giveFirst("rejected"),
  x: (verdicts) => verdicts.toggleDismissal(),
  u: (verdicts) => verdicts.undo(),
};

/** Returns what a key does with the verdicts of a photo. `n` is not among them: it opens a dialog at once. */
export const actionOfKey = (key) => KEYS[key];

// ----- one photo -----

/**
 * `root` has the photo's number in `data-photo` and contains the parts of its page. `load` returns the page as the server has it now,
 * `announce` tells screen readers, `report` what was done and how to undo it; `fallback` gets a focus that would be lost. `askedThing` returns the thing that the photos around this one show. `onChange` is called with each new verdict, null for none.
 */
export class PhotoVerdicts {
  constructor(root, { load, announce, report = announce, fallback, askedThing = () => null, onChange = (_verdict) => {}, onRefresh = (_page) => {} }) {
    this.root = root;
    this.load = load;
    this.announce = announce;
    this.report = report;
    this.fallback = fallback;
    this.askedThing = askedThing;
    this.onChange = onChange;
    this.onRefresh = onRefresh;
    this.photo = root.dataset.photo;
    this.undoSteps = []; // the verdicts given on this photo, each step as the requests that undo it
    this.rememberState();
    root.addEventListener("click", (event) => this.click(event.target.closest("#landmarks button, #when button")));
  }

  get landmarks() {
    return this.root.querySelector("#landmarks");
  }

  rows() {
    return [...this.root.querySelectorAll("#landmarks [data-landmark]")];
  }

  landmarkRows() {
    return this.rows().filter(({ dataset }) => !isThing(dataset.landmark));
  }

  /** The row that keys are about: the landmark that counts, or the first one; without any, a thing. */
  shownRow() {
    const isAccepted = ({ dataset }) => ["accepted", "confirmed"].includes(dataset.state);
    const landmarks = this.landmarkRows();
    if (landmarks.length) return landmarks.find(isAccepted) ?? landmarks[0];
    return this.rowOf(`thing:${this.askedThing()}`) ?? this.rows()[0];
  }

  rowOf(landmark) {
    return this.rows().find((row) => row.dataset.landmark === landmark);
  }

  // ----- giving -----

  /** Gives a verdict, or with `withdraw` withdraws it. Returns `reverse`, the request that undoes it, and a text. */
  give(request) {
    return request.isDismissal ? this.dismiss(request) : this.giveVerdict(request);
  }

  async giveVerdict(request) {
    const { landmark, name, verdict, withdraw: isWithdrawal } = request;
    if (!isWithdrawal) this.show(landmark, verdict);
    stale.add(this);
    try {
      const { changed, before, name: fullName } = await sendVerdict(this.photo, isWithdrawal ? "DELETE" : "POST", landmark, verdict);
      const reverse = { ...request, withdraw: !isWithdrawal && !before, verdict: (!isWithdrawal && before) || verdict };
      this.onChange({ landmark, name: fullName, verdict: isWithdrawal ? null : verdict });
      return { changed, reverse, text: isWithdrawal ? gettext("%(name)s: verdict withdrawn", { name: fullName }) : verdictText(fullName, verdict) };
    } catch (error) {
      toast(gettext("%(name)s was not changed: %(reason)s", { name, reason: error.message }), { tone: "bad" });
      this.announce(gettext("%(name)s was not changed", { name }));
      throw error;
    }
  }

  /** Puts the photo away as not a landmark, or brings it back; as `give`. */
  async dismiss({ withdraw: isWithdrawal }) {
    stale.add(this);
    try {
      const changed = await sendDismissal(this.photo, isWithdrawal ? "DELETE" : "POST");
      this.onChange({ landmark: null, name: gettext("Not a landmark"), verdict: isWithdrawal ? null : "dismissed" });
      const reverse = { isDismissal: true, withdraw: !isWithdrawal };
      return { changed, reverse, text: isWithdrawal ? gettext("Photo brought back") : gettext("Not a landmark: photo put away") };
    } catch (error) {
      toast(gettext("The photo was not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
      this.announce(gettext("The photo was not changed"));
      throw error;
    }
  }

  toggleDismissal() {
    const button = this.root.querySelector("#landmarks [data-dismissal]");
    if (button) return this.giveAll([{ isDismissal: true, withdraw: "withdraw" in button.dataset }]);
  }

  /** Gives verdicts that are undone in one step. They are sent at once, since the page may be left. */
  async giveAll(requests) {
    const results = await Promise.allSettled(requests.map((request) => this.give(request)));
    const step = results.flatMap((result) => (result.status === "fulfilled" && result.value.changed ? [result.value.reverse] : []));
    if (step.length) this.undoSteps.push(step);
    this.announceResults(results, step.length ? () => enqueue(() => this.undo()) : null);
  }

  async undo() {
    if (!this.undoSteps.length) return toast(gettext("Nothing to undo"));
    const step = this.undoSteps.at(-1);
    removeUndo();
    this.announceResults(await Promise.allSettled(step.map((request) => this.give(request))));
    this.undoSteps.pop();
    for (const { landmark } of step) await removeAdded(landmark);
  }

  announceResults(results, undo = null) {
    const failed = results.find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
    this.report(results.map(({ value }) => value.text).join(", "), undo);
  }

  giveFirst(verdict) {
    const row = this.shownRow();
    if (!row?.querySelector("button")) return; // a read-only session
    return this.giveAll([requestOf(row, verdict)]);
  }

  /** A click refers to the photo that is shown now, even if the action runs later. */
  click(button) {
    if (!button) return;
    const { verdict } = button.dataset;
    if ("nameAnother" in button.dataset) return this.openNaming();
    if ("dismissal" in button.dataset) return void enqueue(() => this.toggleDismissal());
    const request = requestOf(button.closest("[data-landmark]"), verdict, "withdraw" in button.dataset);
    enqueue(() => this.giveAll([request]));
  }

  openNaming() {
    if (!this.root.querySelector("[data-name-another]")) return;
    const others = this.landmarkRows().filter((row) => row.dataset.state === "accepted").map((row) => requestOf(row, "rejected"));
    // A confirmation of another landmark may have been queued meanwhile.
    const isRejected = (other, landmark) => other.landmark !== landmark && this.rowOf(other.landmark)?.dataset.state !== "confirmed";
    const onSelect = ({ landmark, name }, isInstead) => {
      enqueue(() => {
        const rejections = isInstead ? others.filter((other) => isRejected(other, landmark)) : [];
        return this.giveAll([{ landmark, name, verdict: "confirmed", withdraw: false }, ...rejections]);
      });
    };
    selectLandmark(onSelect, [Number(this.photo)], others.map(({ name }) => name));
  }

  // ----- display -----

  show(landmark, verdict) {
    const row = this.rowOf(landmark);
    if (!row) return;
    const chip = row.querySelector("[data-state-text]");
    row.dataset.state = verdict;
    [chip.textContent, chip.className] = [STATES[verdict][0], `chip ${STATES[verdict][1]}`];
  }

  /** Shows the server's current state. */
  async refresh() {
    stale.delete(this);
    try {
      const [page] = await Promise.all([this.load(), loadIdiomorph()]);
      if (queue.length) stale.add(this);
      else this.replaceParts(page);
    } catch (error) {
      this.landmarks?.replaceWith(this.serverState.cloneNode(true));
      toast(gettext("The server does not respond. Reload the page."), { tone: "bad" });
      throw error;
    }
  }

  /** Morphs the parts into those of another page and keeps the keyboard focus if possible. */
  replaceParts(page) {
    const focused = document.activeElement;
    const isInside = this.root.contains(focused);
    const landmark = focused.closest("[data-landmark]")?.dataset.landmark;
    for (const part of PARTS) window.Idiomorph.morph(this.root.querySelector(part), page.querySelector(part));
    this.rememberState();
    this.onRefresh(page);
    if (isInside && !focused.isConnected) (this.rowOf(landmark)?.querySelector("button") ?? this.fallback).focus({ preventScroll: true });
  }

  rememberState() {
    this.serverState = this.landmarks.cloneNode(true);
  }
}

const requestOf = ({ dataset: { landmark, name } }, verdict, isWithdrawal = false) => ({ landmark, name, verdict, withdraw: isWithdrawal });
