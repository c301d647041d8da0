// The prompt: a draft that survives the reload, a counter near the limit, keys that run.

const NEAR_LIMIT = 500;

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const counter = document.getElementById("prompt-count");
const draft = `fluxsite.draft.${form.dataset.user}`;

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
  if (!("keepsDraft" in form.dataset)) return;
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

function count() {
  const left = prompt.maxLength - prompt.value.length;
  counter.hidden = left > NEAR_LIMIT;
  counter.textContent = prompt.dataset.counter.replace("{n}", left);
}

prompt.addEventListener("input", () => {
  remember();
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

recall();
count();
