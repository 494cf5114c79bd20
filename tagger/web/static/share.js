// Sharing photos by a link: the dialog that makes one, copies it, and lists and revokes those that there are.

import { copyText } from "./clipboard.js";
import { photoCount } from "./photo_count.js";
import { requestJson } from "./server.js";

const dialog = document.getElementById("share-dialog"); // none on a page without photos
const part = (name) => dialog.querySelector(`[data-share-${name}]`);
const form = dialog && part("new");
const link = document.getElementById("share-link");
const LOCAL = new Set(["127.0.0.1", "localhost", "[::1]"]);

let subject = null; // what is shared: the options of a query in an address, or the numbers of photos
let listing = null; // the latest request for links

/** Opens the dialog for { query } or { photos }; `name` is what visitors read, `filter` the query in words if that says more. */
export function openShare(shared, name, filter = "") {
  subject = shared;
  form.reset();
  form.hidden = false;
  form.elements.name.value = name;
  part("title").textContent = shared.photos ? `Share ${photoCount(shared.photos.length)}` : filter ? "Share this filter" : `Share ${name}`;
  part("what").textContent = `A link shows ${filter ? `the photos of this filter (${filter})` : "these photos"} to people who do not sign in. ${
    shared.photos
      ? "The link keeps showing these photos, even if their tags change."
      : `New photos${filter ? " that match" : ""} appear; rejected ones disappear.`
  }`;
  part("all").hidden = false;
  part("existing-title").textContent = "Links so far";
  for (const name_ of ["made", "problem", "existing"]) part(name_).hidden = true;
  part("status").textContent = "";
  dialog.showModal();
  form.elements.name.focus();
  listLinks(addressOf(shared));
}

/** The address of the links that there are for this. */
const addressOf = ({ photos, query }) => `/api/shares?${photos ? "selection=1" : query}`;

async function makeLink() {
  const { name, expires, positions } = form.elements;
  const body = { photos: subject.photos, name: name.value, expires_days: expires.value ? Number(expires.value) : null, with_positions: positions.checked };
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    showLink((await requestJson(subject.query ? addressOf(subject) : "/api/shares", { method: "POST", body })).link);
    listLinks(part("all").hidden ? "/api/shares" : addressOf(subject));
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

async function listLinks(address) {
  const own = (listing = {});
  const shares = await requestJson(address).catch(() => []);
  if (listing !== own) return false; // others were asked for meanwhile
  const active = shares.filter((share) => share.state === "active");
  part("existing").hidden = !active.length;
  part("existing").querySelector("ul").replaceChildren(...active.map(createItem));
  return true;
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

async function listAll() {
  part("all").hidden = true;
  if (!(await listLinks("/api/shares"))) return;
  part("existing").hidden = false;
  const isEmpty = !part("existing").querySelector("li");
  part("existing-title").textContent = isEmpty ? "There are no links" : "All links";
  part("existing-title").focus();
}

form?.addEventListener("submit", (event) => (event.preventDefault(), makeLink()));
if (dialog) {
  part("copy").addEventListener("click", copyLink);
  part("all").addEventListener("click", listAll);
}
// A filter that changes brings another button.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-share]");
  if (button) openShare({ query: button.dataset.share }, button.dataset.shareName, button.dataset.shareFilter);
});
