// One photo: keys for its words, and for going on to the photos beside it without loading the page anew, so that no key is lost
// on the way. What is said is shown at once, and put right by what the server then says.

import { askForLandmark } from "./naming.js";
import { toast } from "./toast.js";

const said = document.getElementById("said");
const keys = document.getElementById("keys");
const WORDS = { confirmed: ["confirmed", "chip--sure"], rejected: ["rejected", "chip--bad"] };

let chosen = null; // a slug; null: the first
let steps = []; // what was said on this photo: words that go together, each with how it is taken back
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

/** One word, or with `back` one taken back. Gives it with `reverse`, the word that undoes it. */
async function give(word) {
  const { photo, landmark, name, verdict, back } = word;
  if (!back) show(landmark, verdict);
  isStale = true;
  try {
    const { changed, before, name: called } = await send(photo, back ? "DELETE" : "POST", landmark, verdict);
    const reverse = { ...word, back: !back && !before, verdict: (!back && before) || verdict };
    return { changed, reverse, words: back ? `${called}: taken back` : `${called} ${verdict}` };
  } catch (error) {
    toast(`${name} stays as it was: ${error.message}`, { tone: "bad" });
    said.textContent = `${name} stays as it was`;
    throw error;
  }
}

/** Words that go together: one step, which is undone as a whole. Sent at once, as whoever leaves takes nothing back. */
async function say(words, photo = number()) {
  const given = await Promise.allSettled(words.map((each) => give({ ...each, photo })));
  const step = given.flatMap(({ value }) => (value?.changed ? [value.reverse] : []));
  if (step.length) steps.push(step);
  tell(given);
}

async function undo() {
  if (!steps.length) return toast("There is nothing to undo");
  tell(await Promise.allSettled(steps.at(-1).map(give)));
  steps.pop();
}

function tell(given) {
  const failed = given.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  said.textContent = given.map(({ value }) => value.words).join(", ");
}

const wordOn = ({ dataset: { landmark, name } }, verdict, back = false) => ({ landmark, name, verdict, back });

function word(verdict) {
  const row = current();
  return row && say([wordOn(row, verdict)]);
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
  [chosen, steps, isStale] = [null, [], false];
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
  const [meant, photo] = [wordOn(form.closest("[data-landmark]"), form.dataset.word, "back" in form.dataset), number()]; // who clicks means what is seen
  inTurn(() => say([meant], photo));
});

// ----- another landmark -----

function openAnother() {
  if (!document.querySelector("[data-name-another]")) return;
  const photo = number();
  const others = rows().filter((row) => row.dataset.state === "accepted").map((row) => wordOn(row, "rejected"));
  const isOther = (each, taken) => each.landmark !== taken && rowOf(each.landmark)?.dataset.state !== "confirmed"; // which may wait to be said
  const take = ({ landmark, name }, isInstead) => {
    chosen = landmark;
    inTurn(() => {
      const rejected = isInstead ? others.filter((each) => isOther(each, landmark)) : [];
      return say([{ landmark, name, verdict: "confirmed", back: false }, ...rejected], photo);
    });
  };
  askForLandmark(take, others.map(({ name }) => name));
}

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
