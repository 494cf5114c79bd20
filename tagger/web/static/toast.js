// Words in passing, at the foot of the page; screen readers say them. They go in by textContent, never as HTML.

/** `tone` is "ok", "bad" or nothing; `action` is { text, run } for a button such as Undo. */
export function toast(text, { tone = "", action = null, lasts_ms = 6000 } = {}) {
  const note = document.createElement("div");
  note.className = tone ? `toast toast--${tone}` : "toast";
  const words = document.createElement("span");
  words.textContent = text;
  note.append(words);
  const leave = () => note.remove();
  if (action) note.append(button(action.text, () => (leave(), action.run())));
  let timer = setTimeout(leave, lasts_ms);
  // Whoever is about to press a toast's button must not lose it.
  for (const name of ["pointerenter", "focusin"]) note.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) {
    note.addEventListener(name, () => (clearTimeout(timer), (timer = setTimeout(leave, lasts_ms))));
  }
  document.getElementById("toasts").append(note);
}

function button(text, run) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button button--small";
  made.textContent = text;
  made.addEventListener("click", run);
  return made;
}
