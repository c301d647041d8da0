// The prompts of before: in a menu, and by Alt+↑ and Alt+↓ in the prompt. The list comes from the
// server when it is first needed, so it follows the account.

import { actionButton, announce, fetchFragment, toast } from "./dom.js";
import { write } from "./prompt.js";

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const words = form.querySelector("[data-tools]").dataset;
const menu = form.querySelector("[data-recent]");
const list = menu.querySelector("[data-recent-list]");

let known = null;
// Where the walk stands: -1 is the draft it began from.
let place = -1;
let draft = "";

function ask() {
  known ??= fetchFragment(menu.dataset.url).catch(() => null);
  return known;
}

function forget() {
  known = null;
  place = -1;
}

async function prompts() {
  const answer = await ask();
  if (!answer) {
    forget();
    toast(document.getElementById("toasts").dataset.offline);
    return [];
  }
  return [...answer.querySelectorAll("[data-prompt]")].map((each) => each.textContent);
}

// ---------------------------------------------------------------- walking
async function walk(step) {
  const all = await prompts();
  if (place < 0) draft = prompt.value;
  let next = place + step;
  // What stands in the prompt already is no step.
  if (all[next] === prompt.value) next += step;
  if (next >= all.length || next < -1) return;
  place = next;
  write(place < 0 ? draft : all[place], { passing: true });
  prompt.setSelectionRange(prompt.value.length, prompt.value.length);
  const where = words.place.replace("{n}", place + 1).replace("{total}", all.length);
  announce(place < 0 ? words.draft : where);
}

prompt.addEventListener("keydown", (event) => {
  const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!step || !event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  event.preventDefault();
  if (step > 0 || place >= 0) walk(step);
});

// Whoever types goes on from here.
prompt.addEventListener("input", (event) => {
  if (event.isTrusted) place = -1;
});

form.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig.elt === form && event.detail.successful) forget();
});

// ---------------------------------------------------------------- the menu
menu.addEventListener("opened", async () => {
  const answer = await ask();
  if (!answer) forget();
  list.replaceChildren(...(answer ? answer.cloneNode(true).body.childNodes : []));
});

list.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-prompt]");
  if (!chosen) return;
  const before = prompt.value;
  write(chosen.textContent);
  place = -1;
  menu.open = false;
  prompt.focus();
  if (before.trim() && before !== prompt.value) {
    toast(words.filled, { action: actionButton(words.undo, () => write(before)) });
  }
});

list.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...list.querySelectorAll("[data-prompt]")];
  all[all.indexOf(document.activeElement) + step]?.focus();
});
