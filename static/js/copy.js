// Buttons that copy the text they carry.

import { toast } from "./dom.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    toast(button.dataset.copied, { seconds: 2 });
  } catch {
    // No clipboard without HTTPS: the text is marked, so that the keys for it work.
    const code = button.parentElement.querySelector("code");
    if (code) getSelection().selectAllChildren(code);
  }
});
