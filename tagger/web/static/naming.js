// The dialog that asks for a landmark by a part of its name, for one photo or for many.

import { toast } from "./toast.js";

const SHOWN = 20;
const dialog = document.getElementById("naming");
const field = document.getElementById("another-search");
const found = dialog?.querySelector("[data-found]");
const instead = dialog?.querySelector("[data-instead]");

let known = null;
let take = null; // what is done with the landmark that is taken

/** `taken` is called with a landmark, and whether it stands instead of `others`, which are names. */
export async function askForLandmark(taken, others = []) {
  take = taken;
  field.value = "";
  instead.hidden = !others.length;
  instead.querySelector("input").checked = others.length > 0;
  instead.querySelector("span").textContent = `Instead of ${others.join(", ")}`;
  dialog.showModal();
  field.focus(); // not what stands before it in the page
  try {
    known ??= await (await fetch("/api/landmarks?all=true")).json();
    list();
  } catch {
    dialog.close();
    toast("The landmarks could not be loaded: the server does not answer. Try again.", { tone: "bad" });
  }
}

const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const typed = () => folded(field.value.trim());
const buttons = () => [...found.querySelectorAll("button")];

function line(words) {
  const item = document.createElement("li");
  item.className = "soft small";
  item.textContent = words;
  return item;
}

function itemOf(each) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button button--quiet";
  const place = document.createElement("span");
  place.className = "soft";
  place.textContent = [each.city, each.country].filter(Boolean).join(", ");
  button.append(each.name, " ", place);
  button.addEventListener("click", () => {
    dialog.close();
    take(each, instead.querySelector("input").checked);
  });
  item.append(button);
  return item;
}

function list() {
  const fits = (each) => [each.name, each.city, each.country].some((words) => words && folded(words).includes(typed()));
  const fitting = (known ?? []).filter(fits);
  const items = fitting.slice(0, SHOWN).map(itemOf);
  if (!items.length) items.push(line("No model knows such a landmark."));
  if (fitting.length > SHOWN) items.push(line(`And ${fitting.length - SHOWN} more: type a part of the name.`));
  found.toggleAttribute("data-typed", typed() !== "");
  found.replaceChildren(...items);
}

field?.addEventListener("input", list);
dialog?.addEventListener("keydown", (event) => {
  const { key, target } = event;
  const step = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (step && target.matches("#another-search, [data-found] button")) {
    event.preventDefault();
    const at = buttons().indexOf(target) + step;
    (at < 0 ? field : (buttons()[at] ?? target)).focus();
  } else if (key === "Enter" && target === field) {
    event.preventDefault();
    if (typed()) buttons()[0]?.click(); // of what nobody asked for, nothing is taken
  }
});
