// Favourites and the trash: seen at once, then told to the site, and taken back if it refuses.

import { announce, toast } from "./dom.js";
import { named, send } from "./history-api.js";
import { pack } from "./history-exports.js";
import { reload } from "./history-filters.js";
import { clear, selected } from "./history-selection.js";
import { refresh, shownGallery } from "./lightbox.js";

const UNDO_SECONDS = 10;

const form = document.getElementById("marks");
const texts = form.dataset;

const entryOf = (key) => document.querySelector(`.entry[data-entry="${CSS.escape(key)}"]`);

function tell(keys, mark) {
  return send(texts.url, { entries: keys.map(named), ...mark });
}

function complain(error) {
  const general = document.getElementById("toasts").dataset;
  toast(error.message || (error.status ? general.error : general.offline));
}

// ---------------------------------------------------------------- favourites
function showFavourite(keys, value) {
  for (const entry of keys.map(entryOf).filter(Boolean)) {
    entry.toggleAttribute("data-favourite", value);
    const star = entry.querySelector(".star");
    star.setAttribute("aria-pressed", value);
    star.value = `${value ? "unfavourite" : "favourite"} ${entry.dataset.entry}`;
  }
  refresh();
}

async function favour(keys) {
  const value = !keys.every((key) => entryOf(key)?.hasAttribute("data-favourite"));
  const changed = keys.filter((key) => entryOf(key)?.hasAttribute("data-favourite") !== value);
  showFavourite(changed, value);
  try {
    await tell(keys, { favourite: value });
    announce(value ? texts.favourite : texts.noFavourite);
  } catch (error) {
    showFavourite(changed, !value);
    complain(error);
  }
}

// ---------------------------------------------------------------- the trash
/** Take entries off the page. Returns a function that puts them back where they were. */
function take(keys) {
  const entries = keys.map(entryOf).filter(Boolean);
  const after = entries.at(-1)?.nextElementSibling ?? entries[0]?.previousElementSibling;
  const hadFocus = entries.some((entry) => entry.contains(document.activeElement));
  const places = entries.map((entry) => {
    const place = document.createComment("");
    entry.replaceWith(place);
    return [place, entry];
  });
  if (hadFocus) after?.querySelector("a")?.focus();
  return () => {
    for (const [place, entry] of places) place.replaceWith(entry);
    return places.every(([, entry]) => entry.isConnected);
  };
}

async function discard(keys) {
  clear();
  const putBack = take(keys);
  refresh();
  try {
    await tell(keys, { trashed: true });
  } catch (error) {
    putBack();
    refresh();
    complain(error);
    return;
  }
  const undo = document.createElement("button");
  undo.type = "button";
  undo.textContent = texts.undo;
  undo.addEventListener("click", () => bringBack(keys, putBack));
  const words = keys.length === 1 ? texts.trashedOne : texts.trashed;
  toast(words.replace("{n}", keys.length), { action: undo, seconds: UNDO_SECONDS });
  if (!document.querySelector(".entry")) reload();
}

async function bringBack(keys, putBack) {
  try {
    await tell(keys, { trashed: false });
  } catch (error) {
    complain(error);
    return;
  }
  // Another filter shows another page by now.
  if (!putBack()) await reload();
  refresh();
  document.dispatchEvent(new Event("entries"));
  announce(texts.undone);
  entryOf(keys[0])?.querySelector("a").focus();
}

// ---------------------------------------------------------------- who asks for it
const verbs = { favourite: favour, unfavourite: favour, trash: discard, zip: pack };

form.addEventListener("submit", (event) => {
  const { name, value } = event.submitter ?? {};
  const [verb, one] = name === "one" ? value.split(/ (.*)/s) : [value];
  const keys = one ? [one] : selected();
  if (!verbs[verb] || !keys.length) return;
  event.preventDefault();
  event.submitter.closest("details.menu")?.removeAttribute("open");
  verbs[verb](keys);
});

document.getElementById("lightbox").addEventListener("click", (event) => {
  const button = event.target.closest("[data-mark]");
  if (button) verbs[button.dataset.mark]([shownGallery().dataset.entry]);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea")) return;
  const key = event.key.toLowerCase();
  const verb = { f: favour, delete: discard, backspace: discard }[key];
  if (!verb) return;
  const one = shownGallery() ?? (selected().length ? null : event.target.closest("[data-entry]"));
  const keys = one?.dataset.entry ? [one.dataset.entry] : shownGallery() ? [] : selected();
  if (!keys.length) return;
  event.preventDefault();
  verb(keys);
});
