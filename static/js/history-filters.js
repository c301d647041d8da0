// Filters that answer as one chooses. Without this the same form and the same links load a page.

import { fetchFragment, showTimes, toast } from "./dom.js";

// From the last letter typed to the question asked, in milliseconds.
const PAUSE = 350;
// What a choice changes; the field one types in stays.
const PARTS = ["filter-sources", "filter-controls", "filter-active", "results"];

const form = document.getElementById("filters");
const text = form.elements.text;
const page = form.getAttribute("action");

let timer = 0;
let asking = null;
let typing = false;

function addressOfForm() {
  const values = [...new FormData(form)].filter(([, value]) => value.trim());
  return values.length ? `${page}?${new URLSearchParams(values)}` : page;
}

/** Show the page of an address in place. `step` says what becomes of the browser's history. */
async function show(address, step) {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  form.classList.add("is-asking");
  try {
    const answer = await fetchFragment(address, {
      headers: { "HX-Request": "true" },
      signal: mine.signal,
    });
    if (!answer) return;
    if (step) history[step](null, "", address);
    for (const id of PARTS) replace(id, answer);
    // Who is typing is ahead of the answer; who went back is not.
    if (!step || document.activeElement !== text) {
      text.value = answer.getElementById("filters").elements.text.value;
    }
    document.getElementById("marks").elements.next.value = address;
    document.dispatchEvent(new Event("entries"));
  } catch (error) {
    if (error.name === "AbortError") return;
    // The page of that address says best what is wrong with it.
    if (error.status) location.assign(address);
    else toast(document.getElementById("toasts").dataset.offline);
  } finally {
    if (asking === mine) form.classList.remove("is-asking");
  }
}

function replace(id, answer) {
  const [old, newer] = [document.getElementById(id), answer.getElementById(id)];
  const name = old.contains(document.activeElement) ? document.activeElement.name : "";
  const isOpen = old.querySelector("details[open]") !== null;
  old.replaceWith(newer);
  htmx.process(newer);
  showTimes(newer);
  // Who chooses days chooses two.
  if (isOpen) newer.querySelector("details")?.setAttribute("open", "");
  if (name) newer.querySelector(`[name="${name}"]`)?.focus();
}

form.addEventListener("input", (event) => {
  if (event.target !== text || event.isComposing) return;
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
});
text.addEventListener("compositionend", () => {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
});

/** While one types on, the same step back is the same step. */
function search() {
  const address = addressOfForm();
  if (address === location.pathname + location.search) return;
  show(address, typing ? "replaceState" : "pushState");
  typing = true;
}

text.addEventListener("blur", () => {
  typing = false;
});

form.addEventListener("change", (event) => {
  if (event.target !== text) show(addressOfForm(), "pushState");
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-filter]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  link.closest("details.menu")?.removeAttribute("open");
  show(link.getAttribute("href"), "pushState");
});

addEventListener("popstate", () => show(location.pathname + location.search, ""));

/** Ask again for what is shown. */
export function reload() {
  return show(location.pathname + location.search, "");
}
