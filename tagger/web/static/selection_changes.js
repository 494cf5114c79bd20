// What can be done to selected photos at once, through the API: a verdict on a landmark, putting them away as not of one, or a star.

import { requestJson } from "./server.js";
import { gettext, ngettext, verdictText } from "./texts.js";

/** Confirms or rejects a landmark. `isAlone`: the page is about this landmark, so that marks leave out its name. */
export class VerdictChange {
  constructor(verdict, { landmark, name }, isAlone) {
    this.verdict = verdict;
    this.landmark = landmark;
    this.name = name;
    this.isAlone = isAlone;
    this.skippedBecause = gettext("not processed yet");
  }

  /** The text of the button that confirms the change. */
  action(count) {
    if (this.verdict === "confirmed") return ngettext("Confirm %(count)s photo", "Confirm %(count)s photos", count);
    return ngettext("Reject %(count)s photo", "Reject %(count)s photos", count);
  }

  question(count) {
    const { name } = this;
    if (this.verdict === "confirmed") return ngettext("Confirm %(name)s on %(count)s photo?", "Confirm %(name)s on %(count)s photos?", count, { name });
    return ngettext("Reject %(name)s on %(count)s photo?", "Reject %(name)s on %(count)s photos?", count, { name });
  }

  /** What was done. */
  done(count) {
    if (this.verdict === "confirmed") return ngettext("%(count)s photo confirmed", "%(count)s photos confirmed", count);
    return ngettext("%(count)s photo rejected", "%(count)s photos rejected", count);
  }

  /** The text of a photo's mark. */
  mark(verdict) {
    if (!this.isAlone) return verdictText(this.name, verdict);
    return verdict === "confirmed" ? gettext("confirmed") : gettext("rejected");
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
    this.skippedBecause = gettext("not processed yet, or with a confirmed landmark");
  }

  action(count) {
    if (this.verdict === "restored") return ngettext("Bring back %(count)s photo", "Bring back %(count)s photos", count);
    return ngettext("Put away %(count)s photo", "Put away %(count)s photos", count);
  }

  question(count) {
    if (this.verdict === "restored") return ngettext("Bring back %(count)s photo?", "Bring back %(count)s photos?", count);
    return ngettext("Put %(count)s photo away as not a landmark?", "Put %(count)s photos away as not a landmark?", count);
  }

  done(count) {
    if (this.verdict === "restored") return ngettext("%(count)s photo brought back", "%(count)s photos brought back", count);
    return ngettext("%(count)s photo put away as not a landmark", "%(count)s photos put away as not a landmark", count);
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

/** Gives photos a star, or takes it away. Resolves to those that have it so now, and those whose image has not been read yet. */
export const setStars = (photos, isFavourite) => requestJson("/api/favourites", { method: isFavourite ? "POST" : "DELETE", body: { photos }, keepalive: true });

export const starText = (isFavourite) => (isFavourite ? gettext("Added to favourites") : gettext("Removed from favourites"));

export const DISMISSAL_MARKS = { dismissed: gettext("Not a landmark"), restored: gettext("Brought back") };
