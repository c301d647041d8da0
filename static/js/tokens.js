// A token that was just made: copied by a click, and not made again by a reload.

import { announce } from "./dom.js";

const secret = document.querySelector("[data-secret]");
const button = document.querySelector("[data-copy-secret]");

history.replaceState(null, "", location.href);

secret.addEventListener("focus", () => secret.select());

button.addEventListener("click", async () => {
  secret.select();
  try {
    await navigator.clipboard.writeText(secret.value);
  } catch {
    // Without HTTPS there is no clipboard; the old way still works, or the selection is there.
    document.execCommand("copy");
  }
  button.querySelector("span").textContent = button.dataset.copied;
  announce(button.dataset.copied);
});
