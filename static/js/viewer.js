// The lightbox is not part of a first visit: it is fetched when somebody comes near a picture.

let coming = null;
let isHere = false;

const pictureOf = (event) => event.target.closest?.("a[data-picture]");

function fetchLightbox() {
  coming ??= import("./lightbox.js").then(() => {
    isHere = true;
  });
  return coming;
}

for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, (event) => {
    // Unanswered, the click that may follow asks again.
    if (pictureOf(event)) fetchLightbox().catch(() => (coming = null));
  });
}

document.addEventListener("click", async (event) => {
  const link = pictureOf(event);
  if (!link || isHere || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    await fetchLightbox();
    link.click();
  } catch {
    location.assign(link.href);
  }
});
