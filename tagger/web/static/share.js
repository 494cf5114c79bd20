// Sharing photos by a link: the dialog that makes one, copies it, and lists and revokes existing ones.

import { create, createButton } from "./elements.js";
import { requestJson } from "./server.js";
import { dayText, gettext, ngettext } from "./texts.js";

const dialog = document.getElementById("share-dialog"); // none on a page without photos
const part = (name) => dialog.querySelector(`[data-share-${name}]`);
const form = dialog && part("new");
const link = document.getElementById("share-link");
const LOCAL = new Set(["127.0.0.1", "localhost", "[::1]"]);

let subject = null; // what is shared: the options of a query in an address, or the numbers of photos
let listing = null; // the latest request for links

/** Opens the dialog for { query } or { photos }; visitors read `title`, or `name` if they see positions. `filter` is the query in words if that says more. */
export function openShare(shared, name, title = name, filter = "") {
  const own = (subject = { ...shared, name, title, filter, isAll: shared.query === "any_rank=1" });
  form.reset();
  form.hidden = false;
  form.elements.name.value = title;
  part("title").textContent = titleOf(own, name);
  describe(own, null);
  if (shared.query) countPhotos(shared.query).then((count) => subject === own && describe(own, count));
  part("all").hidden = false;
  part("existing-title").textContent = gettext("Links so far");
  for (const name_ of ["made", "problem", "existing"]) part(name_).hidden = true;
  part("status").textContent = "";
  dialog.showModal();
  form.elements.name.focus();
  listLinks(addressOf(shared));
}

/** The address that lists the existing links for this. */
const addressOf = ({ photos, query }) => `/api/shares?${photos ? "selection=1" : query}`;

/** Counts photos as visitors see them: exact copies are one photo. */
const countPhotos = (query) => requestJson(`/api/timeline?${query}`).then((sections) => sections.reduce((sum, { photos }) => sum + photos, 0), () => null);

function titleOf({ photos, filter, isAll }, name) {
  if (photos) return ngettext("Share %(count)s photo", "Share %(count)s photos", photos.length);
  if (isAll) return gettext("Share all photos");
  return filter ? gettext("Share this filter") : gettext("Share %(name)s", { name });
}

function describe({ photos, filter, isAll }, count) {
  const what = isAll
    ? gettext("A link shows all photos to people who do not sign in.")
    : filter
      ? gettext("A link shows the photos of this filter (%(filter)s) to people who do not sign in.", { filter })
      : gettext("A link shows these photos to people who do not sign in.");
  const now = photos || count === null ? [] : [ngettext("Now it is %(count)s photo.", "Now these are %(count)s photos.", count)];
  const later = photos
    ? gettext("The link keeps showing these photos, even if their tags change.")
    : gettext("New photos that match appear; rejected ones disappear.");
  part("what").textContent = [what, ...now, later].join(" ");
  if (isAll && count !== null) part("title").textContent = ngettext("Share all %(count)s photo?", "Share all %(count)s photos?", count);
}

/** Changes the title that is proposed; one that a person typed stays. */
function proposeTitle() {
  const { name, positions } = form.elements;
  const [before, after] = positions.checked ? [subject.title, subject.name] : [subject.name, subject.title];
  if (name.value === before) name.value = after;
}

async function makeLink() {
  const { name, expires, positions } = form.elements;
  const body = { photos: subject.photos, name: name.value, expires_days: expires.value ? Number(expires.value) : null, with_positions: positions.checked };
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    showLink((await requestJson(subject.query ? addressOf(subject) : "/api/shares", { method: "POST", body })).link);
    listLinks(part("all").hidden ? "/api/shares" : addressOf(subject));
  } catch (error) {
    part("problem").textContent = error.message;
    part("problem").hidden = false;
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
  part("copy").textContent = gettext("Copy the link");
  part("copy").focus();
  part("status").textContent = gettext("The link is ready.");
}

async function copyLink() {
  const isCopied = await copyText(link);
  part("copy").textContent = isCopied ? gettext("Copied") : gettext("Copy it by hand");
  part("status").textContent = isCopied ? gettext("The link is copied.") : gettext("The link is selected: copy it by hand.");
}

// ----- existing links -----

async function listLinks(address) {
  const own = (listing = {});
  const shares = await requestJson(address).catch(() => []);
  if (listing !== own) return false; // other links were requested meanwhile
  const active = shares.filter((share) => share.state === "active");
  part("existing").hidden = !active.length;
  part("existing").querySelector("ul").replaceChildren(...active.map(createItem));
  return true;
}

function createItem(share) {
  const end = share.expires_at ? gettext("until %(date)s", { date: dayText(share.expires_at) }) : gettext("for ever");
  const author = share.author?.replace(/^(web|cli) /, "");
  const details = [end, share.with_positions && gettext("with positions"), author && author !== "web" && gettext("by %(name)s", { name: author })].filter(Boolean).join(", ");
  const title = share.description.endsWith(share.name) ? share.description : `${share.name}: ${share.description}`;
  const about = create("span", { className: "soft" }, details);
  const label = gettext("Revoke the link %(number)s", { number: share.id });
  const button = createButton(gettext("Revoke"), () => revoke(share, item, button), "button--small button--danger", { "aria-label": `${label}: ${title}, ${details}` });
  const copy = share.link ? [createButton(gettext("Copy"), () => (showLink(share.link), copyLink()), "button--small", { "aria-label": `${gettext("Copy")}: ${title}, ${details}` })] : [];
  const item = create("li", {}, create("span", {}, create("span", {}, title), about), create("span", { className: "row" }, ...copy, button));
  return item;
}

async function revoke(share, item, button) {
  button.disabled = true;
  try {
    await requestJson(`/api/shares/${share.id}`, { method: "DELETE" });
    item.replaceChildren(gettext("%(name)s: revoked", { name: share.name }));
    part("status").textContent = gettext("The link is revoked.");
    dialog.querySelector('form[method="dialog"] button').focus();
  } catch (error) {
    button.disabled = false;
    part("status").textContent = gettext("The link was not revoked: %(reason)s", { reason: error.message });
  }
}

async function listAll() {
  part("all").hidden = true;
  if (!(await listLinks("/api/shares"))) return;
  part("existing").hidden = false;
  const isEmpty = !part("existing").querySelector("li");
  part("existing-title").textContent = isEmpty ? gettext("There are no links") : gettext("All links");
  part("existing-title").focus();
}

form?.addEventListener("submit", (event) => (event.preventDefault(), makeLink()));
if (dialog) {
  form.elements.positions.addEventListener("change", proposeTitle);
  part("copy").addEventListener("click", copyLink);
  part("all").addEventListener("click", listAll);
}
// A filter that changes brings another button.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-share]");
  if (!button) return;
  const menu = button.closest("details");
  menu.querySelector("summary").focus(); // it has the focus again when the dialog closes
  menu.open = false;
  const { share: query, shareName, shareTitle, shareFilter } = button.dataset;
  openShare({ query }, shareName, shareTitle, shareFilter);
});

/**
 * Copies the text of an input or another element; returns whether that worked. Otherwise the text is selected, to be copied by hand.
 * Browsers have a clipboard for scripts over HTTPS and on this machine only; elsewhere, the older command does it.
 */
async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.value ?? element.textContent);
    return true;
  } catch {
    if (element instanceof HTMLInputElement) element.select();
    else getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}
