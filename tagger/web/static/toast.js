// Short messages at the bottom of the page, read by screen readers. Text is set by textContent, never as HTML.

/** `tone` is "ok", "bad" or empty; `action` is { text, run } for a button such as Undo. */
export function toast(text, { tone = "", action = null, duration_ms = 6000 } = {}) {
  const note = document.createElement("div");
  note.className = tone ? `toast toast--${tone}` : "toast";
  const message = document.createElement("span");
  message.textContent = text;
  note.append(message);
  const remove = () => note.remove();
  if (action) note.append(button(action.text, () => (remove(), action.run())));
  let timer = setTimeout(remove, duration_ms);
  // The toast stays while the pointer or the focus is on it.
  for (const name of ["pointerenter", "focusin"]) note.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) {
    note.addEventListener(name, () => (clearTimeout(timer), (timer = setTimeout(remove, duration_ms))));
  }
  // Only a dialog's own messages are seen while it is open.
  (document.querySelector("dialog[open] > .toasts") ?? document.getElementById("toasts")).append(note);
}

function button(text, run) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button button--small";
  made.textContent = text;
  made.addEventListener("click", run);
  return made;
}
