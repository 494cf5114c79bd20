// Groups of photos that get one verdict at once: those that look alike are named or put away, those to review are confirmed, and rejected
// where their box is not checked. A group stays, dimmed, until the page is left.

import { removeAdded, selectLandmark } from "./naming.js";
import { DismissalChange, VerdictChange } from "./selection_changes.js";
import { showFound } from "./teaching.js";
import { gettext, ngettext } from "./texts.js";
import { toast } from "./toast.js";

const announcement = document.getElementById("announcement");

/** Applies a change to photos; returns how many changed, and what undoes it. */
async function apply(change, photos) {
  const { changed } = photos.length ? await change.apply(photos) : { changed: [] };
  const undo = async () => {
    for (const group of change.groups(changed)) if (group.length) await change.revert(group);
  };
  return { photos: changed.length, undo };
}

const numbers = (group, state) => [...group.querySelectorAll(`input${state}`)].map(({ value }) => Number(value));
const chosen = (group) => numbers(group, ":checked");

/**
 * Does something to groups, one after the other: `run` returns the number of photos and what undoes it. `textOf` says what was done.
 * The focus goes to the next group. `place` is the landmark that was named.
 */
async function change(groups, run, textOf, place = null) {
  const done = []; // groups and what undoes them
  let count = 0;
  groups.forEach((group) => setBusy(group, true));
  try {
    for (const group of groups) {
      const { photos, undo } = await run(group);
      done.push({ group, undo });
      count += photos;
      group.toggleAttribute("data-done", true);
    }
  } catch (error) {
    toast(gettext("The photos were not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
  for (const group of groups) setBusy(group, group.hasAttribute("data-done"));
  focusAfter(groups.at(-1));
  if (!done.length) return;
  const text = textOf(count);
  const undo = () => undoAll(done, count);
  announcement.textContent = text;
  if (place) showFound(place, text, undo);
  else toast(text, { tone: "ok", action: { text: gettext("Undo"), run: undo }, duration_ms: groups.length > 1 ? 0 : 15000 });
}

function focusAfter(group) {
  const every = [...document.querySelectorAll("[data-group]")];
  const next = every.slice(every.indexOf(group) + 1).find(({ dataset }) => !("done" in dataset));
  (next?.querySelector("[data-action]") ?? document.getElementById("main")).focus();
}

async function undoAll(done, count) {
  try {
    for (const { group, undo } of done) {
      await undo();
      group.toggleAttribute("data-done", false);
      setBusy(group, false);
    }
    done[0].group.querySelector("[data-action]").focus();
    announcement.textContent = ngettext("Undone on %(count)s photo", "Undone on %(count)s photos", count);
  } catch (error) {
    toast(gettext("Not everything was undone: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

function setBusy(group, isBusy) {
  for (const control of group.querySelectorAll("[data-action], input")) control.disabled = isBusy;
}

/** Confirms the landmark of each group on the photos whose boxes are checked, and rejects it on the others. */
function review(groups) {
  const names = [...new Set(groups.map(({ dataset }) => dataset.name))];
  let wrong = 0;
  const run = async (group) => {
    const confirmed = await apply(new VerdictChange("confirmed", group.dataset), chosen(group));
    const rejected = await apply(new VerdictChange("rejected", group.dataset), numbers(group, ":not(:checked)"));
    wrong += rejected.photos;
    return { photos: confirmed.photos, undo: async () => (await confirmed.undo(), await rejected.undo()) };
  };
  const text = (count) => {
    const confirmed = names.length > 1 ? ngettext("%(count)s photo confirmed", "%(count)s photos confirmed", count) : ngettext("%(count)s photo confirmed as %(name)s", "%(count)s photos confirmed as %(name)s", count, { name: names[0] });
    return [confirmed, wrong && ngettext("%(count)s rejected", "%(count)s rejected", wrong)].filter(Boolean).join(", ");
  };
  return change(groups, run, text);
}

function putAway(group) {
  const dismissal = new DismissalChange(false);
  return change([group], () => apply(dismissal, chosen(group)), (count) => dismissal.done(count));
}

function name(group) {
  const photos = chosen(group);
  selectLandmark((place) => {
    const run = async () => {
      const named = await apply(new VerdictChange("confirmed", place), photos);
      return { ...named, undo: async () => (await named.undo(), await removeAdded(place.landmark)) };
    };
    change([group], run, (count) => ngettext("%(count)s photo named %(name)s", "%(count)s photos named %(name)s", count, place), place);
  }, photos);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  const group = button?.closest("[data-group]");
  const action = button?.dataset.action;
  if (action === "confirm-all") return void review([...document.querySelectorAll("[data-group]:not([data-done])")]);
  if (action === "confirm") return void review([group]);
  if (!group) return;
  if (!chosen(group).length) return toast(gettext("No photo of this group is checked"));
  if (action === "dismiss") putAway(group);
  else name(group);
});
