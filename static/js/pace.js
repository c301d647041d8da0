// How far a picture usually is by now: a bar on every card that is being drawn.

const list = document.getElementById("cards");
const ahead = Date.parse(list.dataset.now) - Date.now();

function grow() {
  for (const bar of list.querySelectorAll(".is-running .pace")) {
    const { since } = bar.closest(".card").querySelector("[data-since]").dataset;
    const seconds = (Date.now() + ahead - Date.parse(since)) / 1000;
    if (seconds >= 0) bar.value = Math.min(seconds, bar.max);
  }
}

setInterval(grow, 250);
