// Groups of photos that get one verdict at once: those that look alike are named or put away, those to review are confirmed, and rejected
// where their box is not checked. A group stays, dimmed, until the page is left.

import { selectLandmark } from "./naming.js";
import { photoCount } from "./photo_count.js";
import { requestJson } from "./server.js";
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

/** The photos of a group whose boxes are checked. */
const chosen = (group) => [...group.querySelectorAll("input:checked")].map(({ value }) => Number(value));

/** Does something to a group, says so, and offers to undo it. */
async function change(group, text, run, reverse) {
  setBusy(group, true);
  try {
    const changed = await run(chosen(group));
    group.toggleAttribute("data-done", true);
    announcement.textContent = `${photoCount(changed.length)} ${text}`;
    const undo = { text: "Undo", run: () => undoChange(group, changed, reverse) };
    toast(`${photoCount(changed.length)} ${text}`, { tone: "ok", action: undo, duration_ms: 15000 });
  } catch (error) {
    toast(`The photos were not changed: ${error.message}`, { tone: "bad" });
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
    announcement.textContent = `Undone on ${photoCount(changed.length)}`;
  } catch (error) {
    toast(`Not everything was undone: ${error.message}`, { tone: "bad" });
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
  await change(group, `confirmed as ${name}${wrong.length ? `, ${wrong.length} rejected` : ""}`, run, reverse);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-group] [data-action]");
  if (!button) return;
  const group = button.closest("[data-group]");
  const { action } = button.dataset;
  if (action === "confirm") return void review(group);
  if (!chosen(group).length) return toast("No photo of this group is checked");
  if (action === "dismiss") return void change(group, "put away as not a landmark", dismiss("POST"), dismiss("DELETE"));
  selectLandmark(({ landmark, name }) =>
    change(group, `named ${name}`, (photos) => give(photos, landmark, "confirmed"), (photos) => withdraw(photos, landmark, "confirmed")));
});
