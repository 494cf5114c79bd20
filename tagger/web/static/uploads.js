// Sends photos and folders that people choose or drop on a page, one by one, and has them tagged.

import { create } from "./elements.js";
import { followJobs } from "./job_events.js";
import { requestJson } from "./server.js";
import { gettext, ngettext, number } from "./texts.js";
import { toast } from "./toast.js";

const ATTEMPTS = 4; // of each photo, on a line that breaks
const WAIT_MS = 3000; // before the next one, longer each time
const MOST_NAMED = 5; // files of one reason

const most = Number(document.querySelector("[data-uploads]")?.dataset.uploads); // bytes of a file
const here = document.querySelector("[data-uploads-here]"); // fields for photos, and their status
const status = here?.querySelector("[role=status]") ?? create("span");
const bar = here?.querySelector("progress") ?? create("progress", { value: 0, "aria-label": gettext("Send photos") });
let note = null; // on other pages, what shows the status
let queue = Promise.resolve(); // files are sent in the order of their choice
let isSending = false;

const isBeside = (path) => /\.(xmp|json)$/i.test(path); // whether it is a side file
const withoutEnding = (path) => path.replace(/\.[^./]*$/, "");

/** Where a side file belongs, if its photo, the one whose name it begins with, was stored under another name. */
function besidePhoto(path, stored) {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const starts = [...stored.keys()].filter((photo) => photo.lastIndexOf("/") + 1 === folder.length && path.startsWith(withoutEnding(photo)));
  const photo = starts.sort((one, other) => other.length - one.length)[0];
  return photo ? withoutEnding(stored.get(photo)) + path.slice(withoutEnding(photo).length) : path;
}

/** Sends files, each as [path, file], side files after their photos, and starts the job. */
async function sendAll(found) {
  const files = [...found.filter(([path]) => !isBeside(path)), ...found.filter(([path]) => isBeside(path))];
  const stored = new Map(); // photos by the paths under which they were chosen
  const refused = new Map(); // the names of files that were not sent, by the reason
  const broken = []; // files that the line did not carry
  isSending = true;
  for (const [at, [path, file]] of files.entries()) {
    const place = gettext("%(number)s of %(total)s", { number: number(at + 1), total: number(files.length) });
    showProgress(at / files.length, place);
    const name = isBeside(path) ? besidePhoto(path, stored) : path;
    try {
      const received = await send(name, file, () => showProgress(at / files.length, `${place} · ${gettext("Connection lost. Trying again…")}`));
      if (!isBeside(path)) stored.set(path, received.path);
    } catch (error) {
      refused.set(error.message, [...(refused.get(error.message) ?? []), file.name]);
      if (!error.isFinal) broken.push([name, file]);
    }
  }
  isSending = false;
  const left = [...refused.values()].flat().length;
  showProgress(null, ngettext("%(count)s photo sent", "%(count)s photos sent", stored.size));
  if (left) report(left, refused, broken);
  if (stored.size) await startJob();
}

/** Shows how far it is, from 0 to 1; null: it is over. */
function showProgress(part, text) {
  if (!here && !note?.isConnected) note = toast(create("div", { className: "stack stack--tight" }, status, bar), { duration_ms: 0 });
  bar.hidden = part === null;
  bar.value = part ?? 0;
  status.textContent = text;
}

function report(left, refused, broken) {
  const reason = [...refused].map(([text, names]) => `${names.slice(0, MOST_NAMED).join(", ")}${names.length > MOST_NAMED ? ", …" : ""}: ${text}`).join(" ");
  const action = broken.length ? { text: gettext("Send again"), run: () => add(broken) } : null;
  toast(ngettext("%(count)s file was not sent: %(reason)s", "%(count)s files were not sent: %(reason)s", left, { reason }), { tone: "bad", action, duration_ms: 0 });
}

const problem = (text, isFinal) => Object.assign(new Error(text), { isFinal });

/** Sends a file; after a failure of the line, again. The server would break off a too large one before it answers. */
async function send(path, file, onLost) {
  if (file.size > most) throw problem(gettext("Files of more than %(size)s MB are refused.", { size: number(Math.floor(most / 2 ** 20)) }), true);
  for (let attempt = 1; ; attempt++) {
    try {
      const headers = { Accept: "application/json", "HX-Request": "true", "Content-Type": "application/octet-stream" };
      const response = await fetch(`/api/uploads?path=${encodeURIComponent(path)}`, { method: "POST", headers, body: file });
      if (response.ok) return await response.json();
      const { error } = await response.json();
      throw problem(error, response.status < 500 || response.status === 507);
    } catch (error) {
      if (error.isFinal) throw error;
      if (attempt === ATTEMPTS) throw problem(gettext("The server does not respond. Try again."), false);
      onLost();
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * attempt));
    }
  }
}

async function startJob() {
  try {
    const { job } = await requestJson("/api/uploads/tag", { method: "POST" });
    const begun = create("a", { href: `/jobs/${job}` }, gettext("Tagging has begun"));
    status.append(" · ", begun);
    followJobs(({ jobs, waits }) => {
      const mine = jobs.find((each) => each.job === job);
      begun.textContent = (mine?.state === "queued" && waits) || gettext("Tagging has begun");
      if (mine?.state === "finished") showEnd(mine);
    });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

function showEnd({ job, tagged, unknown }) {
  const link = create("a", { href: `/photos?job=${job}` }, gettext("Show them"));
  if (!isSending && tagged + unknown) status.replaceChildren(ngettext("%(count)s photo processed", "%(count)s photos processed", tagged + unknown), ": ", link);
}

/** Sends files after those before, without the hidden ones that systems put into folders. */
function add(found) {
  const files = found.filter(([path]) => !path.split("/").some((name) => name.startsWith(".")));
  queue = queue.then(() => (files.length ? sendAll(files) : null));
}

/** The files of what was dropped, folders with all in them. */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[entry.fullPath.slice(1), file]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!entries.length) return found;
    for (const each of entries) found.push(...(await filesOf(each)));
  }
}

here?.addEventListener("change", ({ target }) => {
  add([...target.files].map((file) => [file.webkitRelativePath || file.name, file]));
  target.value = "";
});

const hasFiles = ({ dataTransfer, target }) => most && dataTransfer?.types.includes("Files") && !target.closest?.("input[type=file]");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  document.body.toggleAttribute("data-over", true);
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? document.body.toggleAttribute("data-over", false));
document.addEventListener("drop", async (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.toggleAttribute("data-over", false);
  const files = [...event.dataTransfer.files]; // those of some programs are no entries
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) found.push(...(await filesOf(entry)));
  add(entries.length ? found : files.map((file) => [file.name, file]));
});

addEventListener("beforeunload", (event) => isSending && event.preventDefault());
