// Learning a place from its confirmed photos, and saying what came of it.

import { toast } from "./toast.js";

const photos = (count) => `${count} ${count === 1 ? "photo" : "photos"}`;

/** The action of a toast that learns a landmark. */
export function learnAction(landmark, name) {
  return { text: "Learn this place", run: () => learn(landmark, name) };
}

async function learn(landmark, name) {
  toast(`Comparing all photos with ${name}…`);
  try {
    const response = await fetch(`/api/landmarks/${encodeURIComponent(landmark)}/teach`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: "{}",
    });
    const { error, examples, tagged, suggested } = await response.json();
    if (!response.ok) throw new Error(error);
    const review = { text: "Review", run: () => location.assign(`/review?landmark=${encodeURIComponent(landmark)}`) };
    const text = `${photos(examples)} taught, ${tagged} found, ${suggested} to review`;
    toast(text, { tone: "ok", action: suggested ? review : null, duration_ms: 15000 });
  } catch (error) {
    const reason = error instanceof TypeError ? "the server does not respond" : error.message;
    toast(`${name} was not learned: ${reason}`, { tone: "bad" });
  }
}
