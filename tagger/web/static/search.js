// The search box: suggestions while typing, by the ARIA pattern of a combobox with a list. "/" focuses it from anywhere.

import { create } from "./elements.js";
import { requestJson } from "./server.js";
import { gettext, ngettext, photoCount } from "./texts.js";

const SETTLE_MS = 120; // suggestions are fetched after this pause in typing
const KINDS = {
  photos: gettext("Photos"), date: gettext("Date"), landmark: gettext("Landmarks"), country: gettext("Countries"), city: gettext("Cities"), region: gettext("Regions"), sight: gettext("Sights"),
  trip: gettext("Trips"), camera: gettext("Cameras"), folder: gettext("Folders"), file: gettext("Files"), outcome: gettext("State"),
};
const TYPING = "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select, [contenteditable]";

const form = document.querySelector("[data-search]");
const input = form?.querySelector("#search");
const panel = form?.querySelector("[data-panel]");
const list = form?.querySelector("[role=listbox]");
const status = form?.querySelector("[data-status]");
const hint = form?.querySelector("[data-hint]");

let found = [];
let active = -1; // the index of the option that Enter opens; -1: none, and the form is sent
let timer = null;
let request = null;
let before = null; // what had the focus before "/"

const options = () => [...list.querySelectorAll("[role=option]")];

function setUp() {
  const attributes = { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false", "aria-haspopup": "listbox" };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    request?.abort();
    if (input.value.trim()) timer = setTimeout(suggest, SETTLE_MS);
    else showHint();
  });
  input.addEventListener("focus", () => (input.value.trim() ? found.length && open() : showHint()));
  input.addEventListener("keydown", move);
  form.addEventListener("focusout", (event) => !form.contains(event.relatedTarget) && close());
  // The field keeps the focus, so that the list does not close before the click.
  panel.addEventListener("pointerdown", (event) => event.preventDefault());
  panel.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) show(options().indexOf(option));
  });
  document.addEventListener("keydown", focusBox);
  // With other filters, the photos are no longer those of the text.
  document.addEventListener("results", () => (input.value = ""));
}

/** Says what can be typed. */
function showHint() {
  found = [];
  draw();
}

async function suggest() {
  request = new AbortController();
  try {
    found = await requestJson(`/api/search?q=${encodeURIComponent(input.value)}`, { signal: request.signal });
    draw();
  } catch {
    // Another text was typed, or the server does not respond: sending the form says that.
  }
}

function draw() {
  active = -1;
  list.replaceChildren();
  for (const [index, each] of found.entries()) {
    if (each.kind !== found[index - 1]?.kind) list.append(createGroup(each.kind));
    list.lastElementChild.append(createOption(each, index));
  }
  const isSimilar = found.length > 0 && found.every(({ similar, kind }) => similar || kind === "file");
  status.classList.toggle("visually-hidden", found.length > 0 && !isSimilar);
  const number = ngettext("%(count)s suggestion", "%(count)s suggestions", found.length);
  hint.hidden = Boolean(input.value.trim());
  status.textContent = !hint.hidden ? "" : found.length === 0 ? gettext("Nothing found") : isSimilar ? gettext("No such name. Similar ones:") : number;
  if (document.activeElement === input) open();
}

function createGroup(kind) {
  const heading = create("p", { className: "search-kind", "aria-hidden": "true" }, KINDS[kind]);
  return create("div", { role: "group", "aria-label": KINDS[kind] }, heading);
}

function createOption({ label, detail, photos }, index) {
  const option = create("div", { className: "search-option", id: `search-option-${index}`, role: "option", "aria-selected": "false" });
  const count = photos === null ? "" : photoCount(photos);
  for (const [className, text] of [["search-label", label], ["search-detail", detail], ["search-count", count]]) {
    if (text) option.append(create("span", { className }, text), " ");
  }
  return option;
}

function open() {
  panel.hidden = false;
  input.setAttribute("aria-expanded", String(found.length > 0));
}

function close() {
  clearTimeout(timer);
  request?.abort();
  panel.hidden = true;
  input.setAttribute("aria-expanded", "false");
  select(-1);
}

function select(index) {
  active = index;
  for (const [number, option] of options().entries()) option.setAttribute("aria-selected", String(number === index));
  const option = options()[index];
  if (option) {
    input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  } else {
    input.removeAttribute("aria-activedescendant");
  }
}

function show(index) {
  close();
  location.assign(found[index].address);
}

function move(event) {
  if (event.isComposing) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && found.length > 0) {
    event.preventDefault();
    if (panel.hidden) open();
    // One step beyond the ends is the field itself.
    const places = found.length + 1;
    select(((active + 1 + step + places) % places) - 1);
  } else if (event.key === "Enter" && active >= 0 && !panel.hidden) {
    event.preventDefault();
    show(active);
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (!panel.hidden) return close();
    input.value = "";
    found = [];
    if (before?.isConnected) before.focus();
    else input.blur();
  }
}

function focusBox(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest?.(TYPING) || document.querySelector("dialog:modal")) return;
  event.preventDefault();
  before = document.activeElement === document.body ? null : document.activeElement;
  input.focus();
  input.select();
}

if (form) setUp();
