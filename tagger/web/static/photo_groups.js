// Groups of photos that get one verdict at once: those that look alike are named or put away, those to review are confirmed, and rejected
// where their box is not checked. A group stays, dimmed, until the page is left.

import { removeAdded, selectLandmark } from "./naming.js";
import { requestJson } from "./server.js";
import { showFound } from "./teaching.js";
import { gettext, ngettext } from "./texts.js";
import { toast } from "./toast.js";

const PAGE = 200; // photos per request
const announcement = document.getElementById("announcement");

/** Sends photos in pages; returns those that changed. */
async function inPages(photos, send) {
  const changed = [];
  for (let from = 0; from < photos.length; from += PAGE) changed.push(...(await send(photos.slice(from, from + PAGE))));
  return changed;
}

/** Gives a verdict; returns the photos that changed. */
const give = (photos, landmark, verdict) =>
  inPages(photos, async (page) => {
    const body = { photos: page, landmark, verdict };
    return (await requestJson("/api/verdicts", { method: "POST", body })).changed.map(({ photo }) => photo);
  });

const withdraw = (photos, landmark, verdict) =>
  inPages(photos, async (page) => {
    await requestJson("/api/verdicts", { method: "DELETE", body: { photos: page, landmark, verdict } });
    return page;
  });

const dismiss = (method) => (photos) => inPages(photos, async (page) => (await requestJson("/api/dismissals", { method, body: { photos: page } })).changed);

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
    const { landmark } = group.dataset;
    const others = numbers(group, ":not(:checked)");
    const confirmed = await give(chosen(group), landmark, "confirmed");
    const rejected = await give(others, landmark, "rejected");
    wrong += others.length;
    const undo = async () => (await withdraw(confirmed, landmark, "confirmed"), await withdraw(rejected, landmark, "rejected"));
    return { photos: confirmed.length, undo };
  };
  const text = (count) => {
    const confirmed = names.length > 1 ? ngettext("%(count)s photo confirmed", "%(count)s photos confirmed", count) : ngettext("%(count)s photo confirmed as %(name)s", "%(count)s photos confirmed as %(name)s", count, { name: names[0] });
    return [confirmed, wrong && ngettext("%(count)s rejected", "%(count)s rejected", wrong)].filter(Boolean).join(", ");
  };
  return change(groups, run, text);
}

function putAway(group) {
  const run = async () => {
    const photos = await dismiss("POST")(chosen(group));
    return { photos: photos.length, undo: () => dismiss("DELETE")(photos) };
  };
  return change([group], run, (count) => ngettext("%(count)s photo put away as not a landmark", "%(count)s photos put away as not a landmark", count));
}

function name(group) {
  const photos = chosen(group);
  selectLandmark((place) => {
    const { landmark } = place;
    const run = async () => {
      const named = await give(photos, landmark, "confirmed");
      return { photos: named.length, undo: async () => (await withdraw(named, landmark, "confirmed"), await removeAdded(landmark)) };
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
