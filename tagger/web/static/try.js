// Classifies photos that are dropped, pasted or chosen, one after another. The server renders the results
// (try_result.html), as it does without this script.

import { gettext } from "./texts.js";

const form = document.querySelector(".try-form");
const input = document.getElementById("photo");
const results = document.getElementById("results");
const maxBytes = Number(form.dataset.maxBytes);

const MAX_SCALE = 1.5;

input.multiple = true; // without script, the form sends one photo

let queue = Promise.resolve();

function tryPhotos(files) {
  const cards = files.map((file) => [file, createCard(file)]);
  results.prepend(...cards.map(([, card]) => card));
  for (const [file, card] of cards) queue = queue.then(() => classify(file, card));
}

/** A card with a preview of the photo. */
function createCard(file) {
  const card = document.getElementById("pending").content.cloneNode(true).querySelector(".result");
  card.querySelector("[data-name]").textContent = file.name;
  const image = card.querySelector("img");
  image.alt = gettext("The photo %(file)s", { file: file.name });
  image.addEventListener("error", () => {
    image.hidden = true;
    card.querySelector(".photo-missing").hidden = false;
  });
  image.addEventListener("load", () => { image.width = MAX_SCALE * image.naturalWidth; });
  image.src = URL.createObjectURL(file);
  return card;
}

async function classify(file, card) {
  card.querySelector("[data-state]").textContent = gettext("Processing…");
  card.querySelector(".working").hidden = false;
  card.querySelector(".result-slow").hidden = results.querySelector("[data-announcement]") !== null;
  try {
    if (file.size > maxBytes) throw new Error(tooLarge(file));
    show(card, await fetchResult(file));
  } catch (error) {
    fail(card, error.message);
  }
  card.removeAttribute("aria-busy");
}

async function fetchResult(file) {
  const body = new FormData();
  body.append("photo", file, file.name || gettext("pasted photo"));
  let response;
  try {
    response = await fetch(form.action, { method: "POST", body, headers: { "HX-Request": "true" } });
  } catch {
    throw new Error(gettext("The server does not respond. Try again."));
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const result = page.querySelector("[data-result]");
  if (result) return result;
  const text = (page.querySelector("[role=alert]") ?? page.querySelector("main") ?? page.body).textContent.replace(/\s+/g, " ").trim();
  throw new Error(text || gettext("The server responded with status %(status)s.", { status: response.status }));
}

function show(card, result) {
  card.querySelector("[data-result]").replaceWith(document.adoptNode(result));
  announce(result.dataset.announcement);
}

function fail(card, text) {
  const notice = document.getElementById("failed").content.cloneNode(true);
  notice.querySelector("[data-text]").textContent = text;
  const body = card.querySelector("[data-result]");
  body.replaceChildren(body.querySelector("[data-name]"), notice);
  announce(`${body.querySelector("[data-name]").textContent}: ${text}`);
}

function announce(text) {
  document.getElementById("announcement").textContent = text;
}

function tooLarge(file) {
  const size = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MB`;
  return gettext("The photo has %(size)s; the limit is %(limit)s.", { size: size(file.size), limit: size(maxBytes) });
}

for (const source of [input, document.querySelector("[data-take]")]) {
  source.addEventListener("change", () => {
    tryPhotos([...source.files]);
    source.value = ""; // otherwise choosing the same photo again has no effect
  });
}

document.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  tryPhotos([...event.clipboardData.files]);
});

document.addEventListener("dragover", (event) => event.preventDefault()); // otherwise the browser opens the photo in place of the page
document.addEventListener("drop", (event) => {
  event.preventDefault();
  tryPhotos([...event.dataTransfer.files]);
});
