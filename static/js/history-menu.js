// The menu of an entry: one for all lies in the page, and each gets its own when it is asked for.

const template = document.getElementById("entry-menu");

/** Put an entry's own menu in the place of the button that asks for it, open. */
function open(button) {
  const entry = button.closest("[data-entry]");
  const key = entry.dataset.entry;
  const at = key.indexOf(":");
  const picture = entry.querySelector("a[data-picture]");
  const values = {
    key,
    id: key.slice(at + 1),
    picture: picture?.dataset.picture ?? "",
    address: picture?.dataset.full ?? "",
    prompt: entry.querySelector(".entry-prompt:not(.is-empty)")?.textContent ?? "",
  };
  const fits = {
    picture: values.picture !== "",
    flux: key.startsWith("flux:"),
    prompt: !key.startsWith("flux:") && values.prompt !== "",
  };
  const menu = template.content.cloneNode(true).querySelector("details");
  for (const part of menu.querySelectorAll("[data-for]")) {
    if (!fits[part.dataset.for]) part.remove();
  }
  for (const link of menu.querySelectorAll("a")) {
    const [path, ...query] = link.getAttribute("href").split("?");
    const filled = [fill(path, values, String), fill(query.join("?"), values, encodeURIComponent)];
    link.href = filled.join("?");
  }
  const remove = menu.querySelector("button[name=one]");
  remove.value = fill(remove.value, values, String);
  button.replaceWith(menu);
  menu.querySelector("summary").focus();
}

function fill(text, values, write) {
  return text.replace(/\{(\w+)\}/g, (_all, name) => write(values[name]));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-menu]");
  if (!button) return;
  event.preventDefault();
  // A click outside closes menus; to that listener this one's target must not be outside.
  event.stopPropagation();
  for (const other of document.querySelectorAll("details.menu[open]")) other.open = false;
  open(button);
}, true);
