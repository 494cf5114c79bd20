// Short messages at the bottom of the page, read by screen readers.

import { create, createButton } from "./elements.js";
import { gettext } from "./texts.js";

let undoable = null; // the note with the last change that can be undone

/**
 * `tone` is "ok", "bad" or empty; `action` is { text, run } for a button such as Undo. Without a duration, it stays until it is closed.
 * A note with an action replaces the one before.
 */
export function toast(text, { tone = "", action = null, duration_ms = 6000 } = {}) {
  const note = create("div", { className: tone ? `toast toast--${tone}` : "toast" }, create("span", {}, text));
  const remove = () => note.remove();
  if (action) {
    removeUndo();
    undoable = note;
    note.append(createButton(action.text, () => (remove(), action.run()), "button--small"));
  }
  if (!duration_ms) note.append(createButton("×", remove, "button--quiet button--icon button--small", { "aria-label": gettext("Close") }));
  const leave = () => duration_ms && setTimeout(remove, duration_ms);
  let timer = leave();
  // It stays while the pointer moves on it, not where one only rests, or the focus is on it.
  for (const name of ["pointermove", "focusin"]) note.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) {
    note.addEventListener(name, () => (clearTimeout(timer), (timer = leave())));
  }
  // Only a dialog's own messages are seen while it is open.
  (document.querySelector("dialog[open] > .toasts") ?? document.getElementById("toasts")).append(note);
  return note;
}

/** Removes the note of a change that is undone, or is no longer the last one, which gets the event "removed". */
export function removeUndo() {
  undoable?.dispatchEvent(new Event("removed"));
  undoable?.remove();
}
