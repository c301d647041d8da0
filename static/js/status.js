// The header tells what is left and what runs: asked again when a card gets into another state.

const list = document.getElementById("cards");

const states = () =>
  [...list.querySelectorAll("[data-live]")].map((card) => card.id + card.dataset.state).join();

let known = states();

new MutationObserver(() => {
  const now = states();
  if (now === known) return;
  known = now;
  document.getElementById("status")?.dispatchEvent(new Event("moved"));
}).observe(list, { childList: true, subtree: true });
