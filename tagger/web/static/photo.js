// One photo: keys for verdicts and for the previous and next photo. The page is not reloaded, so that no key press is lost.

import { NoResponse, requestPage } from "./server.js";
import { toast } from "./toast.js";
import { PhotoVerdicts, actionOfKey, enqueue, leaving } from "./verdicts.js";

const announcement = document.getElementById("announcement");
const keys = document.getElementById("keys");

let currentAddress = location.pathname + location.search;
const announce = (text) => void (announcement.textContent = text);
let verdicts = verdictsHere();

function verdictsHere() {
  return new PhotoVerdicts(document.querySelector(".photo-split"), {
    load: () => requestPage(currentAddress, "landmarks"),
    announce,
    fallback: document.getElementById("main"),
    onRefresh: (page) => void (document.title = page.title),
  });
}

// ----- previous and next photo -----

const neighbour = (rel) => document.querySelector(`.photo-bar a[rel="${rel}"]`);

async function follow(rel) {
  const link = neighbour(rel);
  if (!link) return announce(rel === "next" ? "This is the last photo" : "This is the first photo");
  try {
    const page = await requestPage(link.href, "landmarks");
    history.pushState(null, "", link.href);
    showPage(page, link.getAttribute("href"));
  } catch (error) {
    if (error instanceof NoResponse) toast("The photo could not be loaded: the server does not respond. Try again.", { tone: "bad" });
    else location.assign(link.href); // that page says what is wrong
    throw error;
  }
}

async function followHistory() {
  const address = location.pathname + location.search; // it may change while the page is fetched
  if (currentAddress === address) return;
  try {
    showPage(await requestPage(address, "landmarks"), address);
  } catch {
    location.reload();
  }
}

function showPage(page, address) {
  currentAddress = address;
  const focused = document.activeElement;
  const [landmark, rel] = [focused.closest("[data-landmark]")?.dataset.landmark, focused.getAttribute("rel")];
  const isOpen = verdicts.unlikely?.open;
  verdicts.leave();
  for (const part of [".photo-bar", ".photo-split"]) document.querySelector(part).replaceWith(page.querySelector(part));
  verdicts = verdictsHere();
  if (isOpen && verdicts.unlikely) verdicts.unlikely.open = true;
  document.title = page.title;
  const successor = landmark ? verdicts.rowOf(landmark)?.querySelector("button") : rel && neighbour(rel);
  if (!focused.isConnected) (successor || document.getElementById("main")).focus({ preventScroll: true });
  scrollTo(0, 0);
  announce(document.title);
}

addEventListener("popstate", () => enqueue(leaving(followHistory)));

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-show-keys]")) keys.showModal();
  const link = event.target.closest(".photo-bar a[rel]");
  if (!link || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  enqueue(leaving(() => follow(link.rel)));
});

// ----- keys -----

// `n` and `?` open a dialog at once; all others are queued.
const IMMEDIATE_KEYS = { n: () => verdicts.openNaming(), "?": () => keys.showModal() };
const QUEUED_KEYS = { ArrowLeft: leaving(() => follow("prev")), ArrowRight: leaving(() => follow("next")) };

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select")) return;
  const { key } = event;
  const verdictAction = actionOfKey(key);
  const action = verdictAction ? () => verdictAction(verdicts) : QUEUED_KEYS[key]; // of the photo that is shown when it runs
  if (!action && !IMMEDIATE_KEYS[key]) return;
  event.preventDefault();
  if (action) enqueue(action);
  else IMMEDIATE_KEYS[key]();
});
