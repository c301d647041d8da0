// The lightbox: one picture large, its task's true parameters beside it, arrows to the others.
//
// A gallery is any element with `data-gallery`; its pictures are the links with `data-picture`.
// What is told about them lies in its `template[data-details]` or comes from its
// `data-details-url`. Those with `data-entry` can be marked (history-marks.js).

import { fetchFragment } from "./dom.js";

const SWIPE = 48;

const box = document.getElementById("lightbox");
const image = box.querySelector("[data-image]");
const text = box.querySelector("[data-text]");
const position = box.querySelector("[data-position]");
const download = box.querySelector("[data-download]");
const reference = box.querySelector("[data-to-reference]");
const previous = box.querySelector("[data-previous]");
const next = box.querySelector("[data-next]");
const marks = [...box.querySelectorAll("[data-mark]")];
const studio = reference.getAttribute("href");

const allPictures = () => [...document.querySelectorAll("a[data-picture]")];
const galleryOf = (picture) => picture.closest("[data-gallery]");

let pictures = [];
let index = 0;
let shown = null;

function show(at) {
  if (!pictures[at]) return;
  index = at;
  const picture = pictures[at];
  const gallery = galleryOf(picture);
  const full = picture.dataset.full;
  image.src = full;
  image.width = picture.dataset.width || 0;
  image.height = picture.dataset.height || 0;
  if (!picture.dataset.width) image.removeAttribute("width");
  if (!picture.dataset.height) image.removeAttribute("height");
  image.alt = picture.querySelector("img")?.alt ?? gallery.getAttribute("aria-label") ?? "";
  const id = picture.dataset.picture;
  // Addresses of others are taken as they are.
  download.href = id ? `${full}?download` : full;
  reference.hidden = !id;
  reference.href = `${studio}?reference=${id}`;
  reference.dataset.useReference = id;
  const own = [...gallery.querySelectorAll("[data-picture]")];
  position.textContent = own.length > 1 ? `${own.indexOf(picture) + 1} / ${own.length}` : "";
  previous.disabled = at === 0;
  next.disabled = at === pictures.length - 1;
  for (const button of marks) {
    button.hidden = !gallery.dataset.entry;
    if (button.dataset.mark === "favourite") {
      button.setAttribute("aria-pressed", "favourite" in gallery.dataset);
    }
  }
  preload(at + 1);
  if (next.disabled) showOlder();
  if (gallery !== shown) tell(gallery);
}

/** The gallery goes on below: have it load, so that one can leaf on. */
function showOlder() {
  document.querySelector(".gallery-more a[hx-get]")?.click();
}

/** Return the gallery whose picture is shown, or null. */
export function shownGallery() {
  return box.open && pictures[index] ? galleryOf(pictures[index]) : null;
}

/** Entries came, went or were marked: show the same picture, or the one that has its place. */
export function refresh() {
  if (!box.open) return;
  const before = pictures.slice(0, index).filter((picture) => picture.isConnected).length;
  pictures = allPictures();
  if (pictures.length) show(Math.min(before, pictures.length - 1));
  else box.close();
}

document.addEventListener("htmx:afterSettle", refresh);

function preload(at) {
  if (pictures[at]) new Image().src = pictures[at].dataset.full;
}

async function tell(gallery) {
  shown = gallery;
  const template = gallery.querySelector("template[data-details]");
  if (template) {
    text.replaceChildren(template.content.cloneNode(true));
    return;
  }
  text.replaceChildren();
  try {
    const answer = await fetchFragment(gallery.dataset.detailsUrl);
    const details = answer?.querySelector("[data-entry-details]");
    // Somebody who leafs quickly has gone on before the answer came.
    if (details && shown === gallery) text.replaceChildren(...details.childNodes);
  } catch {
    // The picture is what one came for; it is there without the words beside it.
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-picture]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  pictures = allPictures();
  shown = null;
  show(pictures.indexOf(link));
  box.showModal();
});

box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") show(index - 1);
  if (event.key === "ArrowRight") show(index + 1);
});

previous.addEventListener("click", () => show(index - 1));
next.addEventListener("click", () => show(index + 1));
box.querySelector("[data-close]").addEventListener("click", () => box.close());
box.querySelector("[data-stage]").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) box.close();
});

box.addEventListener("close", () => {
  const link = pictures[index];
  image.removeAttribute("src");
  // Back where one was, or at the picture one leafed to.
  (link?.hidden ? galleryOf(link).querySelector("a") : link)?.focus();
});

let touchedAt = null;
box.addEventListener("touchstart", (event) => {
  touchedAt = event.touches.length === 1 ? event.touches[0].clientX : null;
}, { passive: true });
box.addEventListener("touchend", (event) => {
  if (touchedAt === null) return;
  const moved = event.changedTouches[0].clientX - touchedAt;
  if (Math.abs(moved) > SWIPE) show(index + (moved < 0 ? 1 : -1));
}, { passive: true });
