// Cards that are not done yet follow the server: often at first, rarer while nothing happens,
// not at all in a tab nobody sees. Only cards that changed are replaced.

import { announce, creditsMoved, fetchFragment, showTimes } from "./dom.js";

const FIRST_WAIT = 700;
const LONGEST_WAIT = 5000;
const GROWTH = 1.25;
// As many as the server looks at in one request.
const MOST_AT_ONCE = 60;

const list = document.getElementById("cards");
const title = document.title;
// Seconds are counted on the server's clock: the reader's may be wrong by minutes.
const ahead = Date.parse(list.dataset.now) - Date.now();

let wait = FIRST_WAIT;
let timer = 0;
let asking = false;

// Until here a task's credits are reserved; then they are charged or given back.
const holdsCredits = (card) => ["waiting", "running"].includes(card?.dataset.state);

const liveCards = () => [...list.querySelectorAll("[data-live]")];

/** Ask again soon: something is new. */
export function follow() {
  wait = FIRST_WAIT;
  plan();
}

function plan() {
  clearTimeout(timer);
  showCount();
  if (liveCards().length && !document.hidden && !asking) timer = setTimeout(look, wait);
}

async function look() {
  const cards = liveCards().slice(0, MOST_AT_ONCE);
  if (!cards.length) return;
  const query = new URLSearchParams(cards.map((card) => ["id", card.dataset.card]));
  asking = true;
  try {
    const answer = await fetchFragment(`${list.dataset.cardsUrl}?${query}`);
    if (!answer) return;
    const held = cards.filter(holdsCredits);
    const changes = cards.map((card) => take(card, answer.getElementById(card.id)));
    if (held.some((card) => !holdsCredits(document.getElementById(card.id)))) creditsMoved();
    wait = changes.some(Boolean) ? FIRST_WAIT : Math.min(wait * GROWTH, LONGEST_WAIT);
  } catch (error) {
    // Whatever it was, the cards stay as they are and the question is asked again.
    if (error.status === 404) cards.forEach((card) => delete card.dataset.live);
    wait = LONGEST_WAIT;
  } finally {
    asking = false;
    plan();
  }
}

/** Put a card's newer self in its place. Returns whether it differs. */
function take(card, newer) {
  if (!newer) {
    delete card.dataset.live;
    return true;
  }
  if (!card.isConnected || newer.dataset.version === card.dataset.version) return false;
  const hadFocus = card.contains(document.activeElement);
  const before = card.dataset.state;
  if (card.classList.contains("is-open")) newer.classList.add("is-open");
  card.replaceWith(newer);
  htmx.process(newer);
  showTimes(newer);
  showSeconds();
  if (hadFocus) {
    newer.tabIndex = -1;
    newer.focus({ preventScroll: true });
  }
  if (before !== newer.dataset.state) announce(newer.dataset.announcement);
  return true;
}

function showSeconds() {
  for (const element of list.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, (Date.now() + ahead - Date.parse(element.dataset.since)) / 1000);
    element.textContent = list.dataset.seconds.replace("{n}", Math.floor(seconds));
  }
}

function showCount() {
  const running = liveCards().length;
  document.title = running ? `(${running}) ${title}` : title;
}

/** A task that was asked for twice is one task: its older card goes. */
function dropDoubles() {
  const seen = new Set();
  for (const card of list.querySelectorAll("[data-card]")) {
    if (seen.has(card.id)) card.remove();
    seen.add(card.id);
  }
}

list.addEventListener("htmx:afterSwap", (event) => {
  // Cancelling and retrying move credits too. A new task brings the composer's button along.
  const { elt, verb } = event.detail.requestConfig;
  if (verb === "post" && elt.id !== "composer") creditsMoved();
  dropDoubles();
  showSeconds();
  follow();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else follow();
});
// Back from the browser's cache, the page may have slept through everything.
addEventListener("pageshow", (event) => event.persisted && follow());

setInterval(showSeconds, 500);
showSeconds();
follow();
