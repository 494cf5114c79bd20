// One photo: keys for its words. What is said is shown at once, and put right by what the server then says.

import { toast } from "./toast.js";

const photo = document.querySelector("[data-photo]").dataset.photo;
const said = document.getElementById("said");
const keys = document.getElementById("keys");
const another = document.getElementById("another-dialog");
const WORDS = { confirmed: ["confirmed", "chip--sure"], rejected: ["rejected", "chip--bad"] };

let chosen = null; // a slug; null: the first
let last = null; // what the last word was, and what stood there before
let turn = Promise.resolve(); // words go one after the other, so that the last one holds

const rows = () => [...document.querySelectorAll("#judgement [data-landmark]")];
const current = () => rows().find((row) => row.dataset.landmark === chosen) ?? rows()[0];

function choose(row) {
  if (!row) return;
  chosen = row.dataset.landmark;
  mark();
  said.textContent = `${row.dataset.name} chosen`;
}

function mark() {
  for (const row of rows()) row.toggleAttribute("aria-current", row.dataset.landmark === chosen);
  document.querySelector("#judgement [aria-current]")?.setAttribute("aria-current", "true");
}

async function send(method, landmark, verdict) {
  const answer = await fetch(`/api/photos/${photo}/verdicts`, {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ landmark, verdict }),
  });
  const document_ = await answer.json();
  if (!answer.ok) throw new Error(document_.error);
  return document_;
}

/** A word on a landmark, or with `back` the same taken back. */
function say(landmark, name, verdict, back = false) {
  if (!back) show(landmark, verdict);
  turn = turn.then(async () => {
    try {
      const done = await send(back ? "DELETE" : "POST", landmark, verdict);
      last = done.changed ? { landmark, name, verdict, back, before: done.before } : last;
      said.textContent = back ? `${done.name}: taken back` : `${done.name} ${verdict}`;
    } catch (error) {
      toast(`${name} stays as it was: ${error.message}`, { tone: "bad" });
      said.textContent = `${name} stays as it was`;
    }
    await refresh();
  });
}

function undo() {
  turn = turn.then(() => {
    if (!last) return void (said.textContent = "There is nothing to undo");
    const { landmark, name, verdict, back, before } = last;
    if (back) say(landmark, name, verdict);
    else if (before) say(landmark, name, before);
    else say(landmark, name, verdict, true);
  });
}

function show(landmark, verdict) {
  const row = rows().find((each) => each.dataset.landmark === landmark);
  if (!row) return;
  const chip = row.querySelector("[data-state-words]");
  row.dataset.state = verdict;
  [chip.textContent, chip.className] = [WORDS[verdict][0], `chip ${WORDS[verdict][1]}`];
}

/** What the server shows now; the page itself is asked, so there is one way of drawing it. */
async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = document.getElementById("judgement");
    const held = now.contains(document.activeElement);
    now.replaceWith(page.getElementById("judgement"));
    document.title = page.title;
    mark();
    if (held) document.getElementById("main").focus({ preventScroll: true });
  } catch {
    if (drawn) document.getElementById("judgement").replaceWith(drawn.cloneNode(true));
    toast("What stands there now is not known: the server does not answer. Load the page again.", { tone: "bad" });
    return;
  }
  drawn = document.getElementById("judgement").cloneNode(true);
}
let drawn = document.getElementById("judgement").cloneNode(true);

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#judgement form[data-word]");
  if (!form) return;
  event.preventDefault();
  const row = form.closest("[data-landmark]");
  say(row.dataset.landmark, row.dataset.name, form.dataset.word, "back" in form.dataset);
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

function list() {
  const typed = folded(document.getElementById("another-search").value.trim());
  const fits = (each) => [each.name, each.city, each.country].some((words) => words && folded(words).includes(typed));
  const found = (known ?? []).filter(fits).slice(0, 20);
  const items = found.map((each) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button--quiet";
    button.textContent = [each.name, each.city, each.country].filter(Boolean).join(", ");
    button.addEventListener("click", () => {
      another.close();
      chosen = each.landmark;
      say(each.landmark, each.name, "confirmed");
    });
    item.append(button);
    return item;
  });
  if (!items.length) {
    const none = document.createElement("li");
    none.textContent = "No model knows such a landmark.";
    items.push(none);
  }
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

const follow = (rel) => document.querySelector(`.photo-bar a[rel="${rel}"]`)?.click();
const word = (verdict) => {
  const row = current();
  if (row) say(row.dataset.landmark, row.dataset.name, verdict);
};
const ACTIONS = {
  c: () => word("confirmed"),
  r: () => word("rejected"),
  n: openAnother,
  u: undo,
  "?": () => keys.showModal(),
  ArrowLeft: () => follow("prev"),
  ArrowRight: () => follow("next"),
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select")) return;
  const action = /^[1-9]$/.test(event.key) ? () => choose(rows()[event.key - 1]) : ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
