// Buttons that copy the command beside them.

import { copyText } from "./clipboard.js";
import { toast } from "./toast.js";

document.addEventListener("click", async (event) => {
  const code = event.target.closest("[data-copy]")?.parentElement.querySelector("code");
  if (code) toast((await copyText(code)) ? "Copied" : "The command is selected: copy it with your browser.");
});
