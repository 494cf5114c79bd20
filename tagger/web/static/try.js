// Shows the photo that was chosen, while htmx sends it.

import "./failed_forms.js";

const preview = document.querySelector("[data-preview]");
const field = document.getElementById("photo");

preview.addEventListener("load", () => (preview.hidden = false));
preview.addEventListener("error", () => (preview.hidden = true)); // a format that this browser cannot show
field.addEventListener("change", ({ target: { files } }) => {
  if (files.length) preview.src = URL.createObjectURL(files[0]);
});
// On a slow line, a photo may be chosen before htmx listens.
document.addEventListener("DOMContentLoaded", () => {
  if (field.files.length) field.dispatchEvent(new Event("change", { bubbles: true }));
});
