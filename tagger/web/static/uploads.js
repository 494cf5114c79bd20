// Sends photos and folders to the server, one after the other, from a field or dropped on the page, and has them tagged.

import { create } from "./elements.js";
import { requestJson } from "./server.js";
import { gettext, ngettext, number } from "./texts.js";
import { toast } from "./toast.js";

const ATTEMPTS = 4; // of each photo, on a line that breaks
const WAIT_MS = 3000; // before the next one, longer each time

const zone = document.querySelector("[data-uploads]");
const status = zone.querySelector("[role=status]");
let queue = Promise.resolve(); // files are sent in the order in which they were chosen
let isSending = false;

/** Sends files, each as [path, file], and starts the job. */
async function sendAll(files) {
  const problems = new Set();
  let sent = 0;
  isSending = true;
  for (const [at, [path, file]] of files.entries()) {
    status.textContent = gettext("%(number)s of %(total)s", { number: number(at + 1), total: number(files.length) });
    try {
      await send(path, file);
      sent += 1;
    } catch (error) {
      problems.add(error.message);
    }
  }
  isSending = false;
  status.textContent = ngettext("%(count)s photo sent", "%(count)s photos sent", sent);
  const left = files.length - sent;
  if (left) toast(ngettext("%(count)s file was not sent: %(reason)s", "%(count)s files were not sent: %(reason)s", left, { reason: [...problems].join(" ") }), { tone: "bad", duration_ms: 0 });
  if (sent) await startJob();
}

/** Sends a file; after a failure of the line, again. The server would break off a too large one before it answers. */
async function send(path, file) {
  const most = Number(zone.dataset.uploads);
  if (file.size > most) throw new Error(gettext("Files of more than %(size)s MB are refused.", { size: number(Math.floor(most / 2 ** 20)) }));
  for (let attempt = 1; ; attempt++) {
    try {
      const headers = { Accept: "application/json", "HX-Request": "true", "Content-Type": "application/octet-stream" };
      const response = await fetch(`/api/uploads?path=${encodeURIComponent(path)}`, { method: "POST", headers, body: file });
      if (response.ok) return;
      const { error } = await response.json();
      throw Object.assign(new Error(error), { isFinal: response.status < 500 || response.status === 507 });
    } catch (error) {
      if (error.isFinal) throw error;
      if (attempt === ATTEMPTS) throw new Error(gettext("The server does not respond. Try again."));
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * attempt));
    }
  }
}

async function startJob() {
  try {
    const { job } = await requestJson("/api/uploads/tag", { method: "POST" });
    status.append(" · ", create("a", { href: `/jobs/${job}` }, gettext("They are tagged now")));
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

const add = (files) => void (queue = queue.then(() => (files.length ? sendAll(files) : null)));

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

zone.addEventListener("change", ({ target }) => {
  add([...target.files].map((file) => [file.webkitRelativePath || file.name, file]));
  target.value = "";
});

const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  zone.toggleAttribute("data-over", true);
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? zone.toggleAttribute("data-over", false));
document.addEventListener("drop", async (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  zone.toggleAttribute("data-over", false);
  const files = [...event.dataTransfer.files]; // those of some programs are no entries
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) found.push(...(await filesOf(entry)));
  add(entries.length ? found : files.map((file) => [file.name, file]));
});

addEventListener("beforeunload", (event) => isSending && event.preventDefault());
