// Updates the pages of jobs: numbers change in place; after larger changes, the server renders that part of the page again.
// Text is set by textContent. Every event holds the whole state, so a reconnect loses nothing.

import { followJobs } from "./job_events.js";
import { requestJson } from "./server.js";
import { toast } from "./toast.js";

const RECHECK_MS = 1000;
const live = () => document.querySelector("[data-live]");
const connection = document.querySelector("[data-connection]");
const announcement = document.querySelector("[data-announcement]");
const states = new Map();
let isReloading = false;
let latestVersion = null;

function announce(text) {
  announcement.textContent = text;
}

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function showJob(card, job) {
  for (const field of card.querySelectorAll("[data-field]")) setText(field, job.shown[field.dataset.field]);
  card.querySelector("[data-share]")?.setAttribute("width", job.shown.share);
  for (const figure of card.querySelectorAll("[data-number]")) showNumber(figure, job[figure.dataset.number]);
}

function showNumber(figure, count) {
  setText(figure, String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
  if ("ifAny" in figure.parentElement.dataset) figure.parentElement.hidden = count === 0;
}

function announceState(job) {
  const state = job.shown.state.split(",")[0]; // without the number of photos in progress
  const before = states.get(job.job);
  states.set(job.job, state);
  if (before && before !== state) announce(`Job ${job.job} is ${job.shown.state}. ${job.shown.counts}`);
}

function show(state) {
  const cards = new Map([...document.querySelectorAll("[data-job]")].map((card) => [Number(card.dataset.job), card]));
  for (const job of state.jobs) {
    announceState(job);
    if (cards.has(job.job)) showJob(cards.get(job.job), job);
  }
  for (const worker of state.workers) {
    setText(document.querySelector(`[data-worker="${CSS.escape(worker.name)}"]`), worker.shown);
    setText(document.querySelector(`[data-worker-chunks="${CSS.escape(worker.name)}"]`), String(worker.chunks));
  }
  for (const [name, depth] of Object.entries(state.queues)) {
    if (depth !== null) setText(document.querySelector(`[data-queue="${CSS.escape(name)}"]`), String(depth));
  }
  setText(document.querySelector("[data-last-tick]"), state.last_tick?.shown);
  latestVersion = state.version;
  if (live().dataset.version !== latestVersion) reload();
}

// The ids of what is open, or of its summary: a menu must not close under the finger that is about to press its button.
function openDetails() {
  const identified = document.querySelectorAll("details[id][open], details[open] > summary[id]");
  return [...identified].map((each) => each.id);
}

// Replaces the live part of the page. Changes during the request are noticed right after it.
async function reload() {
  if (isReloading) return;
  isReloading = true;
  let opened = [];
  let focused = null;
  document.addEventListener("htmx:beforeSwap", () => {
    opened = openDetails();
    focused = document.activeElement;
  }, { once: true });
  try {
    const parts = document.getElementById("workers") ? { select: "#live", selectOOB: "#workers,#last-tick" } : { select: "#live" };
    await window.htmx.ajax("GET", location.pathname + location.search, { target: "#live", swap: "outerHTML", ...parts });
    for (const id of opened) document.getElementById(id)?.closest("details").setAttribute("open", "");
    // htmx gives the focus back, but not to what was in a menu: that is closed until now.
    if (focused?.id && !focused.isConnected) document.getElementById(focused.id)?.focus({ preventScroll: true });
  } catch {
    // The notice about the lost connection is shown.
  } finally {
    isReloading = false;
  }
  setTimeout(() => latestVersion && live().dataset.version !== latestVersion && reload(), RECHECK_MS);
}

function showLost(isLost) {
  if (connection.hidden === isLost) connection.hidden = !isLost;
}

async function control(form) {
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  try {
    await requestJson(`/api${new URL(form.action).pathname}`, { method: "POST" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  await reload();
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-control]")) return;
  event.preventDefault();
  control(event.target);
});

// The select fills the field that is submitted, and follows what is typed there.
for (const select of document.querySelectorAll("select[data-fills]")) {
  const field = document.getElementById(select.dataset.fills);
  const custom = document.querySelectorAll(`[data-if-other="${select.id}"]`);
  const showCustom = () => custom.forEach((each) => { each.hidden = select.value !== ""; });
  showCustom();
  select.addEventListener("change", () => {
    showCustom();
    if (!select.value) return field.focus();
    field.value = select.value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  field.addEventListener("input", () => {
    const typed = field.value.trim();
    select.value = [...select.options].some((option) => option.value === typed) ? typed : "";
  });
}

if (live()) followJobs(show, showLost);
