// Cards that are not done yet follow the server: by a stream that tells which of them changed
// (live.js), and where there is none by asking, often at first, rarer while nothing happens.
// Neither in a tab nobody sees, unless it shall say when a picture is done (signals.js). Only
// cards that changed are replaced.

import { announce, creditsMoved, fetchFragment, showTimes } from "./dom.js";
import { Stream, takeTurn } from "./live.js";
import { areWanted, signal } from "./signals.js";

const FIRST_WAIT = 700;
const LONGEST_WAIT = 5000;
const GROWTH = 1.25;
// Once there was a stream, there will be one again: asking gives it the time to come back.
const AFTER_STREAM = 2500;
// What changes in between is fetched together.
const GAP = 500;
// Somebody who does not look can wait.
const UNSEEN_WAIT = 15_000;
// As many as the server looks at in one request.
const MOST_AT_ONCE = 60;

const list = document.getElementById("cards");
const title = document.title;
// Seconds are counted on the server's clock: the reader's may be wrong by minutes.
const ahead = Date.parse(list.dataset.now) - Date.now();

let wait = FIRST_WAIT;
let timer = 0;
let asking = false;
let askedAt = 0;
// Of the stream: cards to fetch, and those that ended while nobody looked.
const changed = new Set();
const ended = new Set();
// Gives up the turn of the one hidden tab that listens; null while we did not ask for it.
let leaveTurn = null;
let hasTurn = false;

// Until here a task's credits are reserved; then they are charged or given back.
const holdsCredits = (card) => ["waiting", "running"].includes(card?.dataset.state);

const liveCards = () => [...list.querySelectorAll("[data-live]")];
const cardOf = (id) => document.getElementById(`task-${id}`);
const secondsSince = (moment) => Math.max(0, (Date.now() + ahead - Date.parse(moment)) / 1000);

const address = (url, cards) =>
  `${url}?${new URLSearchParams(cards.slice(0, MOST_AT_ONCE).map((card) => ["id", card.dataset.card]))}`;

const stream = new Stream({
  address: () => address(list.dataset.eventsUrl, liveCards()),
  heard,
  moved() {
    if (!stream.isLive) wait = AFTER_STREAM * (1 + Math.random());
    plan();
  },
});

/** Follow the cards from now on: something is new. */
export function follow() {
  wait = FIRST_WAIT;
  plan();
}

function plan() {
  clearTimeout(timer);
  showCount();
  const isFollowing = liveCards().length > 0 && isListening();
  stream.want(isFollowing);
  if (asking) return;
  if (!stream.isLive && isFollowing) {
    timer = setTimeout(look, document.hidden ? UNSEEN_WAIT : wait);
  } else if (changed.size && !document.hidden) {
    timer = setTimeout(look, Math.max(0, askedAt + GAP - Date.now()));
  }
}

/** Tell whether to ask or to be told: when somebody looks, or wants to be called. */
function isListening() {
  const isUnseen = document.hidden && areWanted() && liveCards().length > ended.size;
  if (isUnseen && !leaveTurn) {
    leaveTurn = takeTurn("fluxsite-unseen", () => {
      hasTurn = true;
      // May be called before there is anything to leave.
      queueMicrotask(plan);
    });
  } else if (!isUnseen && leaveTurn) {
    leaveTurn();
    leaveTurn = null;
    hasTurn = false;
  }
  return isUnseen ? hasTurn : !document.hidden;
}

/** Take what the stream says: most of it needs no fetching. */
function heard(tasks) {
  for (const [id, news] of Object.entries(tasks)) {
    const card = cardOf(id);
    if (!card) continue;
    if (news.mark !== card.dataset.mark) changed.add(id);
    else show(card, news);
    if (document.hidden && ["done", "failed", "cancelled"].includes(news.state)) {
      ended.add(id);
      callFor(card, news.state);
    }
  }
  plan();
}

function show(card, { text, since }) {
  const words = card.querySelector("[data-status]");
  const elapsed = card.querySelector("[data-since]");
  card.dataset.begun = since;
  if (elapsed) elapsed.dataset.since = since;
  if (words.textContent === text) return;
  words.textContent = text;
  // Whatever is fetched next differs from this.
  card.dataset.version = "";
}

function callFor(card, state) {
  const seconds = secondsSince(card.dataset.begun);
  signal({ id: card.dataset.card, state, prompt: card.getAttribute("aria-label"), seconds });
}

async function look() {
  // The stream knows which; without it all of them may have changed.
  const which = stream.isLive ? [...changed].map(cardOf).filter(Boolean) : liveCards();
  const cards = which.slice(0, MOST_AT_ONCE);
  if (cards.length === which.length) changed.clear();
  else cards.forEach((card) => changed.delete(card.dataset.card));
  if (!cards.length) return;
  asking = true;
  try {
    const answer = await fetchFragment(address(list.dataset.cardsUrl, cards));
    if (!answer) return;
    const held = cards.filter(holdsCredits);
    const changes = cards.map((card) => take(card, answer.getElementById(card.id)));
    if (held.some((card) => !holdsCredits(document.getElementById(card.id)))) creditsMoved();
    wait = changes.some(Boolean) ? FIRST_WAIT : Math.min(wait * GROWTH, LONGEST_WAIT);
    askedAt = Date.now();
  } catch (error) {
    // Whatever it was, the cards stay as they are and the question is asked again.
    if (error.status === 404) cards.forEach((card) => delete card.dataset.live);
    else cards.forEach((card) => changed.add(card.dataset.card));
    wait = LONGEST_WAIT;
    askedAt = Date.now() + LONGEST_WAIT;
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
  if (before !== newer.dataset.state) {
    announce(newer.dataset.announcement);
    callFor(newer, newer.dataset.state);
  }
  return true;
}

/** Show how long a card has been at it, and how far it usually is by now. */
function showSeconds() {
  for (const element of list.querySelectorAll("[data-since]")) {
    const seconds = secondsSince(element.dataset.since);
    const text = list.dataset.seconds.replace("{n}", Math.floor(seconds));
    // Each writing would have all cards looked through below.
    if (element.textContent !== text) element.textContent = text;
    const bar = element.closest(".is-running")?.querySelector(".pace");
    if (bar) bar.value = Math.min(seconds, bar.max);
  }
}

function showCount() {
  const running = liveCards().filter((card) => !ended.has(card.dataset.card)).length;
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

/** Look at once: much may have happened while nobody looked. */
function comeBack() {
  ended.clear();
  wait = FIRST_WAIT;
  clearTimeout(timer);
  liveCards().forEach((card) => changed.add(card.dataset.card));
  plan();
  if (changed.size && !asking) look();
}

document.addEventListener("visibilitychange", () => (document.hidden ? plan() : comeBack()));
// Back from the browser's cache, the page may have slept through everything.
addEventListener("pageshow", (event) => event.persisted && comeBack());

// The header tells what is left and what runs: asked again when a card gets into another state.
const states = () => liveCards().map((card) => card.id + card.dataset.state).join();
let known = states();

new MutationObserver(() => {
  const now = states();
  if (now === known) return;
  known = now;
  document.getElementById("status")?.dispatchEvent(new Event("moved"));
}).observe(list, { childList: true, subtree: true });

setInterval(showSeconds, 250);
showSeconds();
follow();
