// What can be done to selected photos at once, through the API: a verdict on a landmark, putting them away as not of one, or a star.

import { requestJson } from "./server.js";
import { gettext, ngettext, verdictText } from "./texts.js";

/** Whether a verdict on this is on a thing: one on a landmark says nothing about things, and the other way round. */
export const isThing = (landmark) => landmark.startsWith("thing:");

/** Confirms or rejects a landmark. `isAlone`: the page is about this landmark, so that marks leave out its name. */
export class VerdictChange {
  constructor(verdict, { landmark, name }, isAlone) {
    this.verdict = verdict;
    this.landmark = landmark;
    this.name = name;
    this.isAlone = isAlone;
    this.skippedBecause = gettext("not processed yet");
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
    const { photos: found, left_out } = await this.send("POST", photos, this.verdict);
    return { changed: found.filter(({ changed }) => changed), skipped: left_out.length };
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

/** Gives or withdraws (`DELETE`) a verdict on one photo; resolves to what became of it, and the landmark's name. The page may be left meanwhile. */
export async function sendVerdict(photo, method, landmark, verdict) {
  const body = { photos: [Number(photo)], landmark, verdict };
  const { name, photos } = await requestJson("/api/verdicts", { method, body, keepalive: true });
  if (!photos.length) throw new Error(gettext("not processed yet"));
  return { ...photos[0], name };
}

/** Puts one photo away as not a landmark, or brings it back (`DELETE`); resolves to whether that changed it. */
export async function sendDismissal(photo, method) {
  const { changed, confirmed } = await requestJson("/api/dismissals", { method, body: { photos: [Number(photo)] }, keepalive: true });
  if (confirmed.length) throw new Error(gettext("a landmark is confirmed on it"));
  return changed.length > 0;
}
