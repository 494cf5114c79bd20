// Buttons that copy the command beside them.

import { toast } from "./toast.js";

document.addEventListener("click", async (event) => {
  const code = event.target.closest("[data-copy]")?.parentElement.querySelector("code");
  if (!code) return;
  try {
    await navigator.clipboard.writeText(code.textContent); // browsers allow it over HTTPS and on this machine only
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(code);
    toast("The command is selected: copy it with your browser.");
  }
});
