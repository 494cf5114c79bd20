// Groups of unknown photos that look alike: each is named, or put away, at once. A group stays, dimmed, until the page is left.

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

async function name(photos, { landmark }) {
  return inPages(photos, async (page) => {
    const body = { photos: page, landmark, verdict: "confirmed" };
    return (await requestJson("/api/verdicts", { method: "POST", body })).changed.map(({ photo }) => photo);
  });
}

const unname = (photos, { landmark }) =>
  inPages(photos, async (page) => {
    await requestJson("/api/verdicts", { method: "DELETE", body: { photos: page, landmark, verdict: "confirmed" } });
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

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-group] [data-action]");
  if (!button) return;
  const group = button.closest("[data-group]");
  if (!chosen(group).length) return toast("No photo of this group is checked");
  if (button.dataset.action === "dismiss") return void change(group, "put away as not a landmark", dismiss("POST"), dismiss("DELETE"));
  selectLandmark((landmark) => change(group, `named ${landmark.name}`, (photos) => name(photos, landmark), (photos) => unname(photos, landmark)));
});
