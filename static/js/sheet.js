// The settings on a phone: a sheet from below, named after what is set in it.

const form = document.getElementById("composer");
const sheet = document.getElementById("settings");
const summary = form.querySelector("[data-settings-summary]");
const wide = matchMedia("(min-width: 641px)");

/** Name what is set: "FLUX.1 dev · 3:2 · 2". */
function show() {
  const value = (name) => form.querySelector(`[name="${name}"]:checked`)?.value;
  const count = value("num_images");
  const model = form.querySelector("[data-model-name]").textContent.trim();
  summary.textContent = [model, value("aspect_ratio"), count && `×${count}`]
    .filter(Boolean)
    .join(" · ");
}

form.addEventListener("change", show);
document.addEventListener("htmx:afterSettle", show);
// Browsers that know no popovers have the settings in line.
const isOpen = () => "popover" in sheet && sheet.matches(":popover-open");

// Turned around, a tablet has room for them in line.
wide.addEventListener("change", () => {
  if (wide.matches && isOpen()) sheet.hidePopover();
});

// Drawn down, it goes.
let from = null;
sheet.addEventListener("touchstart", (event) => {
  from = sheet.scrollTop === 0 && event.touches.length === 1 ? event.touches[0].clientY : null;
}, { passive: true });
sheet.addEventListener("touchend", (event) => {
  const isDrawn = from !== null && event.changedTouches[0].clientY - from > 90;
  if (isDrawn && sheet.scrollTop === 0 && isOpen()) sheet.hidePopover();
}, { passive: true });

show();
