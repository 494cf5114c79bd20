// One photo: keys for verdicts and for the previous and next photo. The page is not reloaded, so that no key press is lost.
// A verdict is shown at once and then replaced by the server's response.

import { selectLandmark } from "./naming.js";
import { toast } from "./toast.js";

const announcement = document.getElementById("announcement");
const keys = document.getElementById("keys");
const STATES = { confirmed: ["confirmed", "chip--sure"], rejected: ["rejected", "chip--bad"] };

let selected = null; // a slug; null: the first
let undoSteps = []; // the verdicts given on this photo, each step as the requests that undo it
let currentAddress = location.pathname + location.search;
let serverState = document.getElementById("landmarks").cloneNode(true); // as last rendered by the server

const number = () => document.querySelector("[data-photo]").dataset.photo;
const rows = () => [...document.querySelectorAll("#landmarks [data-landmark]")];
const rowOf = (landmark) => rows().find((row) => row.dataset.landmark === landmark);
const rowOfKey = (key) => rows().find((row) => row.dataset.key === key);
const current = () => rowOf(selected) ?? rowOfKey("1");
const unlikely = () => document.querySelector("#landmarks details"); // the folded rows

// ----- queue -----

const queue = []; // actions that wait for the current one
let isBusy = false;
let isStale = false; // the server's state is not shown yet

/** Runs actions in the order of the key presses. After a failure, the queued actions are dropped. */
async function enqueue(action) {
  queue.push(action);
  if (isBusy) return;
  isBusy = true;
  while (queue.length || isStale) {
    try {
      await (queue.shift() ?? refresh)();
    } catch {
      queue.length = 0;
    }
  }
  isBusy = false;
}

// When the page is left, queued verdicts on this photo are still sent; actions that lead to another photo are dropped.
addEventListener("pagehide", () => {
  const firstLeaving = queue.findIndex((action) => action.leaves);
  const remaining = queue.splice(0, firstLeaving < 0 ? queue.length : firstLeaving);
  for (const action of remaining) Promise.resolve(action()).catch(() => {});
  queue.length = 0;
});

// ----- verdicts -----

async function send(photo, method, landmark, verdict) {
  const response = await fetch(`/api/photos/${photo}/verdicts`, {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ landmark, verdict }),
    keepalive: true,
  });
  const document_ = await response.json();
  if (!response.ok) throw new Error(document_.error);
  return document_;
}

/** Gives a verdict, or with `withdraw` withdraws it. Returns `reverse`, the request that undoes it, and a text. */
async function give(request) {
  const { photo, landmark, name, verdict, withdraw: isWithdrawal } = request;
  if (!isWithdrawal) show(landmark, verdict);
  isStale = true;
  try {
    const { changed, before, name: fullName } = await send(photo, isWithdrawal ? "DELETE" : "POST", landmark, verdict);
    const reverse = { ...request, withdraw: !isWithdrawal && !before, verdict: (!isWithdrawal && before) || verdict };
    return { changed, reverse, text: isWithdrawal ? `${fullName}: verdict withdrawn` : `${fullName} ${verdict}` };
  } catch (error) {
    toast(`${name} was not changed: ${error.message}`, { tone: "bad" });
    announcement.textContent = `${name} was not changed`;
    throw error;
  }
}

/** Gives verdicts that are undone in one step. They are sent at once, since the page may be left. */
async function giveAll(requests, photo = number()) {
  const results = await Promise.allSettled(requests.map((request) => give({ ...request, photo })));
  const step = results.flatMap(({ value }) => (value?.changed ? [value.reverse] : []));
  if (step.length) undoSteps.push(step);
  announceResults(results);
}

async function undo() {
  if (!undoSteps.length) return toast("Nothing to undo");
  announceResults(await Promise.allSettled(undoSteps.at(-1).map(give)));
  undoSteps.pop();
}

function announceResults(results) {
  const failed = results.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  announcement.textContent = results.map(({ value }) => value.text).join(", ");
}

const requestOf = ({ dataset: { landmark, name } }, verdict, isWithdrawal = false) => ({ landmark, name, verdict, withdraw: isWithdrawal });

function giveSelected(verdict) {
  const row = current();
  if (!row?.querySelector("form")) return; // a read-only session
  return giveAll([requestOf(row, verdict)]);
}

function select(row) {
  if (!row) return;
  selected = row.dataset.landmark;
  markSelected();
  announcement.textContent = `${row.dataset.name} selected`;
}

// ----- display -----

function markSelected() {
  for (const row of rows()) row.removeAttribute("aria-current");
  const row = rowOf(selected);
  row?.setAttribute("aria-current", "true");
  if (row?.closest("details")) unlikely().open = true;
}

function show(landmark, verdict) {
  const row = rowOf(landmark);
  if (!row) return;
  const chip = row.querySelector("[data-state-text]");
  row.dataset.state = verdict;
  [chip.textContent, chip.className] = [STATES[verdict][0], `chip ${STATES[verdict][1]}`];
}

/** Fetches a photo's page. */
async function fetchPage(address) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok || !page.getElementById("landmarks")) throw new Error(`the server responded with status ${response.status}`);
  return page;
}

/** Shows the server's current state of this photo. */
async function refresh() {
  isStale = false;
  try {
    const page = await fetchPage(currentAddress);
    if (queue.length) isStale = true;
    else replaceParts(page, ["#landmarks"]);
  } catch (error) {
    document.getElementById("landmarks").replaceWith(serverState.cloneNode(true));
    toast("The current verdicts could not be loaded: the server does not respond. Reload the page.", { tone: "bad" });
    throw error;
  }
}

/** Replaces parts of this page by those of another one and keeps the keyboard focus if possible. */
function replaceParts(page, selectors) {
  const focused = document.activeElement;
  const [landmark, rel] = [focused.closest("[data-landmark]")?.dataset.landmark, focused.getAttribute("rel")];
  const isOpen = unlikely()?.open;
  for (const selector of selectors) document.querySelector(selector).replaceWith(page.querySelector(selector));
  if (isOpen && unlikely()) unlikely().open = true;
  document.title = page.title;
  serverState = document.getElementById("landmarks").cloneNode(true);
  markSelected();
  if (focused.isConnected) return;
  const successor = landmark ? rowOf(landmark)?.querySelector("button") : rel && neighbour(rel);
  (successor || document.getElementById("main")).focus({ preventScroll: true });
}

// ----- previous and next photo -----

const neighbour = (rel) => document.querySelector(`.photo-bar a[rel="${rel}"]`);

async function follow(rel) {
  const link = neighbour(rel);
  if (!link) return void (announcement.textContent = rel === "next" ? "This is the last photo" : "This is the first photo");
  try {
    const page = await fetchPage(link.href);
    history.pushState(null, "", link.href);
    showPage(page, link.getAttribute("href"));
  } catch (error) {
    if (error instanceof TypeError) toast("The photo could not be loaded: the server does not respond. Try again.", { tone: "bad" });
    else location.assign(link.href); // that page says what is wrong
    throw error;
  }
}

async function followHistory() {
  const address = location.pathname + location.search; // it may change while the page is fetched
  if (currentAddress === address) return;
  try {
    showPage(await fetchPage(address), address);
  } catch {
    location.reload();
  }
}

function showPage(page, address) {
  currentAddress = address;
  [selected, undoSteps, isStale] = [null, [], false];
  replaceParts(page, [".photo-bar", ".photo-split"]);
  scrollTo(0, 0);
  announcement.textContent = document.title;
}

const leaving = (action) => Object.assign(action, { leaves: true });

addEventListener("popstate", () => enqueue(leaving(followHistory)));

document.addEventListener("click", (event) => {
  const link = event.target.closest(".photo-bar a[rel]");
  if (!link || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  enqueue(leaving(() => follow(link.rel)));
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#landmarks form[data-verdict]");
  if (!form) return;
  event.preventDefault();
  // A click refers to the photo that is shown now, even if the action runs later.
  const photo = number();
  const request = requestOf(form.closest("[data-landmark]"), form.dataset.verdict, "withdraw" in form.dataset);
  enqueue(() => giveAll([request], photo));
});

// ----- another landmark -----

function openNaming() {
  if (!document.querySelector("[data-name-another]")) return;
  const photo = number();
  const others = rows().filter((row) => row.dataset.state === "accepted").map((row) => requestOf(row, "rejected"));
  // A confirmation of another landmark may have been queued meanwhile.
  const isRejected = (other, landmark) => other.landmark !== landmark && rowOf(other.landmark)?.dataset.state !== "confirmed";
  const onSelect = ({ landmark, name }, isInstead) => {
    selected = landmark;
    enqueue(() => {
      const rejections = isInstead ? others.filter((other) => isRejected(other, landmark)) : [];
      return giveAll([{ landmark, name, verdict: "confirmed", withdraw: false }, ...rejections], photo);
    });
  };
  selectLandmark(onSelect, others.map(({ name }) => name));
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-name-another]")) openNaming();
  if (event.target.closest("[data-show-keys]")) keys.showModal();
});

// ----- keys -----

// `n` and `?` open a dialog at once; all others are queued.
const IMMEDIATE_KEYS = { n: openNaming, "?": () => keys.showModal() };
const QUEUED_KEYS = {
  c: () => giveSelected("confirmed"),
  r: () => giveSelected("rejected"),
  u: undo,
  ArrowLeft: leaving(() => follow("prev")),
  ArrowRight: leaving(() => follow("next")),
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select")) return;
  const { key } = event;
  const action = /^[1-9]$/.test(key) ? () => select(rowOfKey(key)) : QUEUED_KEYS[key];
  if (!action && !IMMEDIATE_KEYS[key]) return;
  event.preventDefault();
  if (action) enqueue(action);
  else IMMEDIATE_KEYS[key]();
});
