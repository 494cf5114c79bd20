// Sharing photos by a link: the dialog that makes one, copies it, and lists and revokes those that there are.

import { copyText } from "./clipboard.js";
import { photoCount } from "./photo_count.js";
import { requestJson } from "./server.js";

const dialog = document.getElementById("share-dialog"); // none on a page without photos
const part = (name) => dialog.querySelector(`[data-share-${name}]`);
const form = dialog && part("new");
const link = document.getElementById("share-link");
const LOCAL = new Set(["127.0.0.1", "localhost", "[::1]"]);

let subject = null; // what is shared: { landmark }, { trip } or { photos }

/** Opens the dialog for a landmark or trip, or for photos by number; `name` is what visitors read. */
export function openShare(shared, name) {
  subject = shared;
  form.reset();
  form.hidden = false;
  form.elements.name.value = name;
  part("title").textContent = shared.photos ? `Share ${photoCount(shared.photos.length)}` : `Share ${name}`;
  part("what").textContent = shared.photos
    ? "A link shows these photos to people who do not sign in. The link keeps showing these photos, even if their tags change."
    : "A link shows these photos to people who do not sign in. New photos appear; rejected ones disappear.";
  for (const name_ of ["made", "problem", "existing"]) part(name_).hidden = true;
  part("status").textContent = "";
  dialog.showModal();
  form.elements.name.focus();
  listLinks();
}

async function makeLink() {
  const { name, expires, positions } = form.elements;
  const body = { ...subject, name: name.value, expires_days: expires.value ? Number(expires.value) : null, with_positions: positions.checked };
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    showLink((await requestJson("/api/shares", { method: "POST", body })).link);
    listLinks();
  } catch (error) {
    showProblem(error.message);
  } finally {
    button.disabled = false;
  }
}

function showLink(address) {
  const url = new URL(address, location.origin);
  link.value = url.href;
  part("local").hidden = !LOCAL.has(url.hostname);
  form.hidden = true;
  part("made").hidden = false;
  part("copy").textContent = "Copy the link";
  part("copy").focus();
  part("status").textContent = "The link is ready.";
}

function showProblem(text) {
  part("problem").textContent = text;
  part("problem").hidden = false;
}

async function copyLink() {
  const isCopied = await copyText(link);
  part("copy").textContent = isCopied ? "Copied" : "Copy it by hand";
  part("status").textContent = isCopied ? "The link is copied." : "The link is selected: copy it by hand.";
}

// ----- links that there are -----

async function listLinks() {
  const shown = subject;
  const query = new URLSearchParams(subject.photos ? { selection: "1" } : subject);
  const shares = await requestJson(`/api/shares?${query}`).catch(() => []);
  if (subject !== shown) return; // the dialog was opened for something else meanwhile
  const active = shares.filter((share) => share.state === "active");
  part("existing").hidden = !active.length;
  part("existing").querySelector("ul").replaceChildren(...active.map(createItem));
}

function createItem(share) {
  const item = document.createElement("li");
  const words = document.createElement("span");
  const end = share.expires_at ? `until ${share.expires_at.slice(0, 10)}` : "for ever";
  const photos = share.photos === null ? "" : `${photoCount(share.photos)}, `;
  words.textContent = `${share.name}: ${photos}${end}${share.with_positions ? ", with positions" : ""}`;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button button--small button--danger";
  button.textContent = "Revoke";
  button.setAttribute("aria-label", `Revoke the link ${share.id}: ${words.textContent}`);
  button.addEventListener("click", () => revoke(share, item, button));
  item.append(words, button);
  return item;
}

async function revoke(share, item, button) {
  button.disabled = true;
  try {
    await requestJson(`/api/shares/${share.id}`, { method: "DELETE" });
    item.replaceChildren(`${share.name}: revoked`);
    part("status").textContent = "The link is revoked.";
    dialog.querySelector('form[method="dialog"] button').focus();
  } catch (error) {
    button.disabled = false;
    part("status").textContent = `The link was not revoked: ${error.message}`;
  }
}

form?.addEventListener("submit", (event) => (event.preventDefault(), makeLink()));
if (dialog) part("copy").addEventListener("click", copyLink);
for (const button of document.querySelectorAll("[data-share]:is(button)")) {
  button.addEventListener("click", () => openShare(JSON.parse(button.dataset.share), button.dataset.shareName));
}
