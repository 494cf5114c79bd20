// Says why a form that htmx sends could not be sent.

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
