// The progress of running jobs in the header of every view, and how many photos are to review.

import { followJobs } from "./job_events.js";
import { changes } from "./server.js";
import { gettext, ngettext, part } from "./texts.js";

const line = document.querySelector("[data-jobs-progress]");
const announcement = document.querySelector("[data-jobs-announcement]");
const MOVING = ["scanning", "queued", "running", "waiting"];
const REFRESH_MS = 3000; // changes come in rows
let before = null; // the states of jobs in the event before, by number
let numbers = null; // of photos that jobs have processed
let refresh = null;
let isLate = false; // whether numbers have changed since the refresh was planned

function show(state) {
  const moving = state.jobs.filter((job) => MOVING.includes(job.state));
  line.hidden = !moving.length;
  if (moving.length) {
    const [job] = moving;
    line.querySelector("a").href = moving.length === 1 ? `/jobs/${job.job}` : "/jobs";
    setText([ngettext("%(count)s job", "%(count)s jobs", moving.length), ...(moving.length > 1 ? [percentOf(moving)] : progressOf(job))].join(", "));
  }
  announceChanges(state.jobs);
  followNumbers(state.jobs);
  showToReview(state.to_review);
}

/** Parts of pages that show the library (data-follows-jobs) are fetched again while jobs, or people in other tabs, change it. */
function followNumbers(jobs) {
  const now = jobs.map(({ job, tagged, unknown, failed }) => `${job}: ${tagged} ${unknown} ${failed}`).join();
  const hasChanged = numbers !== null && numbers !== now;
  numbers = now;
  if (hasChanged) planRefresh();
}

function planRefresh() {
  isLate = Boolean(refresh);
  refresh ??= setTimeout(showAgain, REFRESH_MS);
}

function showAgain() {
  document.querySelectorAll("[data-follows-jobs]").forEach((element) => element.dispatchEvent(new Event("outdated")));
  refresh = isLate ? setTimeout(showAgain, REFRESH_MS) : null;
  isLate = false;
}

let toReview = null;

/** Counts photos with a verdict at once, before the server does. */
export function countReviewed(count) {
  if (toReview !== null) showToReview(Math.max(0, toReview - count));
}

/** Shows in the navigation how many photos are to review; null: not counted yet. */
function showToReview(count) {
  toReview = count;
  const badge = document.querySelector(".site-nav .nav-count");
  if (!badge || count === null) return;
  badge.hidden = !count;
  badge.firstChild.textContent = count > 999 ? "999+" : String(count);
  badge.lastChild.textContent = ` ${ngettext("photo", "photos", count)}`;
}

const progressOf = ({ state, shown }) => (state === "running" ? [shown.percent, shown.remaining].filter(Boolean) : [shown.state]);

function percentOf(jobs) {
  const sum = (name) => jobs.reduce((total, job) => total + job[name], 0);
  const total = sum("total");
  return part(total ? Math.floor((100 * (total - sum("queued") - sum("running"))) / total) / 100 : 0);
}

function setText(text) {
  const element = line.querySelector("[data-text]");
  if (element.textContent !== text) element.textContent = text;
}

/** Only starts and ends are read aloud, not each number. */
function announceChanges(jobs) {
  const states = new Map(jobs.map((job) => [job.job, job.state]));
  if (before) {
    for (const job of jobs) {
      const old = before.get(job.job);
      const isNew = old === undefined && MOVING.includes(job.state);
      if (isNew || (old !== undefined && old !== job.state && job.state === "finished")) announcement.textContent = `${gettext("Job")}: ${job.shown.state}. ${job.shown.counts}`;
    }
  }
  before = states;
}

if (line) followJobs(show);
changes.addEventListener("message", planRefresh);
