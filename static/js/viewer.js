// The lightbox is not part of a first visit: it is fetched when somebody comes near a picture.

let coming = null;
let isHere = false;

const pictureOf = (event) => event.target.closest?.("a[data-picture]");

function fetchLightbox() {
  coming ??= Promise.all([import("./lightbox.js"), fetchStyles()]).then(() => {
    isHere = true;
  });
  return coming;
}

function fetchStyles() {
  return new Promise((resolve, reject) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("../css/lightbox.css", import.meta.url);
    link.onload = resolve;
    link.onerror = reject;
    document.head.append(link);
  });
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
