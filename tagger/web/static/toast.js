// Short messages at the bottom of the page, read by screen readers.

import { create, createButton } from "./elements.js";

/** `tone` is "ok", "bad" or empty; `action` is { text, run } for a button such as Undo. */
export function toast(text, { tone = "", action = null, duration_ms = 6000 } = {}) {
  const note = create("div", { className: tone ? `toast toast--${tone}` : "toast" }, create("span", {}, text));
  const remove = () => note.remove();
  if (action) note.append(createButton(action.text, () => (remove(), action.run()), "button--small"));
  let timer = setTimeout(remove, duration_ms);
  // The toast stays while the pointer or the focus is on it.
  for (const name of ["pointerenter", "focusin"]) note.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) {
    note.addEventListener(name, () => (clearTimeout(timer), (timer = setTimeout(remove, duration_ms))));
  }
  // Only a dialog's own messages are seen while it is open.
  (document.querySelector("dialog[open] > .toasts") ?? document.getElementById("toasts")).append(note);
}
