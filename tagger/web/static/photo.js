// One photo: keys for its words, and for going on to the photos beside it without loading the page anew, so that no key is lost
// on the way. What is said is shown at once, and put right by what the server then says.

import { toast } from "./toast.js";

const said = document.getElementById("said");
const keys = document.getElementById("keys");
const another = document.getElementById("another-dialog");
const WORDS = { confirmed: ["confirmed", "chip--sure"], rejected: ["rejected", "chip--bad"] };

let chosen = null; // a slug; null: the first
let last = null; // what the last word was, and what stood there before
let here = location.pathname + location.search; // the address of what is shown
let drawn = document.getElementById("judgement").cloneNode(true); // as the server gave it

const number = () => document.querySelector("[data-photo]").dataset.photo;
const rows = () => [...document.querySelectorAll("#judgement [data-landmark]")];
const rowOf = (landmark) => rows().find((row) => row.dataset.landmark === landmark);
const rowOfKey = (key) => rows().find((row) => row.dataset.key === key);
const current = () => rowOf(chosen) ?? rowOfKey("1");
const unlikely = () => document.querySelector("#judgement details"); // what is folded away

// ----- one after the other -----

const waiting = []; // what was pressed while something else is being done
let isBusy = false;
let isStale = false; // what the server says of the photo now is not shown yet

/** Everything goes in the order in which it was pressed. What was meant for after something that failed is not done. */
async function inTurn(act) {
  waiting.push(act);
  if (isBusy) return;
  isBusy = true;
  while (waiting.length || isStale) {
    try {
      await (waiting.shift() ?? refresh)();
    } catch {
      waiting.length = 0;
    }
  }
  isBusy = false;
}

// Whoever leaves takes nothing back: words on this photo that still wait are sent on the way out.
addEventListener("pagehide", () => {
  const going = waiting.findIndex((act) => act.leaves);
  for (const act of waiting.splice(0, going < 0 ? waiting.length : going)) Promise.resolve(act()).catch(() => {});
  waiting.length = 0;
});

// ----- words -----

async function send(photo, method, landmark, verdict) {
  const answer = await fetch(`/api/photos/${photo}/verdicts`, {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ landmark, verdict }),
    keepalive: true,
  });
  const document_ = await answer.json();
  if (!answer.ok) throw new Error(document_.error);
  return document_;
}

/** A word on a landmark, or with `back` the same taken back. */
async function say(landmark, name, verdict, back = false, photo = number()) {
  if (!back) show(landmark, verdict);
  isStale = true;
  try {
    const done = await send(photo, back ? "DELETE" : "POST", landmark, verdict);
    last = done.changed ? { landmark, name, verdict, back, before: done.before } : last;
    said.textContent = back ? `${done.name}: taken back` : `${done.name} ${verdict}`;
  } catch (error) {
    toast(`${name} stays as it was: ${error.message}`, { tone: "bad" });
    said.textContent = `${name} stays as it was`;
    throw error;
  }
}

async function undo() {
  if (!last) return void (said.textContent = "There is nothing to undo");
  const { landmark, name, verdict, back, before } = last;
  if (back) return say(landmark, name, verdict);
  return before ? say(landmark, name, before) : say(landmark, name, verdict, true);
}

function word(verdict) {
  const row = current();
  return row && say(row.dataset.landmark, row.dataset.name, verdict);
}

function choose(row) {
  if (!row) return;
  chosen = row.dataset.landmark;
  mark();
  said.textContent = `${row.dataset.name} chosen`;
}

// ----- what is shown -----

function mark() {
  for (const row of rows()) row.removeAttribute("aria-current");
  const row = rowOf(chosen);
  row?.setAttribute("aria-current", "true");
  if (row?.closest("details")) unlikely().open = true;
}

function show(landmark, verdict) {
  const row = rowOf(landmark);
  if (!row) return;
  const chip = row.querySelector("[data-state-words]");
  row.dataset.state = verdict;
  [chip.textContent, chip.className] = [WORDS[verdict][0], `chip ${WORDS[verdict][1]}`];
}

/** The page as the server has it; it is the one that draws. */
async function page(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const page_ = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!answer.ok || !page_.getElementById("judgement")) throw new Error(`the server answered ${answer.status}`);
  return page_;
}

/** What the server says of this photo now. */
async function refresh() {
  isStale = false;
  try {
    const now = await page(here);
    if (waiting.length) isStale = true;
    else put(now, ["#judgement"]);
  } catch (error) {
    document.getElementById("judgement").replaceWith(drawn.cloneNode(true));
    toast("What stands there now is not known: the server does not answer. Load the page again.", { tone: "bad" });
    throw error;
  }
}

/** Parts of another page in place of this one's; the keyboard stays where it is, as far as that is still there. */
function put(now, parts) {
  const held = document.activeElement;
  const [landmark, rel] = [held.closest("[data-landmark]")?.dataset.landmark, held.getAttribute("rel")];
  const isOpen = unlikely()?.open;
  for (const part of parts) document.querySelector(part).replaceWith(now.querySelector(part));
  if (isOpen && unlikely()) unlikely().open = true;
  document.title = now.title;
  drawn = document.getElementById("judgement").cloneNode(true);
  mark();
  if (held.isConnected) return;
  const same = landmark ? rowOf(landmark)?.querySelector("button") : rel && beside(rel);
  (same || document.getElementById("main")).focus({ preventScroll: true });
}

// ----- the photos beside -----

const beside = (rel) => document.querySelector(`.photo-bar a[rel="${rel}"]`);

async function follow(rel) {
  const link = beside(rel);
  if (!link) return void (said.textContent = rel === "next" ? "This is the last photo" : "This is the first photo");
  try {
    const there = await page(link.href);
    history.pushState(null, "", link.href);
    arrive(there, link.getAttribute("href"));
  } catch (error) {
    if (error instanceof TypeError) toast("The photo could not be loaded: the server does not answer. Try again.", { tone: "bad" });
    else location.assign(link.href); // what is wrong stands there
    throw error;
  }
}

async function followHistory() {
  const address = location.pathname + location.search; // which may be another one by the time it is here
  if (here === address) return;
  try {
    arrive(await page(address), address);
  } catch {
    location.reload();
  }
}

function arrive(there, address) {
  here = address;
  [chosen, last, isStale] = [null, null, false];
  put(there, [".photo-bar", ".photo-split"]);
  scrollTo(0, 0);
  said.textContent = document.title;
}

const leaving = (act) => Object.assign(act, { leaves: true });

addEventListener("popstate", () => inTurn(leaving(followHistory)));

document.addEventListener("click", (event) => {
  const link = event.target.closest(".photo-bar a[rel]");
  if (!link || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  inTurn(leaving(() => follow(link.rel)));
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#judgement form[data-word]");
  if (!form) return;
  event.preventDefault();
  const [{ landmark, name }, photo] = [form.closest("[data-landmark]").dataset, number()]; // who clicks means what is seen
  inTurn(() => say(landmark, name, form.dataset.word, "back" in form.dataset, photo));
});

// ----- another landmark -----

let known = null;

async function openAnother() {
  if (!document.querySelector("[data-name-another]")) return;
  another.showModal();
  const field = document.getElementById("another-search");
  field.value = "";
  try {
    known ??= await (await fetch("/api/landmarks?all=true")).json();
    list();
  } catch {
    another.close();
    toast("The landmarks could not be loaded: the server does not answer. Try again.", { tone: "bad" });
  }
}

const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

const SHOWN = 20;

function line(words) {
  const item = document.createElement("li");
  item.className = "soft small";
  item.textContent = words;
  return item;
}

function list() {
  const typed = folded(document.getElementById("another-search").value.trim());
  const fits = (each) => [each.name, each.city, each.country].some((words) => words && folded(words).includes(typed));
  const fitting = (known ?? []).filter(fits);
  const items = fitting.slice(0, SHOWN).map((each) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button--quiet";
    const place = document.createElement("span");
    place.className = "soft";
    place.textContent = [each.city, each.country].filter(Boolean).join(", ");
    button.append(each.name, " ", place);
    button.addEventListener("click", () => {
      another.close();
      chosen = each.landmark;
      inTurn(() => say(each.landmark, each.name, "confirmed"));
    });
    item.append(button);
    return item;
  });
  if (!items.length) items.push(line("No model knows such a landmark."));
  if (fitting.length > SHOWN) items.push(line(`And ${fitting.length - SHOWN} more: type a part of the name.`));
  document.querySelector("[data-found]").replaceChildren(...items);
}

document.getElementById("another-search").addEventListener("input", list);
document.getElementById("another-search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  document.querySelector("[data-found] button")?.click();
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-name-another]")) openAnother();
  if (event.target.closest("[data-show-keys]")) keys.showModal();
});

// ----- keys -----

// `n` and `?` open something at once; all others wait for what was pressed before.
const NOW = { n: openAnother, "?": () => keys.showModal() };
const LATER = {
  c: () => word("confirmed"),
  r: () => word("rejected"),
  u: undo,
  ArrowLeft: leaving(() => follow("prev")),
  ArrowRight: leaving(() => follow("next")),
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select")) return;
  const { key } = event;
  const later = /^[1-9]$/.test(key) ? () => choose(rowOfKey(key)) : LATER[key];
  if (!later && !NOW[key]) return;
  event.preventDefault();
  if (later) inTurn(later);
  else NOW[key]();
});
