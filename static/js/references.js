// Reference pictures: chosen, dropped, pasted or taken from the history; ordered and removed.

import { announce, opensSheet } from "./dom.js";

const form = document.getElementById("composer");
const field = form.querySelector("[data-references]");
const list = field.querySelector("[data-reference-list]");
const count = field.querySelector("[data-reference-count]");
const problems = document.getElementById("problem-references");
const dialog = document.getElementById("picture-picker");

const fromTemplate = (name) =>
  field.querySelector(`template[${name}]`).content.firstElementChild.cloneNode(true);

/** Tell the server's side of the form how many there are now: it may mean another endpoint. */
function changed() {
  count.value = list.querySelectorAll("[data-reference]").length;
  form.dispatchEvent(new Event("settings"));
}

// ---------------------------------------------------------------- adding
function referenceItem(id) {
  const item = fromTemplate("data-reference-template");
  item.querySelector("input").value = `/media/${id}`;
  item.querySelector("img").src = `/media/${id}/320`;
  return item;
}

function add(id) {
  const known = list.querySelector(`input[value="/media/${CSS.escape(id)}"]`);
  if (!known) {
    list.append(referenceItem(id));
    changed();
  }
  form.scrollIntoView({ block: "nearest" });
}

function complain(text) {
  const problem = document.createElement("p");
  problem.className = "problem";
  problem.textContent = text;
  problem.setAttribute("role", "alert");
  problems.append(problem);
}

function upload(file) {
  const item = fromTemplate("data-upload-template");
  const progress = item.querySelector("progress");
  item.querySelector("[data-name]").textContent = file.name;
  list.append(item);

  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) progress.value = (100 * event.loaded) / event.total;
  });
  request.addEventListener("load", () => uploaded(request, item, file));
  request.addEventListener("error", () => {
    item.remove();
    complain(`${file.name}: ${document.getElementById("toasts").dataset.offline}`);
  });
  item.querySelector("[data-abort]").addEventListener("click", () => {
    request.abort();
    item.remove();
  });

  const body = new FormData();
  body.append("file", file);
  request.open("POST", form.dataset.uploadUrl);
  request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
  request.setRequestHeader("Accept", "application/json");
  request.send(body);
}

function uploaded(request, item, file) {
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // A proxy may refuse a large file with a page of its own; the general words follow.
  }
  // Aborted or removed meanwhile: the picture is stored, but nobody wants it here.
  if (!item.isConnected) return;
  if (request.status === 201) {
    item.replaceWith(referenceItem(answer.id));
    changed();
    return;
  }
  item.remove();
  const reason = answer.errors?.file?.[0] ?? answer.detail;
  complain(`${file.name}: ${reason ?? document.getElementById("toasts").dataset.error}`);
}

function take(files) {
  problems.replaceChildren();
  for (const file of files) upload(file);
}

field.querySelector("[data-files]").addEventListener("change", (event) => {
  take(event.target.files);
  // Sent already; without this the form would send the same files once more.
  event.target.value = "";
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  form.classList.add("is-dropping");
});

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("is-dropping");
});

document.addEventListener("drop", (event) => {
  form.classList.remove("is-dropping");
  if (!carriesFiles(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});

document.addEventListener("paste", (event) => {
  const { files, types } = event.clipboardData;
  // Office programs put a picture of the text beside the text; the text is what is meant.
  if (!files.length || types.includes("text/plain")) return;
  event.preventDefault();
  take(files);
});

// ---------------------------------------------------------------- order and removal
list.addEventListener("click", (event) => {
  const item = event.target.closest("[data-reference]");
  if (item && event.target.closest("[data-remove]")) {
    event.preventDefault();
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    changed();
    (next?.querySelector("[data-remove]") ?? field.querySelector("[data-files]")).focus();
  } else if (item && event.target.closest("[data-earlier]")) {
    event.preventDefault();
    item.previousElementSibling?.before(item);
    item.querySelector("[data-earlier]").focus();
  }
});

let dragged = null;

list.addEventListener("dragstart", (event) => {
  dragged = event.target.closest("[data-reference]");
  dragged?.classList.add("is-dragged");
});

list.addEventListener("dragover", (event) => {
  const over = event.target.closest("[data-reference]");
  if (!dragged || !over || over === dragged) return;
  event.preventDefault();
  const items = [...list.children];
  if (items.indexOf(dragged) < items.indexOf(over)) over.after(dragged);
  else over.before(dragged);
});

list.addEventListener("dragend", () => {
  dragged?.classList.remove("is-dragged");
  dragged = null;
});

// ---------------------------------------------------------------- from the history
document.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-use-reference]");
  if (!chosen || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  add(chosen.dataset.useReference);
  announce(chosen.title);
});

opensSheet(field.querySelector("[data-open-picker]"), dialog);
