// Learning a place from its confirmed photos, and saying what came of it.

import { photoCount } from "./photo_count.js";
import { requestJson } from "./server.js";
import { toast } from "./toast.js";

/** The action of a toast that learns a landmark. */
export function learnAction(landmark, name) {
  return { text: "Learn this place", run: () => learn(landmark, name) };
}

async function learn(landmark, name) {
  toast(`Comparing all photos with ${name}…`);
  try {
    const address = `/api/landmarks/${encodeURIComponent(landmark)}/teach`;
    const { examples, tagged, suggested } = await requestJson(address, { method: "POST", body: {} });
    const review = { text: "Review", run: () => location.assign(`/review?landmark=${encodeURIComponent(landmark)}`) };
    const text = `${photoCount(examples)} taught, ${tagged} found, ${suggested} to review`;
    toast(text, { tone: "ok", action: suggested ? review : null, duration_ms: 15000 });
  } catch (error) {
    toast(`${name} was not learned: ${error.message}`, { tone: "bad" });
  }
}
