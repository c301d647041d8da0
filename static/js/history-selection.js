// Selecting entries: ticks, Shift for all in between, a long press on a touch screen.
//
// The ticks are fields of the form #marks, so that it can be sent without any of this.

import { toast } from "./dom.js";

// Milliseconds after which a touch is a long one, and pixels it may wander.
const LONG = 500;
const WANDER = 10;

const form = document.getElementById("marks");
const count = form.querySelector("[data-count]");
const chooser = document.querySelector("[data-choose]");

let last = null;
let pressed = null;
let wasLong = false;

const ticks = () => [...document.querySelectorAll(".tick input")];
const tickOf = (element) => element.closest("[data-entry]")?.querySelector(".tick input");

/** Return the keys of the selected entries, in the page's order. */
export function selected() {
  return ticks().filter((tick) => tick.checked).map((tick) => tick.value);
}

export function clear() {
  for (const tick of ticks()) tick.checked = false;
  letChoose(false);
  update();
}

/** Show all ticks, on a screen that cannot hover, before the first is set. */
function letChoose(value) {
  chooser?.setAttribute("aria-pressed", value);
  document.body.classList.toggle("is-choosing", value);
}

function update() {
  const number = selected().length;
  count.textContent = form.dataset.selected.replace("{n}", number);
  document.body.classList.toggle("is-selecting", number > 0);
}

/** Select or deselect an entry and, with `range`, all between it and the last one. */
function choose(tick, checked, range) {
  const all = ticks();
  const from = range && last?.isConnected ? all.indexOf(last) : all.indexOf(tick);
  const to = all.indexOf(tick);
  for (const each of all.slice(Math.min(from, to), Math.max(from, to) + 1)) each.checked = checked;
  last = tick;
  const chosen = all.filter((each) => each.checked);
  const most = Number(form.dataset.most);
  if (chosen.length > most) {
    for (const each of chosen.slice(most)) each.checked = false;
    toast(form.dataset.tooMany);
  }
  update();
}

// Before the lightbox hears of it: while something is selected, a picture is a large tick.
document.addEventListener("click", (event) => {
  const box = event.target.closest(".tick input");
  if (box) {
    choose(box, box.checked, event.shiftKey);
    return;
  }
  const picture = event.target.closest("[data-entry] .entry-picture");
  if (!picture || event.ctrlKey || event.metaKey) return;
  const { classList } = document.body;
  const isSelecting = classList.contains("is-selecting") || classList.contains("is-choosing");
  if (!wasLong && !isSelecting && !event.shiftKey) return;
  event.preventDefault();
  event.stopPropagation();
  if (!wasLong) choose(tickOf(picture), !tickOf(picture).checked, event.shiftKey);
  wasLong = false;
}, true);

document.addEventListener("pointerdown", (event) => {
  wasLong = false;
  const picture = event.target.closest("[data-entry] .entry-picture");
  if (!picture || event.pointerType === "mouse") return;
  const timer = setTimeout(() => {
    wasLong = true;
    pressed = null;
    choose(tickOf(picture), true, false);
    navigator.vibrate?.(10);
  }, LONG);
  pressed = { timer, x: event.clientX, y: event.clientY };
});

function release() {
  clearTimeout(pressed?.timer);
  pressed = null;
}

document.addEventListener("pointermove", (event) => {
  if (pressed && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > WANDER) release();
});
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, release);
// A long press on a link would open the browser's own menu.
document.addEventListener("contextmenu", (event) => {
  if (wasLong || pressed) event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open], details.menu[open]")) return;
  clear();
});

chooser?.addEventListener("click", () => {
  if (document.body.classList.contains("is-choosing")) clear();
  else letChoose(true);
});
form.addEventListener("reset", () => setTimeout(clear));
document.addEventListener("entries", update);
document.addEventListener("htmx:afterSettle", update);
update();
