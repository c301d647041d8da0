// The lightbox: one picture large, its task's true parameters beside it, arrows to the others.
//
// A gallery is any element with `data-gallery`; its pictures are the links with `data-picture`.
// What is told about them lies in its `template[data-details]` or comes from its
// `data-details-url`. Those with `data-entry` can be marked (history-marks.js).

import { fetchFragment } from "./dom.js";
import { zoomable } from "./zoom.js";

const ZOOM_STEP = 1.5;

const box = document.getElementById("lightbox");
const stage = box.querySelector("[data-stage]");
const side = box.querySelector("[data-side]");
const image = box.querySelector("[data-image]");
const level = box.querySelector("[data-level]");
const info = box.querySelector("[data-info]");
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
  zoom.reset();
  load(picture);
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
  preload(at - 1);
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

/** Show the small picture the page has already, in the place of the large one, until that came. */
function load(picture) {
  const { full, picture: id, width, height } = picture.dataset;
  const small = picture.querySelector("img")?.currentSrc || (id ? `${full}/320` : "");
  for (const [name, value] of Object.entries({ width, height })) {
    if (value) image.setAttribute(name, value);
    else image.removeAttribute(name);
  }
  const large = new Image();
  large.src = full;
  if (large.complete && large.naturalWidth) {
    image.src = full;
    stage.classList.remove("is-loading");
    return;
  }
  image.src = small || full;
  stage.classList.add("is-loading");
  const arrive = () => {
    // Somebody who leafs quickly has gone on before it came.
    if (!box.open || pictures[index] !== picture) return;
    image.src = full;
    stage.classList.remove("is-loading");
  };
  large.addEventListener("load", arrive);
  large.addEventListener("error", arrive);
}

/** Show the neighbour at that side. Returns whether there is one. */
function leaf(step) {
  if (!pictures[index + step]) return false;
  show(index + step);
  // It comes from where the finger sent it.
  stage.dataset.from = step > 0 ? "right" : "left";
  image.addEventListener("animationend", () => delete stage.dataset.from, { once: true });
  return true;
}

const zoom = zoomable({
  stage,
  image,
  leaf,
  leave: () => box.close(),
  changed(scale) {
    level.hidden = scale === 1;
    level.textContent = `${Math.round(scale * 100)} %`;
  },
});

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
  showInfo(false);
  // First the picture: the arrow that is of no use must not get the focus.
  show(pictures.indexOf(link));
  box.showModal();
});

// A picture in focus opens with the space bar too, as a button would.
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || !event.target.matches?.("a[data-picture]")) return;
  event.preventDefault();
  event.target.click();
});

const KEYS = {
  ArrowLeft: () => show(index - 1),
  ArrowRight: () => show(index + 1),
  "+": () => zoom.step(ZOOM_STEP),
  "=": () => zoom.step(ZOOM_STEP),
  "-": () => zoom.step(1 / ZOOM_STEP),
  0: () => zoom.reset({ smooth: true }),
};

// On the document: a button that had the focus may be gone, as the arrows are while zoomed.
document.addEventListener("keydown", (event) => {
  if (!box.open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  KEYS[event.key]?.();
});

// ---------------------------------------------------------------- what is told, on a phone
function showInfo(value) {
  side.classList.toggle("is-up", value);
  info.setAttribute("aria-expanded", String(value));
}

info.addEventListener("click", () => showInfo(!side.classList.contains("is-up")));

let drawnFrom = null;
side.addEventListener("touchstart", (event) => {
  drawnFrom = event.touches.length === 1 ? event.touches[0].clientY : null;
}, { passive: true });
side.addEventListener("touchend", (event) => {
  if (drawnFrom === null) return;
  const way = event.changedTouches[0].clientY - drawnFrom;
  if (way < -40) showInfo(true);
  else if (way > 40 && side.scrollTop === 0) showInfo(false);
}, { passive: true });

previous.addEventListener("click", () => show(index - 1));
next.addEventListener("click", () => show(index + 1));
box.querySelector("[data-close]").addEventListener("click", () => box.close());

box.addEventListener("close", () => {
  const link = pictures[index];
  image.removeAttribute("src");
  zoom.reset();
  // Back where one was, or at the picture one leafed to.
  (link?.hidden ? galleryOf(link).querySelector("a") : link)?.focus();
});
