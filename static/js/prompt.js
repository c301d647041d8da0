// The prompt: a draft that survives the reload, a counter near the limit, keys that run.

import { actionButton, toast } from "./dom.js";

const NEAR_LIMIT = 500;

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const counter = document.getElementById("prompt-count");
const draft = `fluxsite.draft.${form.dataset.user}`;
const words = form.querySelector("[data-tools]").dataset;
let isPassing = false;

function remember() {
  try {
    localStorage.setItem(draft, prompt.value);
  } catch {
    // Storage may be full or forbidden; then the draft lives as long as the page.
  }
}

function recall() {
  // What the address asks for, or what was typed before this script came, goes before what
  // was typed some other day.
  if (!("keepsDraft" in form.dataset)) {
    offerBack();
    return;
  }
  if (prompt.value) {
    remember();
    return;
  }
  try {
    prompt.value = localStorage.getItem(draft) ?? "";
  } catch {
    return;
  }
  // In Chromium setting the value does not re-evaluate :placeholder-shown in :has().
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
}

/** What was being written when an address brought other words is not lost. */
function offerBack() {
  let kept = "";
  try {
    kept = localStorage.getItem(draft) ?? "";
  } catch {
    return;
  }
  if (!kept.trim() || !prompt.value || kept === prompt.value) return;
  const action = actionButton(words.putBack, () => write(kept));
  toast(words.draftKept, { action, seconds: 15 });
}

/**
 * Put words into the prompt. Those that are only `passing` do not replace the draft: it is there
 * again after a reload.
 */
export function write(text, { passing = false } = {}) {
  prompt.value = text;
  isPassing = passing;
  // In Chromium setting the value does not re-evaluate :placeholder-shown in :has().
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
  isPassing = false;
}

function count() {
  const left = prompt.maxLength - prompt.value.length;
  counter.hidden = left > NEAR_LIMIT;
  counter.textContent = prompt.dataset.counter.replace("{n}", left);
}

prompt.addEventListener("input", () => {
  if (!isPassing) remember();
  count();
  prompt.removeAttribute("aria-invalid");
});

form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const runs = event.ctrlKey || event.metaKey;
  // While an input method composes, Enter chooses a word; 229 is how older ones say so.
  const composes = event.isComposing || event.keyCode === 229;
  if (runs && !composes) {
    event.preventDefault();
    form.requestSubmit(form.querySelector("[data-run]"));
  } else if (event.target.matches("input") && event.target.type !== "submit") {
    // Plain Enter in a small field would press the form's first button, whatever that is.
    event.preventDefault();
  }
});

if (/Mac|iPhone|iPad/.test(navigator.userAgent)) {
  const key = form.querySelector(".shortcut kbd");
  if (key) key.textContent = "⌘";
}

// What was run is what is being worked on.
form.addEventListener("htmx:beforeRequest", (event) => event.detail.elt === form && remember());

recall();
count();
