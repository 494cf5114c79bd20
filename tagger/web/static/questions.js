// Questions which place photos show. An answer confirms it on the photos that were taken there, and finds others.

import { selectLandmark } from "./naming.js";
import { requestJson } from "./server.js";
import { gettext, ngettext } from "./texts.js";
import { toast } from "./toast.js";

const addressOf = (question) => `/api/questions/${question.dataset.question}/answer`;
const boxesOf = (question) => [...question.querySelectorAll("input")];
const photosOf = (boxes) => boxes.map(({ value }) => Number(value));

/** Sends an answer; without a place, the photos show none. Its question is hidden until it is undone. */
async function answer(question, place) {
  const without = place ? photosOf(boxesOf(question).filter(({ checked }) => !checked)) : [];
  question.hidden = true;
  try {
    const { taught } = await requestJson(addressOf(question), { method: "POST", body: { place, without } });
    const text = taught ? ngettext("Found in %(count)s more photo", "Found in %(count)s more photos", taught.tagged) : gettext("You will not be asked again about these photos.");
    toast(text, { tone: "ok", action: { text: gettext("Undo"), run: () => undo(question) }, duration_ms: 0 });
  } catch (error) {
    question.hidden = false;
    toast(gettext("The photos were not changed: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

async function undo(question) {
  try {
    await requestJson(addressOf(question), { method: "DELETE" });
    question.hidden = false;
    question.querySelector("button").focus();
  } catch (error) {
    toast(gettext("Not everything was undone: %(reason)s", { reason: error.message }), { tone: "bad" });
  }
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-question] button");
  if (!button) return;
  const question = button.closest("[data-question]");
  if (!("answerOther" in button.dataset)) return void answer(question, button.dataset.answer ?? null);
  selectLandmark(({ landmark }) => void answer(question, landmark), photosOf(boxesOf(question)));
});
