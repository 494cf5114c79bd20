// The review queue. The pages of the next entries are fetched ahead, with their photos, and shown at once; verdicts are sent in
// the background. The entries that were shown stay, so that each can be returned to.

import { removeAdded, selectLandmark } from "./naming.js";
import { showToReview } from "./results.js";
import { sendDismissal, sendVerdict } from "./selection_changes.js";
import { requestPage } from "./server.js";
import { gettext, verdictText } from "./texts.js";
import { toast } from "./toast.js";

const AHEAD = 3; // entries that are fetched before they are shown
const announcement = document.getElementById("announcement");
const keys = document.getElementById("keys");

/** A photo and a landmark to review, or the end of the queue. */
class Entry {
  constructor(element, address) {
    this.element = element;
    this.address = address;
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
const steps = []; // verdicts that can be undone, and entries that were skipped
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
  drawUndo();
  history.replaceState(null, "", entry().address);
  if (focused) (entry().element.querySelector(`[data-action="${focused}"]`) ?? document.getElementById("main")).focus({ preventScroll: true });
  scrollTo(0, 0);
  fetchMore().catch(() => {}); // the next step says so
}

function drawUndo() {
  const button = entry().element.querySelector('[data-action="undo"]');
  if (button) button.disabled = !steps.length;
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

// ----- verdicts -----

async function send({ photo, landmark, verdict, withdraw }) {
  const method = withdraw ? "DELETE" : "POST";
  if (verdict === "dismissed") return { changed: await sendDismissal(photo, method), before: null };
  return sendVerdict(photo, method, landmark, verdict);
}

/** Gives verdicts on the shown entry, or none, which are undone in one step, and shows the next one. `text` says what was done. */
function give(text, verdicts) {
  const of = entry();
  const step = { of, text, reverse: [] };
  steps.push(step);
  of.sent = of.sent.then(async () => {
    try {
      for (const verdict of verdicts) {
        const { changed, before } = await send({ photo: of.data.photo, ...verdict });
        if (changed) step.reverse.unshift({ photo: of.data.photo, landmark: verdict.landmark, verdict: before ?? verdict.verdict, withdraw: !before });
      }
    } catch (error) {
      if (!step.reverse.length) steps.splice(steps.indexOf(step), 1);
      drawUndo();
      toast(gettext("%(name)s was not changed: %(reason)s", { name: of.data.name, reason: error.message }), { tone: "bad", action: { text: gettext("Show photo"), run: () => show(entries.indexOf(of)) } });
    }
  });
  return advance(text);
}

function giveVerdict(verdict) {
  const { landmark, name } = entry().data;
  return give(verdictText(name, verdict), [{ landmark, verdict }]);
}

const dismiss = () => give(gettext("Not a landmark"), [{ verdict: "dismissed" }]);

function undo() {
  const step = steps.pop();
  if (!step) return void toast(gettext("Nothing to undo"));
  const { of } = step;
  show(entries.indexOf(of));
  const done = gettext("%(what)s: undone.", { what: step.text });
  announcement.textContent = `${done} ${question()}`;
  of.sent = of.sent.then(async () => {
    try {
      for (const request of step.reverse) await send(request);
      for (const { landmark } of step.reverse) await removeAdded(landmark);
    } catch (error) {
      steps.push(step);
      drawUndo();
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
    give(verdictText(chosenName, "confirmed"), [{ landmark: chosen, verdict: "confirmed" }, ...rejection]);
  }, [Number(photo)], [name]);
}

// ----- keys and buttons -----

const ACTIONS = {
  confirmed: () => giveVerdict("confirmed"),
  rejected: () => giveVerdict("rejected"),
  name: openNaming,
  dismissed: dismiss,
  skip: () => give(gettext("Skipped"), []),
  undo,
  keys: () => keys.showModal(),
};
const KEYS = { c: "confirmed", r: "rejected", n: "name", x: "dismissed", s: "skip", ArrowRight: "skip", u: "undo", "?": "keys" };

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

drawUndo();
fetchMore().catch(() => {});
