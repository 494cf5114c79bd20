// The note that stays after a place was named on several photos: in how many others it is found, once all are compared.

import { create } from "./elements.js";
import { thumbnailAddress } from "./grid_photos.js";
import { requestJson } from "./server.js";
import { gettext, ngettext, number } from "./texts.js";
import { toast } from "./toast.js";

const SHOWN = 8; // photos in the note
const UNTAUGHT_MS = 6000;

/** `text` says what was named; `undo` takes it back. */
export async function showFound({ landmark, name }, text, undo) {
  const comparing = gettext("Comparing all photos with %(name)s…", { name });
  const words = create("p", {}, `${text}. ${comparing}`);
  const photos = create("p", { className: "toast-photos" });
  const note = toast(create("div", { className: "stack stack--tight" }, words, photos), { tone: "ok", action: { text: gettext("Undo"), run: undo }, duration_ms: 0 });
  const comparison = new AbortController();
  const { signal } = comparison;
  note.addEventListener("removed", () => comparison.abort()); // a new place is gone once it is undone
  const address = `landmark=${encodeURIComponent(landmark)}`;
  try {
    const { examples, tagged, suggested } = await requestJson(`/api/landmarks/${encodeURIComponent(landmark)}/teach`, { method: "POST", signal });
    if (!examples) throw new Error("nothing to learn");
    const found = tagged ? (await requestJson(`/api/photos?${address}&verdict=none&sort=score&limit=${SHOWN}`, { signal })).photos : [];
    const link = create("a", { href: `/landmarks/${encodeURIComponent(landmark)}` }, ngettext("Found in %(count)s more photo", "Found in %(count)s more photos", tagged));
    const review = create("a", { href: `/review?${address}` }, gettext("%(number)s to review", { number: number(suggested) }));
    words.replaceChildren(`${text}. `, link, ...(suggested ? [" · ", review] : []));
    photos.append(...found.map((photo) => createThumbnail(photo)));
    for (const element of document.querySelectorAll("[data-follows-jobs]")) element.dispatchEvent(new CustomEvent("outdated", { detail: "taught" }));
  } catch {
    words.textContent = text; // there is nothing to learn, or the server does so later
    setTimeout(() => note.remove(), UNTAUGHT_MS);
  }
}

function createThumbnail({ id, digest, path }) {
  const image = create("img", { src: thumbnailAddress({ id, version: digest?.slice(-16) }, 256), alt: path.slice(path.lastIndexOf("/") + 1) });
  return create("a", { href: `/photos/${id}` }, image);
}
