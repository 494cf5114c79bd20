// Shows the photo that was chosen, while htmx sends it.

import "./forms.js";

const preview = document.querySelector("[data-preview]");

preview.addEventListener("load", () => (preview.hidden = false));
preview.addEventListener("error", () => (preview.hidden = true)); // a format that this browser cannot show
document.getElementById("photo").addEventListener("change", ({ target: { files } }) => {
  if (files.length) preview.src = URL.createObjectURL(files[0]);
});
