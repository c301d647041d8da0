// The model and its settings: what the server does not need to be asked for.

import { fetchFragment } from "./dom.js";

// Fields of the form the settings do not depend on.
const NO_SETTINGS = ["prompt", "image", "files", "key", "csrfmiddlewaretoken"];

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const picker = form.querySelector("[data-picker]");
let moreIsOpen = false;

// ---------------------------------------------------------------- model
/** Choose a model whose settings are on the page already. */
export function chooseModel(id) {
  const input = picker.querySelector(`[name=model][value="${CSS.escape(id)}"]`);
  if (!input) return;
  input.checked = true;
  showModel(input);
}

/** Return what the form's settings are, as the server is asked for them. */
export function settingsNow() {
  const values = new FormData(form);
  for (const name of NO_SETTINGS) values.delete(name);
  return new URLSearchParams(values);
}

function showModel(input) {
  const card = input.closest(".model");
  picker.querySelector("[data-model-name]").textContent =
    card.querySelector(".model-name").textContent;
  picker.querySelector("[data-model-summary]").textContent =
    card.querySelector(".model-summary").textContent;
}

form.addEventListener("change", (event) => {
  if (event.target.name === "model") {
    showModel(event.target);
    form.dispatchEvent(new Event("settings"));
  }
  if (event.target.name === "num_images") {
    showLabel();
    showReadiness();
  }
});

// A click on a card has chosen; arrow keys go on choosing. They too come as clicks, at (0, 0).
picker.addEventListener("click", (event) => {
  if (event.target.closest(".model") && event.detail > 0) {
    picker.open = false;
    picker.querySelector("summary").focus();
  }
});

document.addEventListener("click", (event) => {
  if (picker.open && !picker.contains(event.target) && event.isTrusted) picker.open = false;
});

// ---------------------------------------------------------------- run button
function showLabel() {
  const run = form.querySelector("[data-run]");
  const labels = run.dataset.labels.split("|");
  const number = Number(form.elements.num_images?.value || 1);
  run.querySelector("[data-label]").textContent = labels[number - 1] ?? labels[0];
  const means = form.querySelector("[data-means]");
  if (means) means.hidden = number <= Number(means.dataset.means);
}

const isShown = (element) => getComputedStyle(element).display !== "none";

/** Return the reasons on the page why this cannot run. */
export function reasons() {
  return [...form.querySelectorAll("#reasons li")].filter(isShown);
}

export function showReadiness() {
  form.querySelector("[data-run]").setAttribute("aria-disabled", String(reasons().length > 0));
}

/** Ask what the button says now. The settings stay as they are: somebody may be typing there. */
async function refreshRun() {
  const run = document.getElementById("run");
  const address = document.getElementById("parameters").getAttribute("hx-get");
  // Unanswered, the button stays as it is until credits move again.
  const answer = await fetchFragment(`${address}?${settingsNow()}`).catch(() => null);
  const newer = answer?.getElementById("run");
  // Another answer that has replaced the button meanwhile is newer still.
  if (!newer || !run.isConnected) return;
  const hadFocus = run.contains(document.activeElement);
  run.replaceWith(newer);
  showLabel();
  showReadiness();
  if (hadFocus) newer.querySelector("[data-run]").focus();
}

document.body.addEventListener("credits", refreshRun);

/** Take the prompt out of the form for a model that has none; the words stay in sight. */
function showPrompt() {
  const takesPrompt = document.getElementById("parameters").dataset.hasPrompt === "true";
  const hadFocus = document.activeElement === prompt;
  prompt.disabled = !takesPrompt;
  if (hadFocus && !takesPrompt) form.querySelector("[data-run]").focus();
}

function refresh() {
  const more = form.querySelector("[data-more]");
  if (more && moreIsOpen) more.open = true;
  showPrompt();
  showLabel();
  showReadiness();
}

form.addEventListener("toggle", (event) => {
  if (event.target.matches("[data-more]") && event.target.isConnected) {
    moreIsOpen = event.target.open;
  }
}, true);

form.addEventListener("input", (event) => {
  const field = event.target.closest(".field");
  const output = field?.querySelector("output");
  if (output) output.textContent = event.target.value;
  if (field?.matches("[data-seed]")) showLock(field);
  showReadiness();
});

form.addEventListener("htmx:confirm", (event) => {
  if (event.target !== form) return;
  const first = reasons()[0];
  if (!first) return;
  event.preventDefault();
  if (first.matches(".reason-prompt")) prompt.focus();
  else first.scrollIntoView({ block: "nearest" });
});

// ---------------------------------------------------------------- seed
const MAX_SEED_DIGITS = 9;

function showLock(field) {
  const isKept = field.querySelector("input").value !== "";
  field.querySelector("[data-lock]").setAttribute("aria-pressed", String(isKept));
}

function randomSeed() {
  const [number] = crypto.getRandomValues(new Uint32Array(1));
  return String(number % 10 ** MAX_SEED_DIGITS);
}

form.addEventListener("click", (event) => {
  const button = event.target.closest("[data-dice], [data-lock]");
  if (!button) return;
  const field = button.closest("[data-seed]");
  const input = field.querySelector("input");
  if (button.matches("[data-dice]")) {
    input.value = randomSeed();
  } else if (input.value) {
    input.value = "";
  } else {
    const last = document.querySelector('#cards [data-state="done"]:not([data-seed=""])');
    input.value = last?.dataset.seed ?? randomSeed();
  }
  showLock(field);
});

// ---------------------------------------------------------------- answers
document.addEventListener("htmx:afterSettle", refresh);

form.addEventListener("htmx:afterRequest", (event) => {
  // `detail.elt` is the form also for settings that have replaced themselves meanwhile.
  if (event.detail.requestConfig.elt !== form) return;
  if (event.detail.xhr.status < 400) {
    for (const place of form.querySelectorAll("[data-problems]")) place.replaceChildren();
    for (const field of form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
    }
  } else if (document.querySelector("#problem-prompt .problem")) {
    prompt.setAttribute("aria-invalid", "true");
    prompt.focus();
  } else {
    showRefused();
  }
});

/** Lead to the first setting that was refused. On a phone it stands in a sheet. */
function showRefused() {
  const sheet = document.getElementById("settings");
  const field = sheet.querySelector(".problem")?.closest(".field");
  if (!field) return;
  if (!isShown(sheet)) sheet.showPopover();
  field.querySelector("[aria-invalid], :checked, input, select").focus();
}

new MutationObserver(showReadiness).observe(form.querySelector("[data-reference-list]"), {
  childList: true,
});

// Chosen before this script came, or by a browser that restores forms.
const chosen = form.querySelector("[name=model]:checked");
if (chosen && !chosen.defaultChecked) {
  showModel(chosen);
  addEventListener("load", () => form.dispatchEvent(new Event("settings")));
}

refresh();
