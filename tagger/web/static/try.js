// Trying photos: dropped, pasted or chosen, looked at one after the other, nothing kept. What came of one is made by the
// server (try_verdict.html), the same as where no script runs.

const form = document.querySelector(".try-form");
const input = document.getElementById("photo");
const results = document.getElementById("results");
const mostBytes = Number(form.dataset.mostBytes);

const MOST_ENLARGED = 1.5;

input.multiple = true; // a form without script sends one

let turn = Promise.resolve();

function tryPhotos(files) {
  const announced = files.map((file) => [file, announce(file)]);
  results.prepend(...announced.map(([, result]) => result));
  for (const [file, result] of announced) turn = turn.then(() => look(file, result));
}

/** A card with the photo's preview. */
function announce(file) {
  const result = document.getElementById("looking").content.cloneNode(true).querySelector(".result");
  result.querySelector("[data-name]").textContent = file.name;
  const image = result.querySelector("img");
  image.alt = `The photo ${file.name}`;
  image.addEventListener("error", () => {
    image.hidden = true;
    result.querySelector(".photo-missing").hidden = false;
  });
  image.addEventListener("load", () => { image.width = MOST_ENLARGED * image.naturalWidth; });
  image.src = URL.createObjectURL(file);
  return result;
}

async function look(file, result) {
  result.querySelector("[data-state]").textContent = "Looking…";
  result.querySelector(".working").hidden = false;
  result.querySelector(".result-slow").hidden = results.querySelector("[data-said]") !== null;
  try {
    if (file.size > mostBytes) throw new Error(tooLarge(file));
    show(result, await verdictOf(file));
  } catch (problem) {
    fail(result, problem.message);
  }
  result.removeAttribute("aria-busy");
}

async function verdictOf(file) {
  const body = new FormData();
  body.append("photo", file, file.name || "pasted photo");
  let answer;
  try {
    answer = await fetch(form.action, { method: "POST", body, headers: { "HX-Request": "true" } });
  } catch {
    throw new Error("The server does not answer. See that it still runs (tagger serve, or tagger up), then try the photo again.");
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const verdict = page.querySelector("[data-verdict]");
  if (verdict) return verdict;
  const words = (page.querySelector("[role=alert]") ?? page.querySelector("main") ?? page.body).textContent.replace(/\s+/g, " ").trim();
  throw new Error(words || `The server answered with ${answer.status}. Load the page again, then try the photo again.`);
}

function show(result, verdict) {
  result.querySelector("[data-verdict]").replaceWith(document.adoptNode(verdict));
  say(verdict.dataset.said);
}

function fail(result, text) {
  const notice = document.getElementById("failed").content.cloneNode(true);
  notice.querySelector("[data-text]").textContent = text;
  const body = result.querySelector("[data-verdict]");
  body.replaceChildren(body.querySelector("[data-name]"), notice);
  say(`${body.querySelector("[data-name]").textContent}: ${text}`);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function tooLarge(file) {
  const size = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MB`;
  return `It has ${size(file.size)}; photos of up to ${size(mostBytes)} are taken here. Make it smaller, or have the server take more with TAGGER_WEB_UPLOAD_BYTES.`;
}

for (const source of [input, document.querySelector("[data-take]")]) {
  source.addEventListener("change", () => {
    tryPhotos([...source.files]);
    source.value = ""; // so that the same photo can be chosen again
  });
}

document.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  tryPhotos([...event.clipboardData.files]);
});

// The whole window takes a drop: a photo let go beside the zone must not replace the page.
let depth = 0;
const over = (change) => {
  depth = Math.max(0, change(depth));
  document.body.classList.toggle("is-over", depth > 0);
};
document.addEventListener("dragenter", () => over((d) => d + 1));
document.addEventListener("dragleave", () => over((d) => d - 1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over(() => 0);
  tryPhotos([...event.dataTransfer.files]);
});
