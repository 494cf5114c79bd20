// Cards of photos in groups: a landmark is confirmed or rejected on them, or they are named, or put away. A card with a verdict stays, dimmed,
// until the page is left. One by one, a card fills the window, and the address has its id: Back returns to all cards.

import { removeAdded, selectLandmark } from "./naming.js";
import { countReviewed } from "./progress.js";
import { DismissalChange, VerdictChange } from "./selection_changes.js";
import { showFound } from "./teaching.js";
import { gettext, ngettext, number, photoCount } from "./texts.js";
import { removeUndo, toast } from "./toast.js";

const LEARN_FROM = 3; // with this many photos, a place is found in others

const announcement = document.getElementById("announcement");
const keys = document.getElementById("keys"); // the dialog; without it, photos are not shown one by one
const position = document.querySelector("[data-position]"); // one by one, the number of the photo
const undos = new Set(); // what reverts each change, the last one at the end

const allGroups = () => [...document.querySelectorAll("[data-group]")];
const allCards = () => [...document.querySelectorAll("[data-card]")];
const groupOf = (card) => card.closest("[data-group]");
const isOpen = (card) => !card.hasAttribute("data-done");
const openCards = (group) => [...group.querySelectorAll("[data-card]")].filter(isOpen);
const isTicked = (card) => card.querySelector("input").checked;
const photosOf = (cards) => cards.map(({ dataset }) => Number(dataset.photo));
const shown = () => document.querySelector("[data-card][data-shown]");

/** The cards to which the actions of their group apply: the one that is shown, or is alone in it; else those with a tick. */
function cardsOf(group) {
  if (shown()) return [shown()].filter(isOpen);
  return openCards(group).filter((card) => isAlone(group) || isTicked(card));
}

const isAlone = (group) => group.querySelectorAll("[data-card]").length === 1;

/** Writes how many photos each action applies to; without any, it cannot be chosen. */
function update() {
  const setNumber = (button, count, isShown = true) => {
    button.disabled = !count;
    const field = button.querySelector("[data-number]");
    if (field) field.textContent = isShown ? number(count) : "";
  };
  for (const group of allGroups()) {
    const total = group.querySelector("[data-photos]");
    total.textContent = photoCount(Number(total.dataset.photos) - group.querySelectorAll("[data-done]").length);
    for (const button of group.querySelectorAll('[data-action]:not([data-action="skip"])')) setNumber(button, cardsOf(group).length, !shown() && !isAlone(group));
    for (const all of group.querySelectorAll("[data-all]")) {
      const open = openCards(group);
      all.checked = open.length > 0 && open.every(isTicked);
      all.indeterminate = !all.checked && open.some(isTicked);
    }
  }
  const every = document.querySelector('[data-action="confirm-all"]');
  if (every) setNumber(every, ticked().flatMap(({ cards }) => cards).length);
}

/** The groups with a landmark that have ticks, and the cards with them. */
function ticked() {
  const groups = allGroups().filter((group) => group.dataset.landmark);
  return groups.map((group) => ({ group, cards: openCards(group).filter(isTicked) })).filter(({ cards }) => cards.length);
}

// ----- changes -----

/** Applies a change to photos; returns how many changed, and what undoes it. */
async function apply(change, photos) {
  const { changed } = photos.length ? await change.apply(photos) : { changed: [] };
  const undo = async () => {
    for (const group of change.groups(changed)) if (group.length) await change.revert(group);
  };
  return { photos: changed.length, undo };
}

/**
 * Does something in steps, one after the other: `run` resolves to the number of photos and what undoes it. The cards are done at once, and
 * the focus goes on. `textOf` says what was done; `place` is the landmark of which all photos were confirmed.
 */
async function change(steps, textOf, place = null) {
  const cards = steps.flatMap((step) => step.cards);
  const done = []; // cards and what undoes their change
  let count = 0;
  mark(cards, true);
  goOn(cards.at(-1));
  const changed = (async () => {
    for (const step of steps) {
      const { photos, undo: revert } = await step.run();
      done.push({ cards: step.cards, revert });
      count += photos;
    }
  })().catch((error) => {
    const unchanged = steps.slice(done.length).flatMap((step) => step.cards);
    mark(unchanged, false);
    if (keys && cards.length === 1) showOne(cards[0]);
    toast(gettext("The photos were not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
  });
  const undo = async () => {
    if (!undos.delete(undo)) return;
    removeUndo();
    await changed;
    if (done.length) await undoAll(done, count);
  };
  undos.add(undo);
  await changed;
  if (!done.length) undos.delete(undo);
  if (!undos.has(undo)) return;
  const text = textOf(count);
  announcement.textContent = text;
  const isLearned = place && cards.length >= LEARN_FROM && "compares" in groupOf(cards[0]).dataset;
  if (isLearned) showFound(place, text, undo);
  else toast(text, { tone: "ok", action: { text: gettext("Undo"), run: undo }, duration_ms: steps.length > 1 ? 0 : 15000 });
}

async function undoAll(done, count) {
  try {
    for (const { cards, revert } of done) {
      await revert();
      mark(cards, false);
    }
    const [card] = done[0].cards;
    if (shown()) showOne(card);
    else card.querySelector("input").focus();
    announcement.textContent = ngettext("Undone on %(count)s photo", "Undone on %(count)s photos", count);
  } catch (error) {
    toast(gettext("Not everything was undone: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

function mark(cards, isDone) {
  for (const card of cards) {
    card.toggleAttribute("data-done", isDone);
    card.querySelector("input").disabled = isDone;
  }
  countReviewed(isDone ? cards.length : -cards.length);
  update();
}

/** Moves the focus to what is next: one by one the next photo, else a card that is left in the group, or the next group. */
function goOn(card) {
  if (shown()) return showOne(following(card));
  const group = groupOf(card);
  const groups = allGroups().slice(allGroups().indexOf(group) + 1);
  const next = openCards(group)[0]?.querySelector("input") ?? groups.flatMap((each) => [...each.querySelectorAll("[data-action]:enabled")])[0];
  (next ?? document.querySelector("[data-more] a") ?? document.getElementById("main")).focus();
}

function confirm(parts) {
  const steps = parts.map(({ group, cards }) => ({ cards, run: () => apply(new VerdictChange("confirmed", group.dataset), photosOf(cards)) }));
  const [{ group }] = parts;
  const text = (count) => (steps.length > 1 ? ngettext("%(count)s photo confirmed", "%(count)s photos confirmed", count) : ngettext("%(count)s photo confirmed as %(name)s", "%(count)s photos confirmed as %(name)s", count, { name: group.dataset.name }));
  return change(steps, text, steps.length === 1 ? group.dataset : null);
}

function changeCards(cards, changeOf) {
  return change([{ cards, run: () => apply(changeOf, photosOf(cards)) }], (count) => changeOf.done(count));
}

function name(group, cards) {
  const photos = photosOf(cards);
  const { landmark, name: guess } = group.dataset;
  selectLandmark((place, isInstead) => {
    const run = async () => {
      const named = await apply(new VerdictChange("confirmed", place), photos);
      const rejected = await apply(new VerdictChange("rejected", group.dataset), isInstead && place.landmark !== landmark ? photos : []);
      return { ...named, undo: async () => (await named.undo(), await rejected.undo(), await removeAdded(place.landmark)) };
    };
    change([{ cards, run }], (count) => ngettext("%(count)s photo named %(name)s", "%(count)s photos named %(name)s", count, place), place);
  }, photos, guess ? [guess] : []);
}

// ----- one by one -----

const following = (card, step = 1) => {
  const cards = allCards();
  const others = step > 0 ? cards.slice(cards.indexOf(card) + 1).filter(isOpen) : cards.slice(0, cards.indexOf(card)).reverse();
  return others[0];
};

/** Shows a card alone; after the last one, all of them. */
function showOne(card) {
  if (!card) return showAll();
  const state = shown() ? history.state : { isOne: true };
  history[shown() ? "replaceState" : "pushState"](state, "", `#${card.id}`);
  show(card);
}

function showAll() {
  if (history.state?.isOne) return history.back();
  history.replaceState(null, "", location.pathname + location.search);
  show(null);
}

function show(card) {
  const last = shown();
  for (const each of [...allCards(), ...allGroups()]) each.toggleAttribute("data-shown", each === card || each === (card && groupOf(card)));
  document.body.toggleAttribute("data-one", Boolean(card));
  for (const [tools, isHidden] of [[".page-tools", card], [".one-tools", !card]]) document.querySelector(tools).hidden = Boolean(isHidden);
  update();
  if (!card) return (last?.querySelector("a") ?? document.getElementById("main")).focus();
  for (const each of [card, following(card)]) {
    const image = each?.querySelector("img[data-large]");
    if (!image || image.src.endsWith(image.dataset.large)) continue;
    image.style.background = `center / contain no-repeat url("${image.src}")`; // the thumbnail, until the preview is there
    [image.loading, image.decoding, image.src] = ["eager", "sync", image.dataset.large];
  }
  const total = allCards().length + Number(position.dataset.left);
  position.textContent = gettext("%(number)s of %(total)s", { number: number(allCards().indexOf(card) + 1), total: number(total) });
  const map = groupOf(card).querySelector("[data-small-map]");
  if (map) import("./map_photo.js").then(({ showPhotoMap }) => showPhotoMap(map)).catch((error) => console.warn("the map cannot be loaded:", error));
  (groupOf(card).querySelector("[data-action]:enabled") ?? document.getElementById("main")).focus();
}

/** Shows what the address says. */
function follow() {
  const card = keys && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  show(card?.matches("[data-card]") ? card : null);
}

// ----- clicks and keys -----

const ACTIONS = {
  confirm: (group, cards) => confirm([{ group, cards }]),
  reject: (group, cards) => changeCards(cards, new VerdictChange("rejected", group.dataset)),
  dismiss: (_group, cards) => changeCards(cards, new DismissalChange(false)),
  name,
  skip: () => showOne(following(shown())),
  one: () => showOne(allCards().find(isOpen)),
  all: showAll,
  keys: () => keys.showModal(),
  "confirm-all": () => confirm(ticked()),
};

document.addEventListener("click", (event) => {
  const photo = event.target.closest("[data-card] .photo-tile > a");
  if (photo && keys && !shown() && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    return showOne(photo.closest("[data-card]"));
  }
  const button = event.target.closest("[data-action]");
  if (!button) return;
  const group = button.closest("[data-group]");
  ACTIONS[button.dataset.action](group, group && cardsOf(group));
});

document.addEventListener("change", ({ target }) => {
  const all = target.closest("[data-all]");
  if (all) for (const card of openCards(groupOf(all))) card.querySelector("input").checked = all.checked;
  update();
});

const KEYS = { c: "confirm", r: "reject", n: "name", x: "dismiss", s: "skip", ArrowRight: "skip" };

document.addEventListener("keydown", (event) => {
  if (!keys || event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  if (document.querySelector("dialog[open]") || event.target.closest("textarea, select, input:not([type=checkbox])")) return;
  if (event.key === "u") return [...undos].at(-1)?.();
  if (event.key === "?") return keys.showModal();
  if (!shown()) return;
  if (event.key === "Escape") return showAll();
  if (event.key === "ArrowLeft") return void (following(shown(), -1) && showOne(following(shown(), -1)));
  const button = KEYS[event.key] && groupOf(shown()).querySelector(`[data-action="${KEYS[event.key]}"]:enabled`);
  if (!button) return;
  event.preventDefault();
  button.click();
});

addEventListener("popstate", follow);
document.addEventListener("htmx:afterSwap", update);
update();
if (location.hash) follow();
