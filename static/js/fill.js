// Examples and presets fill the form in place: what was there can be had back.

import { actionButton, opensSheet, toast } from "./dom.js";
import { write } from "./prompt.js";
import { chooseModel, settingsNow } from "./settings.js";

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const words = form.querySelector("[data-tools]").dataset;
const dialog = document.getElementById("ideas");

/** Show the settings of an address; `text` null leaves the words to what it brings. */
async function load(query, text) {
  query.delete("prompt");
  query.set("images", form.querySelector("[data-reference-count]").value);
  const address = document.getElementById("parameters").getAttribute("hx-get");
  await htmx.ajax("GET", `${address}?${query}`, { target: "#parameters", swap: "outerHTML" });
  const shown = document.getElementById("parameters").dataset;
  chooseModel(shown.model);
  const brought = text ?? shown.words;
  if (brought !== undefined) write(brought);
}

function compare(query) {
  form.elements.compare.checked = query.has("compare");
  for (const box of form.querySelectorAll("[name=models]")) {
    box.checked = query.getAll("models").includes(box.value);
  }
}

async function fill(link) {
  const before = { query: settingsNow(), text: prompt.value };
  const asked = new URL(link.href).searchParams;
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  for (const open of document.querySelectorAll("details.menu[open]")) open.open = false;
  compare(asked);
  await load(asked, asked.get("prompt"));
  form.scrollIntoView({ block: "nearest" });
  if (!prompt.disabled) prompt.focus();
  const undo = actionButton(words.undo, () => {
    compare(before.query);
    load(before.query, before.text);
  });
  toast(words.filled, { action: undo, seconds: 15 });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-fill]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  fill(link);
});

// ---------------------------------------------------------------- ideas
opensSheet(form.querySelector("[data-open-ideas]"), dialog, { once: true });

// ---------------------------------------------------------------- saving
// Enter in the name saves; in a field of this form it would do nothing.
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || event.target.id !== "preset-name") return;
  event.preventDefault();
  form.querySelector("[data-preset-save]").click();
});
