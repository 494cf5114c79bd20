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

const putAwayText = (count) => ngettext("%(count)s photo put away as not a landmark", "%(count)s photos put away as not a landmark", count);

/** The photos of a group whose boxes are checked. */
const chosen = (group) => [...group.querySelectorAll("input:checked")].map(({ value }) => Number(value));

/** Does something to a group, says so by `textOf` with the number of photos, and offers to undo it. `taught`: the landmark that it names. */
async function change(group, textOf, run, reverse, taught = null) {
  setBusy(group, true);
  try {
    const changed = await run(chosen(group));
    group.toggleAttribute("data-done", true);
    const text = textOf(changed.length);
    announcement.textContent = text;
    const undo = () => undoChange(group, changed, reverse);
    if (taught) showFound(taught, text, undo);
    else toast(text, { tone: "ok", action: { text: gettext("Undo"), run: undo }, duration_ms: 15000 });
  } catch (error) {
    toast(gettext("The photos were not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
  } finally {
    setBusy(group, group.hasAttribute("data-done"));
  }
}

async function undoChange(group, changed, reverse) {
  try {
    await reverse(changed);
    group.toggleAttribute("data-done", false);
    setBusy(group, false);
    group.querySelector("[data-action]").focus();
    announcement.textContent = ngettext("Undone on %(count)s photo", "Undone on %(count)s photos", changed.length);
  } catch (error) {
    toast(gettext("Not everything was undone: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

function setBusy(group, isBusy) {
  for (const control of group.querySelectorAll("[data-action], input")) control.disabled = isBusy;
}

/** Confirms the landmark of a group on the photos whose boxes are checked, and rejects it on the others. */
async function review(group) {
  const { landmark, name } = group.dataset;
  const wrong = [...group.querySelectorAll("input:not(:checked)")].map(({ value }) => Number(value));
  let rejected = [];
  const run = async (photos) => {
    const confirmed = await give(photos, landmark, "confirmed");
    rejected = await give(wrong, landmark, "rejected");
    return confirmed;
  };
  const reverse = async (confirmed) => (await withdraw(confirmed, landmark, "confirmed"), await withdraw(rejected, landmark, "rejected"));
  const text = (count) => ngettext("%(count)s photo confirmed as %(name)s", "%(count)s photos confirmed as %(name)s", count, { name });
  const rest = wrong.length ? `, ${ngettext("%(count)s rejected", "%(count)s rejected", wrong.length)}` : "";
  await change(group, (count) => text(count) + rest, run, reverse);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-group] [data-action]");
  if (!button) return;
  const group = button.closest("[data-group]");
  const { action } = button.dataset;
  if (action === "confirm") return void review(group);
  if (!chosen(group).length) return toast(gettext("No photo of this group is checked"));
  if (action === "dismiss") return void change(group, putAwayText, dismiss("POST"), dismiss("DELETE"));
  selectLandmark((place) => {
    const { landmark, name } = place;
    const reverse = async (photos) => (await withdraw(photos, landmark, "confirmed"), await removeAdded(landmark));
    const text = (count) => ngettext("%(count)s photo named %(name)s", "%(count)s photos named %(name)s", count, { name });
    change(group, text, (photos) => give(photos, landmark, "confirmed"), reverse, place);
  }, chosen(group));
});
