// Votes and reports, wherever an entry's details are shown. Without this they are forms that post.

import { announce, toast } from "./dom.js";
import { named, send } from "./history-api.js";

function showVote(place, vote) {
  for (const button of place.querySelectorAll("[data-vote]")) {
    const isIt = button.dataset.vote === vote;
    button.setAttribute("aria-pressed", isIt);
    button.value = isIt ? "" : button.dataset.vote;
  }
}

async function vote(place, button) {
  const before = place.querySelector("[data-vote][aria-pressed=true]")?.dataset.vote ?? "";
  const value = button.value;
  showVote(place, value);
  try {
    await tell(place, { vote: value });
    if (value) announce(button.title);
  } catch (error) {
    showVote(place, before);
    throw error;
  }
}

async function report(place, form) {
  await tell(place, { reason: form.elements.reason.value, text: form.elements.text.value });
  form.closest("details").open = false;
  toast(place.dataset.thanks);
}

function tell(place, said) {
  return send(place.dataset.url, { ...named(place.dataset.entry), ...said });
}

document.addEventListener("submit", async (event) => {
  const place = event.target.closest("[data-feedback]");
  if (!place) return;
  event.preventDefault();
  try {
    if (event.submitter?.dataset.vote !== undefined) await vote(place, event.submitter);
    else await report(place, event.target);
  } catch (error) {
    toast(error.message || document.getElementById("toasts").dataset.error);
  }
});
