// The form in the naming dialog that adds a landmark: its name, and its city or coordinates. Fires "added" with the landmark, or "back".

import { create, createButton } from "./elements.js";
import { requestJson } from "./server.js";
import { gettext } from "./texts.js";

const SAMPLED = 9; // photos whose positions are compared
const SETTLE_MS = 150; // cities are searched for after this pause in typing

export const newPlace = document.querySelector('#naming [data-step="new"]');
const nameField = document.getElementById("new-name");
const placeField = document.getElementById("new-place");
const list = newPlace?.querySelector("[data-places]");
const problem = newPlace?.querySelector("[data-problem]");

let place = null; // the chosen one, as the API describes it
let only = null; // the one that the text finds
let searches = 0;
let timer = null;

/** Shows the form with a name, and with the position of the photos, if cameras or tracks know it. */
export async function openNewPlace(name, photos) {
  [nameField.value, placeField.value, place, only] = [name, "", null, null];
  list.replaceChildren();
  showProblem("");
  newPlace.hidden = false;
  placeField.focus();
  const position = await ownPosition(photos);
  if (position && !placeField.value) await findPlaces(positionOf(position), gettext("Where the photo was taken"));
  if (position && only && !placeField.value) choose(only);
}

/** The position of one of the first photos, in the middle of those that cameras or tracks know. */
async function ownPosition(photos) {
  const found = await Promise.all(photos.slice(0, SAMPLED).map((photo) => requestJson(`/api/photos/${photo}`).catch(() => ({}))));
  const own = found.map(({ position }) => position).filter((each) => ["camera", "track"].includes(each?.source));
  return own.sort((one, other) => one.latitude - other.latitude)[Math.floor(own.length / 2)];
}

const textOf = ({ city, region, country }) => [city, region === city ? null : region, country].filter(Boolean).join(", ");
const positionOf = ({ latitude, longitude }) => (latitude === null ? "" : `${latitude}, ${longitude}`);
const buttons = () => [...list.querySelectorAll("button")];

function showProblem(text) {
  problem.hidden = !text;
  problem.textContent = text;
}

async function findPlaces(text, title = "") {
  const number = ++searches;
  try {
    const found = await requestJson(`/api/cities?limit=6&q=${encodeURIComponent(text)}`);
    if (number !== searches) return;
    list.replaceChildren(...found.map((each) => createItem(each, title)));
    only = found.length === 1 ? found[0] : null;
  } catch {
    // The place is optional; sending the form says that the server does not respond.
  }
}

function createItem(found, title) {
  const name = textOf(found) || gettext("far from every city");
  const text = title ? `${title}: ${name}` : [positionOf(found), name].filter(Boolean).join(": ");
  return create("li", {}, createButton(text, () => choose(found), "button--quiet"));
}

function choose(found) {
  place = found;
  placeField.value = positionOf(found) || textOf(found);
  list.replaceChildren(create("li", { className: "soft small", role: "status" }, textOf(found) || gettext("far from every city")));
  newPlace.querySelector(".button--primary").focus();
}

async function add() {
  if (placeField.value.trim()) place ??= only;
  if (!place && placeField.value.trim()) {
    const [first] = buttons();
    return showProblem(first ? gettext("Choose one of the cities, or empty the field.") : gettext("No city has this name. Write coordinates like 43.6776, 4.6309, or empty the field."));
  }
  try {
    const added = await requestJson("/api/landmarks", { method: "POST", body: { name: nameField.value, ...place } });
    newPlace.dispatchEvent(new CustomEvent("added", { detail: { ...added, other_names: [] } }));
  } catch (error) {
    showProblem(error.message);
  }
}

placeField?.addEventListener("input", () => {
  place = only = null;
  showProblem("");
  clearTimeout(timer);
  searches += 1; // answers for what was typed before are not shown
  const text = placeField.value.trim();
  if (text) timer = setTimeout(() => findPlaces(text), SETTLE_MS);
  else list.replaceChildren();
});

newPlace?.addEventListener("submit", (event) => {
  event.preventDefault();
  add();
});
newPlace?.querySelector("[data-back]").addEventListener("click", () => newPlace.dispatchEvent(new CustomEvent("back")));
newPlace?.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.closest("#new-place, [data-places] button")) return;
  event.preventDefault();
  const at = buttons().indexOf(event.target) + step;
  (at < 0 ? placeField : (buttons()[at] ?? event.target)).focus();
});
