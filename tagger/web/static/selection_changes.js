// What can be done to selected photos at once, through the API: a verdict on a landmark, or putting them away as not of one.

import { requestJson } from "./server.js";

/** Confirms or rejects a landmark. `isAlone`: the page is about this landmark, so that marks leave out its name. */
export class VerdictChange {
  constructor(verdict, { landmark, name }, isAlone) {
    this.verdict = verdict;
    this.landmark = landmark;
    this.name = name;
    this.isAlone = isAlone;
    this.done = verdict;
    this.skippedBecause = "not processed yet";
  }

  /** The text of the button that confirms the change. */
  action(photos) {
    return `${this.verdict === "confirmed" ? "Confirm" : "Reject"} ${photos}`;
  }

  question(photos) {
    return `${this.verdict === "confirmed" ? "Confirm" : "Reject"} ${this.name} on ${photos}?`;
  }

  /** The text of a photo's mark. */
  mark(verdict) {
    return this.isAlone ? verdict : `${this.name} ${verdict}`;
  }

  /** Changes photos; resolves to those that changed, each with its verdict before, and to how many could not be changed. */
  async apply(photos) {
    const { changed, left_out } = await this.send("POST", photos, this.verdict);
    return { changed, skipped: left_out.length };
  }

  /** Changed photos in groups that can be changed back together. */
  groups(changed) {
    return [null, "confirmed", "rejected"].map((before) => changed.filter((each) => each.before === before));
  }

  revert(group) {
    const [{ before }] = group;
    return this.send(before ? "POST" : "DELETE", group.map((each) => each.photo), before ?? this.verdict);
  }

  send(method, photos, verdict) {
    return requestJson("/api/verdicts", { method, body: { photos, landmark: this.landmark, verdict } });
  }
}

/** Puts photos away as not a landmark, or brings them back. */
export class DismissalChange {
  constructor(isWithdrawal) {
    this.method = isWithdrawal ? "DELETE" : "POST";
    this.verdict = isWithdrawal ? "restored" : "dismissed";
    this.done = isWithdrawal ? "brought back" : "put away as not a landmark";
    this.skippedBecause = "not processed yet, or with a confirmed landmark";
  }

  action(photos) {
    return this.verdict === "restored" ? `Bring back ${photos}` : `Put away ${photos}`;
  }

  question(photos) {
    return this.verdict === "restored" ? `Bring back ${photos}?` : `Put ${photos} away as not a landmark?`;
  }

  mark(verdict) {
    return DISMISSAL_MARKS[verdict];
  }

  async apply(photos) {
    const { changed, confirmed, left_out } = await this.send(this.method, photos);
    return { changed: changed.map((photo) => ({ photo, before: null })), skipped: confirmed.length + left_out.length };
  }

  groups(changed) {
    return [changed];
  }

  revert(group) {
    return this.send(this.method === "POST" ? "DELETE" : "POST", group.map((each) => each.photo));
  }

  send(method, photos) {
    return requestJson("/api/dismissals", { method, body: { photos } });
  }
}

export const DISMISSAL_MARKS = { dismissed: "Not a landmark", restored: "Brought back" };
