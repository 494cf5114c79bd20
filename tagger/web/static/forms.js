// Forms that htmx sends: why one could not be sent, and what was chosen before htmx listened.

import { gettext } from "./texts.js";
import { toast } from "./toast.js";

// Updates are tried again with the next event.
function showFailure({ detail: { elt, xhr } }) {
  if (!elt.matches("form")) return;
  const answer = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("[role=alert]");
  toast(answer?.textContent.trim() ?? gettext("The server does not respond. Try again."), { tone: "bad" });
}

document.addEventListener("htmx:responseError", showFailure);
document.addEventListener("htmx:sendError", showFailure);

// On a slow line, a choice may be made before htmx listens.
document.addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll("form[hx-trigger=change]")) {
    const isChanged = ({ checked, defaultChecked, files }) => files?.length || checked !== defaultChecked;
    [...form.elements].find(isChanged)?.dispatchEvent(new Event("change", { bubbles: true }));
  }
});
