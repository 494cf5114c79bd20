// The dialog that selects a landmark by part of its name, or adds one, for one photo or many.

import { create, createButton } from "./elements.js";
import { newPlace, openNewPlace } from "./new_place.js";
import { requestJson } from "./server.js";
import { gettext, ngettext } from "./texts.js";
import { toast } from "./toast.js";

const MAX_ITEMS = 20;
const dialog = document.getElementById("naming");
const field = document.getElementById("another-search");
const list = dialog?.querySelector("[data-results]");
const instead = dialog?.querySelector("[data-instead]");
const search = dialog?.querySelector('[data-step="search"]');

let landmarks = null;
let likely = { near: [], trip: [] }; // slugs of those that the photo may show
let request = null;
let onSelect = null;

const added = new Set(); // slugs of landmarks that were added here
let photos = [];

/** Calls `callback` with a landmark of these photos, which may be new, and whether it replaces the landmarks named in `others`. */
export async function selectLandmark(callback, ofPhotos, others = []) {
  if (dialog.open) return; // a late answer of the server does not replace the open question
  [onSelect, photos] = [callback, ofPhotos];
  field.value = "";
  instead.hidden = !others.length;
  instead.querySelector("input").checked = others.length > 0;
  instead.querySelector("span").textContent = gettext("Instead of %(names)s", { names: others.join(", ") });
  likely = { near: [], trip: [] };
  showSearch();
  dialog.showModal();
  field.focus(); // not the first field of the dialog
  try {
    const first = requestJson(`/photos/${photos[0]}/landmarks`).catch(() => likely); // the list has them all the same
    landmarks ??= await (request ??= requestJson("/api/landmarks?all=true")); // once: two answers would draw the list twice, during a click
    likely = await first;
    showResults();
  } catch {
    request = null;
    dialog.close();
    toast(gettext("The server does not respond. Try again."), { tone: "bad" });
  }
}

/** Removes a landmark that was added here, after its verdicts were undone. One that has others stays. */
export async function removeAdded(slug) {
  if (!added.has(slug)) return;
  const address = encodeURIComponent(slug);
  const { photos } = await requestJson(`/api/photos?landmark=${address}&verdict=confirmed&limit=1`);
  if (photos.length) return;
  const isRemoved = await requestJson(`/api/landmarks/${address}`, { method: "DELETE" }).catch(() => null);
  if (isRemoved) landmarks = landmarks.filter(({ landmark }) => landmark !== slug);
}

const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const typed = () => folded(field.value.trim());
const buttons = () => [...list.querySelectorAll("button")];
const namesOf = ({ name, other_names: others }) => [name, ...others];

const hint = (text) => create("li", { className: "soft small" }, text);

function createItem(landmark) {
  const button = createButton(`${landmark.name} `, () => choose(landmark), "button--quiet");
  button.append(create("span", { className: "soft" }, [landmark.city, landmark.country].filter(Boolean).join(", ")));
  return create("li", {}, button);
}

function choose(landmark) {
  dialog.close();
  onSelect(landmark, instead.querySelector("input").checked);
}

/** The item that adds a landmark of the typed name. */
function createNewItem(name) {
  const add = () => {
    search.hidden = true;
    openNewPlace(name, photos);
  };
  return create("li", {}, createButton(gettext("Add “%(name)s” as a new place…", { name }), add, "button--quiet", { "data-new": "" }));
}

function showSearch() {
  newPlace.hidden = true;
  search.hidden = false;
  field.focus();
}

/** The first of these landmarks as items: those near the photo, those of its trip, and the others, each under a heading. */
function createItems(matches) {
  const found = (slugs) => slugs.flatMap((slug) => matches.filter(({ landmark }) => landmark === slug));
  const near = found(likely.near);
  const trip = found(likely.trip).filter((each) => !near.includes(each));
  const others = matches.filter((each) => !near.includes(each) && !trip.includes(each));
  const items = [];
  let room = MAX_ITEMS;
  for (const [heading, group] of [[gettext("Near the photo"), near], [gettext("On its trip"), trip], [gettext("All places"), others]]) {
    const shown = group.slice(0, room);
    if (shown.length && (group !== others || items.length)) items.push(hint(heading));
    items.push(...shown.map(createItem));
    room -= shown.length;
  }
  return items;
}

function showResults() {
  // A slug has the letters of the name that people type: `lodz` for Łódź.
  const isMatch = (landmark) => [...namesOf(landmark), landmark.landmark.replaceAll("-", " "), landmark.city, landmark.country].some((text) => text && folded(text).includes(typed()));
  const matches = (landmarks ?? []).filter(isMatch);
  const isNamed = matches.some((landmark) => namesOf(landmark).some((name) => folded(name) === typed()));
  const items = createItems(matches);
  if (!items.length) items.push(hint(gettext("No place has this name yet.")));
  if (matches.length > MAX_ITEMS) items.push(hint(ngettext("%(count)s more. Type more of the name.", "%(count)s more. Type more of the name.", matches.length - MAX_ITEMS)));
  if (landmarks && typed() && !isNamed) items.push(createNewItem(field.value.trim()));
  list.toggleAttribute("data-typed", typed() !== "");
  list.replaceChildren(...items);
}

field?.addEventListener("input", showResults);
newPlace?.addEventListener("back", showSearch);
newPlace?.addEventListener("added", ({ detail: landmark }) => {
  landmarks.push(landmark);
  added.add(landmark.landmark);
  choose(landmark);
});
dialog?.addEventListener("keydown", (event) => {
  const { key, target } = event;
  const step = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (step && target.closest("#another-search, [data-results] button")) {
    event.preventDefault();
    const at = buttons().indexOf(target) + step;
    (at < 0 ? field : (buttons()[at] ?? target)).focus();
  } else if (key === "Enter" && target === field) {
    event.preventDefault();
    if (typed()) buttons()[0]?.click(); // Enter selects nothing from the unfiltered list
  } else if (key === "Escape") {
    event.preventDefault(); // a search field with text would only be emptied
    event.stopPropagation(); // what is below the dialog stays
    dialog.close();
  }
});
