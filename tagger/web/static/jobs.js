// Updates the pages of jobs: numbers change in place; after larger changes, htmx fetches that part of the page again (jobs_parts.html).
// Text is set by textContent. Every event holds the whole state, so a reconnect loses nothing.

import { followJobs } from "./job_events.js";
import { loadIdiomorph } from "./morphing.js";
import { number } from "./texts.js";

const live = () => document.querySelector("[data-live]");
const connection = document.querySelector("[data-connection]");

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function showJob(card, job) {
  for (const field of card.querySelectorAll("[data-field]")) setText(field, job.shown[field.dataset.field]);
  card.querySelector("[data-share]")?.setAttribute("width", job.shown.share);
  for (const figure of card.querySelectorAll("[data-number]")) showNumber(figure, job[figure.dataset.number]);
}

function showNumber(figure, count) {
  setText(figure, number(count));
  if ("ifAny" in figure.parentElement.dataset) figure.parentElement.hidden = count === 0;
}

function show(state) {
  const cards = new Map([...document.querySelectorAll("[data-job]")].map((card) => [Number(card.dataset.job), card]));
  for (const job of state.jobs) {
    if (cards.has(job.job)) showJob(cards.get(job.job), job);
  }
  for (const worker of state.workers) {
    setText(document.querySelector(`[data-worker="${CSS.escape(worker.name)}"]`), worker.shown);
  }
  setText(document.querySelector("[data-last-tick]"), state.last_tick?.shown);
  if (live().dataset.version !== state.version) live().dispatchEvent(new Event("outdated"));
}

function showLost(isLost) {
  if (connection.hidden === isLost) connection.hidden = !isLost;
}

loadIdiomorph();
// Not before htmx listens: an event that it misses is not repeated until the state changes again.
if (live()) addEventListener("DOMContentLoaded", () => followJobs(show, showLost));
