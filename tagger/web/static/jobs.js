// Keeps the pages of jobs fresh: numbers change in place; where more has changed, the server's own piece of the page is put in.
// Everything that is told goes in by textContent. After a lost connection the first event holds all there is.

import { toast } from "./toast.js";

const RETRY_MS = 4000;
const SOON_MS = 1000;
const live = () => document.querySelector("[data-live]");
const connection = document.querySelector("[data-connection]");
const said = document.querySelector("[data-said]");
const states = new Map();
let asking = false;
let latest = null;
let source = null;

function say(text) {
  said.textContent = text;
}

function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function showJob(card, job) {
  for (const field of card.querySelectorAll("[data-field]")) put(field, job.shown[field.dataset.field]);
  card.querySelector("[data-share]")?.setAttribute("width", job.shown.share);
  for (const figure of card.querySelectorAll("[data-number]")) showNumber(figure, job[figure.dataset.number]);
}

function showNumber(figure, count) {
  put(figure, String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
  if ("ifAny" in figure.parentElement.dataset) figure.parentElement.hidden = count === 0;
}

function announce(job) {
  const before = states.get(job.job);
  states.set(job.job, job.state);
  if (before && before !== job.state) say(`Job ${job.job} is ${job.shown.state}. ${job.shown.sums}`);
}

function show(now) {
  const cards = new Map([...document.querySelectorAll("[data-job]")].map((card) => [Number(card.dataset.job), card]));
  for (const job of now.jobs) {
    announce(job);
    if (cards.has(job.job)) showJob(cards.get(job.job), job);
  }
  for (const worker of now.workers) {
    put(document.querySelector(`[data-worker="${CSS.escape(worker.name)}"]`), worker.shown);
  }
  for (const [name, depth] of Object.entries(now.queues)) {
    if (depth !== null) put(document.querySelector(`[data-queue="${CSS.escape(name)}"]`), String(depth));
  }
  latest = now.shape;
  if (live().dataset.shape !== latest) renew();
}

// The server makes that piece of the page anew. What has changed while it did is seen right after.
async function renew() {
  if (asking) return;
  asking = true;
  try {
    const pieces = document.getElementById("workers") ? { select: "#live", selectOOB: "#workers" } : { select: "#live" };
    await window.htmx.ajax("GET", location.pathname + location.search, { target: "#live", swap: "outerHTML", ...pieces });
  } catch {
    // The server is away; the lost connection says so.
  } finally {
    asking = false;
  }
  setTimeout(() => latest && live().dataset.shape !== latest && renew(), SOON_MS);
}

function lost(is) {
  if (connection.hidden === is) connection.hidden = !is;
}

function listen() {
  source = new EventSource("/api/events");
  source.addEventListener("state", (event) => {
    lost(false);
    show(JSON.parse(event.data));
  });
  source.addEventListener("error", (event) => {
    lost(true);
    // Browsers try again by themselves, but not after an answer that was an error.
    if (event.target === source && source.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
  });
}

async function steer(form) {
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  try {
    const answer = await fetch(`/api${new URL(form.action).pathname}`, { method: "POST" });
    const document_ = await answer.json();
    if (!answer.ok) toast(document_.error, { tone: "bad" });
  } catch {
    toast("The server does not answer. Try again when it is back.", { tone: "bad" });
  }
  await renew();
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-steer]")) return;
  event.preventDefault();
  steer(event.target);
});

// The select fills the field that is sent, and shows what stands in it.
for (const select of document.querySelectorAll("select[data-fills]")) {
  const field = document.getElementById(select.dataset.fills);
  select.addEventListener("change", () => {
    if (!select.value) return field.focus();
    field.value = select.value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  field.addEventListener("input", () => {
    const typed = field.value.trim();
    select.value = [...select.options].some((option) => option.value === typed) ? typed : "";
  });
}

if (live()) {
  listen();
  // A page that is kept for going back holds no connection; when it is shown again it listens again.
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
}
