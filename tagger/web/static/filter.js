// The filter panel beside the photos, on a phone a sheet over them. Each change shows its photos at once and has its own address; Back
// undoes it.

import { loadIdiomorph } from "./morphing.js";
import { replaceResults } from "./results.js";
import { gettext } from "./texts.js";
import { toast } from "./toast.js";

const SETTLE_MS = 200; // the arrow keys pass several choices
const OPEN = "filter panel"; // whether it stays open, in the session's storage

const isWide = matchMedia("(min-width: 64rem)");
const side = document.querySelector("[data-filter-side]");
const sheet = document.querySelector("[data-filter-sheet]");
let form = null; // while the panel is open
let shown = addressOf(location); // of the photos
let pending = null;
let timer = 0;

function addressOf({ pathname, search }) {
  return pathname + search;
}

const opener = () => document.querySelector('[data-filter-open=""]');

async function fetchPage(address, signal) {
  const response = await fetch(address, { headers: { Accept: "text/html" }, signal });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return { page, address: addressOf(new URL(response.url)) };
}

// ----- the panel -----

async function open({ focuses = true, group = "" } = {}) {
  const { page } = await fetchPage(opener().dataset.filterAddress);
  form = document.adoptNode(page.getElementById("filter-form"));
  const host = isWide.matches ? side : sheet;
  host.append(form);
  listen(form);
  if (host === sheet) sheet.showModal();
  else side.hidden = false;
  markOpener();
  if (group) showGroup(group);
  else if (focuses) host.querySelector("[data-filter-close]").focus();
}

function showGroup(group) {
  const summary = document.getElementById(`group=${group}`);
  summary?.parentElement.setAttribute("open", "");
  summary?.scrollIntoView({ block: "nearest" });
  summary?.focus({ preventScroll: true });
}

function leave() {
  if (sheet.open) sheet.close();
  else hide();
}

function hide() {
  form?.remove();
  form = null;
  side.hidden = true;
  markOpener();
  opener().focus();
}

function markOpener() {
  opener().setAttribute("aria-expanded", String(Boolean(form)));
  try {
    if (form && isWide.matches) sessionStorage.setItem(OPEN, "1");
    else sessionStorage.removeItem(OPEN);
  } catch {
    // Storage is not available: the panel is closed in the next view.
  }
}

function listen(element) {
  element.addEventListener("change", () => {
    pending?.abort();
    clearTimeout(timer);
    timer = setTimeout(() => show(formAddress()), SETTLE_MS);
  });
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    show(formAddress());
    if (sheet.open) sheet.close();
  });
  element.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    show(addressOf(link), { isAnew: true });
  });
}

function formAddress() {
  const options = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (String(value).trim()) options.append(name, String(value));
  return options.size ? `${form.getAttribute("action")}?${options}` : form.getAttribute("action");
}

/** Counts the choices again. What is typed stays unless the panel is filled `isAnew`. If the choice with the focus is folded now, the summary gets the focus. */
async function refresh(signal, isAnew) {
  if (!form) return;
  const [{ page }] = await Promise.all([fetchPage(opener().dataset.filterAddress, signal), loadIdiomorph()]);
  const counted = page.getElementById("filter-form");
  if (!form || !counted) return;
  const focused = document.activeElement;
  const hadFocus = form.contains(focused);
  const isFilled = ({ dataset }) => isAnew || dataset?.group !== "dates";
  const opened = [...form.querySelectorAll("details[open] > summary[id]")].map(({ id }) => id);
  window.Idiomorph.morph(form, counted, { callbacks: { beforeNodeMorphed: isFilled } });
  // Morphing makes a list anew, and closed, if the choice with the focus moves into it.
  for (const id of opened) document.getElementById(id)?.parentElement.setAttribute("open", "");
  if (!hadFocus) return;
  const folded = form.contains(focused) && focused.closest(".filter-rest:not([open])");
  if (folded) folded.querySelector("summary").focus({ preventScroll: true });
  else if (!form.contains(document.activeElement)) form.elements[0].focus({ preventScroll: true });
}

// ----- the photos -----

async function show(address, { isBack = false, isAnew = isBack } = {}) {
  pending?.abort();
  pending = new AbortController();
  const { signal } = pending;
  document.querySelector('[data-results="grid"]').ariaBusy = "true";
  try {
    const found = await fetchPage(address, signal);
    if (!found.page.querySelector("[data-results]")) throw new Error(gettext("the server does not respond"));
    if (!isBack && found.address !== shown) history.pushState(null, "", found.address);
    shown = found.address;
    showFiltered(found.page, isBack);
    await refresh(signal, isAnew);
  } catch (error) {
    if (error.name === "AbortError") return;
    document.querySelector('[data-results="grid"]').ariaBusy = "false";
    toast(gettext("The photos could not be filtered: %(reason)s. Try again.", { reason: error.message }), { tone: "bad" });
  }
}

function showFiltered(page, isBack) {
  const hadFocus = document.activeElement?.closest("[data-results]")?.dataset.results;
  replaceResults(page);
  document.title = page.title;
  if (hadFocus) (document.querySelector('[data-results="chips"] .chips :is(a, button)') ?? opener()).focus({ preventScroll: true });
  if (!isBack && scrollY > document.querySelector("[data-filtered]").offsetTop) scrollTo(0, 0);
}

// ----- controls -----

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-filter-close]")) return leave();
  if (event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest('[data-filter-open], [data-results="chips"] .chips a');
  if (!link) return;
  event.preventDefault();
  const group = link.dataset.filterOpen;
  if (group === undefined) show(addressOf(link), { isAnew: true });
  else if (!form) open({ group }).catch(() => toast(gettext("The server does not respond. Try again."), { tone: "bad" }));
  else if (group) showGroup(group);
  else leave();
});

sheet.addEventListener("close", hide);
document.addEventListener("results", markOpener);
isWide.addEventListener("change", () => form && leave());

addEventListener("popstate", (event) => {
  if (event.state?.lightbox || addressOf(location) === shown || document.querySelector("[data-opened]")) return;
  if (["/", "/photos"].includes(location.pathname)) show(addressOf(location), { isBack: true });
});

try {
  if (isWide.matches && sessionStorage.getItem(OPEN)) open({ focuses: false }).catch(() => {});
} catch {
  // Storage is not available.
}
