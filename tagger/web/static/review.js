// The review queue. The pages of the next entries are fetched ahead, with their photos, and shown at once; verdicts are sent in
// the background. The entries that were shown stay, so that each can be returned to.

import { create } from "./elements.js";
import { removeAdded, selectLandmark } from "./naming.js";
import { showToReview } from "./results.js";
import { requestJson, requestPage } from "./server.js";
import { gettext, ngettext, verdictText } from "./texts.js";
import { toast } from "./toast.js";

const AHEAD = 3; // entries that are fetched before they are shown
const CHIPS = { confirmed: "chip--sure", rejected: "chip--bad", dismissed: "chip--bad" };
const announcement = document.getElementById("announcement");
const keys = document.getElementById("keys");

/** A photo and a landmark to review, or the end of the queue. `given` describes the verdict; null: none was given. */
class Entry {
  constructor(element, address) {
    this.element = element;
    this.address = address;
    this.given = null;
    this.sent = Promise.resolve(); // verdicts on one photo arrive in their order
    const image = element.querySelector(".photo-stage img");
    if (image) (this.preloaded = new Image()).src = image.getAttribute("src");
  }

  get data() {
    return this.element.dataset;
  }

  get isEnd() {
    return !this.data.next;
  }
}

const entries = [new Entry(document.getElementById("review"), location.pathname + location.search)];
const steps = []; // verdicts that can be undone, each of one entry
let current = 0;
let fetching = null;
let isWaiting = false; // for the next entry: keys are ignored, since nobody has seen its photo

const entry = () => entries[current];

// ----- fetching -----

/** Fetches the entry after the last one. Returns false at the end of the queue. */
async function fetchNext() {
  const address = entries.at(-1).data.next;
  if (!address) return false;
  const page = await requestPage(address, "review");
  entries.push(new Entry(document.adoptNode(page.getElementById("review")), address));
  showToReview(page);
  return true;
}

/** Fetches entries until `AHEAD` are ready. */
async function fetchAhead() {
  while (entries.length - current <= AHEAD && (await fetchNext()));
}

function fetchMore() {
  fetching ??= fetchAhead().finally(() => (fetching = null));
  return fetching;
}

// ----- showing -----

function show(index) {
  const focused = document.activeElement?.closest("#review [data-action]")?.dataset.action;
  const shown = document.getElementById("review");
  current = index;
  shown.replaceWith(entry().element);
  drawState();
  history.replaceState(null, "", entry().address);
  if (focused) (entry().element.querySelector(`[data-action="${focused}"]`) ?? document.getElementById("main")).focus({ preventScroll: true });
  scrollTo(0, 0);
  fetchMore().catch(() => {}); // the next step says so
}

function drawState() {
  const { element, given } = entry();
  const previous = element.querySelector('[data-action="previous"]');
  if (previous) previous.disabled = current === 0;
  const undoButton = element.querySelector('[data-action="undo"]');
  if (undoButton) undoButton.disabled = !steps.length;
  if (entry().isEnd) return drawTally();
  const state = element.querySelector("[data-state]");
  state.hidden = !given;
  state.replaceChildren(create("span", { className: `chip ${CHIPS[given?.verdict]}` }, given?.text ?? ""));
}

function drawTally() {
  const tally = entry().element.querySelector("[data-tally]");
  if (!tally) return;
  const reviewed = entries.slice(0, current);
  const count = (verdict) => reviewed.filter(({ given }) => given?.verdict === verdict).length;
  const [confirmed, rejected, dismissed, skipped] = ["confirmed", "rejected", "dismissed", undefined].map(count);
  const parts = [
    confirmed && ngettext("%(count)s confirmed", "%(count)s confirmed", confirmed),
    rejected && ngettext("%(count)s rejected", "%(count)s rejected", rejected),
    dismissed && ngettext("%(count)s not a landmark", "%(count)s not a landmark", dismissed),
    skipped && ngettext("%(count)s skipped", "%(count)s skipped", skipped),
  ];
  tally.textContent = parts.filter(Boolean).join(", ");
}

const question = () => (entry().isEnd ? document.querySelector("#review h2").textContent : `${entry().data.name}? ${document.querySelector(".review-progress").textContent}`);

/** Shows the next entry, when it is there. */
async function advance(text = "") {
  isWaiting = true;
  try {
    if (current + 1 >= entries.length) {
      entry().element.toggleAttribute("data-waiting", true);
      await fetchMore();
    }
    // The end was fetched some verdicts ago; more may have been suggested since.
    if (entries[current + 1]?.isEnd && entries.length > 1) {
      entries.pop();
      await Promise.allSettled(entries.map(({ sent }) => sent));
      await fetchMore();
    }
    if (current + 1 < entries.length) show(current + 1);
    announcement.textContent = [text, question()].filter(Boolean).join(". ");
  } catch {
    toast(gettext("The server does not respond. Try again."), { tone: "bad", action: { text: gettext("Try again"), run: () => advance() } });
  } finally {
    for (const { element } of entries) element.removeAttribute("data-waiting");
    isWaiting = false;
  }
}

function goBack() {
  if (!current) return void (announcement.textContent = gettext("This is the first photo"));
  show(current - 1);
  announcement.textContent = [question(), entry().given?.text].filter(Boolean).join(". ");
}

// ----- verdicts -----

/** Sends a verdict. The page may be left meanwhile. */
async function send({ photo, landmark, verdict, withdraw }) {
  const method = withdraw ? "DELETE" : "POST";
  if (verdict === "dismissed") {
    const { changed, confirmed } = await requestJson("/api/dismissals", { method, body: { photos: [Number(photo)] }, keepalive: true });
    if (confirmed.length) throw new Error(gettext("a landmark is confirmed on it"));
    return { changed: changed.length > 0, before: null };
  }
  return requestJson(`/api/photos/${photo}/verdicts`, { method, body: { landmark, verdict }, keepalive: true });
}

/** Gives verdicts on the shown entry, which are undone in one step, and shows the next one. */
function give(given, verdicts) {
  const of = entry();
  const step = { of, before: of.given, reverse: [] };
  of.given = given;
  steps.push(step);
  of.sent = of.sent.then(async () => {
    try {
      for (const verdict of verdicts) {
        const { changed, before } = await send({ photo: of.data.photo, ...verdict });
        if (changed) step.reverse.unshift({ photo: of.data.photo, landmark: verdict.landmark, verdict: before ?? verdict.verdict, withdraw: !before });
      }
    } catch (error) {
      of.given = step.before;
      if (!step.reverse.length) steps.splice(steps.indexOf(step), 1);
      drawState();
      toast(gettext("%(name)s was not changed: %(reason)s", { name: of.data.name, reason: error.message }), { tone: "bad", action: { text: gettext("Show photo"), run: () => show(entries.indexOf(of)) } });
    }
  });
  return advance(given.text);
}

function giveVerdict(verdict) {
  const { landmark, name } = entry().data;
  return give({ verdict, text: verdictText(name, verdict) }, [{ landmark, verdict }]);
}

const dismiss = () => give({ verdict: "dismissed", text: gettext("Not a landmark") }, [{ verdict: "dismissed" }]);

function undo() {
  const step = steps.pop();
  if (!step) return void toast(gettext("Nothing to undo"));
  const { of } = step;
  const undone = of.given;
  of.given = step.before;
  show(entries.indexOf(of));
  const done = gettext("%(what)s: undone.", { what: undone.text });
  announcement.textContent = `${done} ${question()}`;
  of.sent = of.sent.then(async () => {
    try {
      for (const request of step.reverse) await send(request);
      for (const { landmark } of step.reverse) await removeAdded(landmark);
    } catch (error) {
      of.given = undone;
      steps.push(step);
      drawState();
      toast(gettext("%(name)s was not changed: %(reason)s", { name: of.data.name, reason: error.message }), { tone: "bad" });
    }
  });
}

function openNaming() {
  const asked = entry();
  const { landmark, name, photo } = asked.data;
  selectLandmark(({ landmark: chosen, name: chosenName }, isInstead) => {
    if (entry() !== asked) return;
    const rejection = isInstead && chosen !== landmark ? [{ landmark, verdict: "rejected" }] : [];
    give({ verdict: "confirmed", text: verdictText(chosenName, "confirmed") }, [{ landmark: chosen, verdict: "confirmed" }, ...rejection]);
  }, [Number(photo)], [name]);
}

// ----- keys and buttons -----

const ACTIONS = {
  confirmed: () => giveVerdict("confirmed"),
  rejected: () => giveVerdict("rejected"),
  name: openNaming,
  dismissed: dismiss,
  skip: () => advance(gettext("Skipped")),
  undo,
  previous: goBack,
  keys: () => keys.showModal(),
};
const KEYS = { c: "confirmed", r: "rejected", n: "name", x: "dismissed", s: "skip", ArrowRight: "skip", u: "undo", ArrowLeft: "previous", "?": "keys" };

/** Runs an action that the page offers: the end of the queue has no verdicts. */
function run(name) {
  const offered = entry().element.querySelector(`[data-action="${name}"]`);
  if (offered && !isWaiting) ACTIONS[name]();
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("#review [data-action]");
  if (!control || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  run(control.dataset.action);
});

document.addEventListener("keydown", (event) => {
  const name = KEYS[event.key];
  if (!name || event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  if (document.querySelector("dialog[open]") || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  run(name);
});

drawState();
fetchMore().catch(() => {});
