// Comparing: which models take part, at most so many, and only those that can.

const form = document.getElementById("composer");
const field = form.querySelector("[data-compare]");
const toggle = form.elements.compare;
const boxes = [...field.querySelectorAll("[name=models]")];

const cannot = (box) => box.closest("label").querySelector("[data-misfit]") !== null;

function limit() {
  const isFull = boxes.filter((box) => box.checked).length >= Number(field.dataset.most);
  for (const box of boxes) box.disabled = !box.checked && (isFull || cannot(box));
}

form.addEventListener("change", (event) => {
  if (event.target === toggle && toggle.checked && !boxes.some((box) => box.checked)) {
    const model = form.querySelector("[name=model]:checked").value;
    const current = boxes.find((box) => box.value === model);
    current.checked = !cannot(current);
  }
  if (event.target === toggle || event.target.name === "models") {
    limit();
    form.dispatchEvent(new Event("settings"));
  }
});

document.addEventListener("htmx:afterSettle", limit);
limit();
