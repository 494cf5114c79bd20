// Groups of photos that get one verdict at once: those that look alike are named or put away, those to review are confirmed, and rejected
// where their box is not checked. A group stays, dimmed, until the page is left. One by one, each photo is a group, and only one is shown.

import { removeAdded, selectLandmark } from "./naming.js";
import { DismissalChange, VerdictChange } from "./selection_changes.js";
import { showFound } from "./teaching.js";
import { gettext, ngettext, number, verdictText } from "./texts.js";
import { removeUndo, toast } from "./toast.js";

const LEARN_FROM = 3; // with this many photos, a place is found in others

const announcement = document.getElementById("announcement");
const keys = document.getElementById("keys"); // the dialog of the view that shows one by one
const position = document.querySelector("[data-position]"); // there, the number of the photo
const end = document.querySelector("[data-end]"); // and what follows the last one
const undos = new Set(); // what reverts each change, the last one at the end

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
  focusAfter(groups.at(-1));
  const changed = (async () => {
    for (const group of groups) {
      const { photos, undo: revert } = await run(group);
      done.push({ group, revert });
      count += photos;
      group.toggleAttribute("data-done", true);
    }
  })().catch((error) => toast(gettext("The photos were not changed: %(reason)s", { reason: error.message }), { tone: "bad" }));
  const undo = async () => {
    if (!undos.delete(undo)) return;
    removeUndo();
    await changed;
    if (done.length) await undoAll(done, count);
  };
  undos.add(undo);
  await changed;
  for (const group of groups) setBusy(group, group.hasAttribute("data-done"));
  if (!done.length) {
    undos.delete(undo);
    if (keys) show(groups[0]);
  }
  if (!undos.has(undo)) return;
  const text = textOf(count);
  announcement.textContent = text;
  if (place) showFound(place, text, undo);
  else toast(text, { tone: "ok", action: { text: gettext("Undo"), run: undo }, duration_ms: groups.length > 1 ? 0 : 15000 });
}

function focusAfter(group) {
  const every = allGroups();
  const next = every.slice(every.indexOf(group) + 1).find(({ dataset }) => !("done" in dataset));
  if (keys) show(next);
  (next?.querySelector("[data-action]") ?? end?.querySelector("a") ?? document.getElementById("main")).focus();
}

const allGroups = () => [...document.querySelectorAll("[data-group]")];
const shown = () => document.querySelector("[data-group][data-shown]");

/** Shows one photo, with its number; without one, that all were shown. */
function show(group) {
  for (const each of allGroups()) each.toggleAttribute("data-shown", each === group);
  end.hidden = Boolean(group);
  if (!group) return;
  const at = allGroups().indexOf(group);
  position.textContent = gettext("%(number)s of %(total)s", { number: number(at + 1), total: number(position.dataset.total) });
  const image = allGroups()[at + 1]?.querySelector("img");
  if (image) image.loading = "eager"; // it is there when its turn comes
}

/** Shows the photo before, whether or not it has a verdict. */
function goBack() {
  if (shown() === allGroups()[0]) return;
  show(allGroups().at(shown() ? allGroups().indexOf(shown()) - 1 : -1));
  document.getElementById("main").focus();
}

async function undoAll(done, count) {
  try {
    for (const { group, revert } of done) {
      await revert();
      group.toggleAttribute("data-done", false);
      setBusy(group, false);
    }
    if (keys) show(done[0].group);
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
  const learned = groups.length === 1 && "compares" in groups[0].dataset && chosen(groups[0]).length >= LEARN_FROM;
  return change(groups, run, text, learned ? groups[0].dataset : null);
}

function putAway(group) {
  const dismissal = new DismissalChange(false);
  return change([group], () => apply(dismissal, chosen(group)), (count) => dismissal.done(count));
}

function reject(group) {
  return change([group], () => apply(new VerdictChange("rejected", group.dataset), chosen(group)), () => verdictText(group.dataset.name, "rejected"));
}

function name(group) {
  const photos = chosen(group);
  const { landmark, name: asked } = group.dataset;
  selectLandmark((place, isInstead) => {
    const run = async () => {
      const named = await apply(new VerdictChange("confirmed", place), photos);
      const rejected = await apply(new VerdictChange("rejected", group.dataset), isInstead && place.landmark !== landmark ? photos : []);
      return { ...named, undo: async () => (await named.undo(), await rejected.undo(), await removeAdded(place.landmark)) };
    };
    change([group], run, (count) => ngettext("%(count)s photo named %(name)s", "%(count)s photos named %(name)s", count, place), photos.length < LEARN_FROM ? null : place);
  }, photos, asked ? [asked] : []);
}

const ACTIONS = { confirm: (group) => review([group]), reject, dismiss: putAway, name, skip: focusAfter };

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  const group = button?.closest("[data-group]");
  const action = button?.dataset.action;
  if (action === "confirm-all") return void review([...document.querySelectorAll("[data-group]:not([data-done])")]);
  if (action === "keys") return keys.showModal();
  if (!group) return;
  if (action !== "confirm" && !chosen(group).length) return toast(gettext("No photo of this group is checked"));
  ACTIONS[action](group);
});

const KEYS = { c: "confirm", r: "reject", n: "name", x: "dismiss", s: "skip", ArrowRight: "skip" };

document.addEventListener("keydown", (event) => {
  if (!keys || event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  if (document.querySelector("dialog[open]") || event.target.closest("input, textarea, select")) return;
  if (event.key === "u") return [...undos].at(-1)?.();
  if (event.key === "?") return keys.showModal();
  if (event.key === "ArrowLeft") return goBack();
  const button = KEYS[event.key] && shown()?.querySelector(`[data-action="${KEYS[event.key]}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
});
