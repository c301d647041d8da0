// Saying that a picture is done to somebody who does not look: a notification of the browser, a
// short sound. Both only where the member has asked for it in this browser.

import { toast } from "./dom.js";

const LONG = 10;
const switches = [...document.querySelectorAll("[data-signal]")];
const texts = switches[0]?.dataset ?? {};
const told = new Set();
let audio = null;

const ways = {
  notify: {
    isThere: "Notification" in window && window.isSecureContext,
    isOn: () => isKept("notify") && Notification.permission === "granted",
    async allow() {
      const answer = await Notification.requestPermission();
      if (answer !== "granted") toast(texts.refused);
      return answer === "granted";
    },
    show: notify,
  },
  sound: {
    isThere: "AudioContext" in window,
    isOn: () => isKept("sound"),
    // The way it will sound; and browsers are silent until something was pressed.
    allow: () => (play(), true),
    show: play,
  },
};

// Where the browser keeps nothing, a page keeps it for itself.
const here = {};

/** As this browser was told, or else as the member's account says in a cookie. */
function isKept(name) {
  let kept;
  try {
    kept = localStorage.getItem(`fluxsite.${name}`);
  } catch {
    kept = here[name];
  }
  return kept ? kept === "on" : document.cookie.split("; ").includes(`${name}=1`);
}

function keep(name, value) {
  here[name] = value;
  try {
    localStorage.setItem(`fluxsite.${name}`, value);
  } catch {
    // Not kept then.
  }
}

const active = () => Object.values(ways).filter((way) => way.isThere && way.isOn());

/** Tell whether anybody wants to hear of what is done while the page is hidden. */
export const areWanted = () => active().length > 0;

/**
 * Say that a task has ended, once. `state` is done or failed; `seconds` is how long it took.
 */
export function signal({ id, state, prompt, seconds }) {
  if (told.has(id) || !["done", "failed"].includes(state)) return;
  told.add(id);
  if (seconds <= LONG && !document.hidden) return;
  for (const way of active()) way.show({ id, state, prompt });
}

function notify({ id, state, prompt }) {
  const title = state === "done" ? texts.done : texts.failed;
  try {
    // One for each task, however many tabs say it.
    const shown = new Notification(title, { body: prompt, tag: id });
    shown.addEventListener("click", () => {
      window.focus();
      document.getElementById(`task-${id}`)?.scrollIntoView({ block: "start" });
      shown.close();
    });
  } catch {
    // Some phones show them for installed pages only.
  }
}

/** Two soft notes. */
function play() {
  audio ??= new AudioContext();
  audio.resume();
  [660, 880].forEach((pitch, place) => {
    const begin = audio.currentTime + 0.02 + place * 0.14;
    const tone = new OscillatorNode(audio, { frequency: pitch });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0, begin);
    volume.gain.linearRampToValueAtTime(0.12, begin + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.3);
    tone.connect(volume).connect(audio.destination);
    tone.start(begin);
    tone.stop(begin + 0.32);
  });
}

function show(button) {
  const isOn = ways[button.dataset.signal].isOn();
  button.setAttribute("aria-pressed", String(isOn));
  button.querySelector("[data-on]").textContent = button.querySelector("[data-on]").dataset[
    isOn ? "on" : "off"
  ];
}

for (const button of switches) {
  const name = button.dataset.signal;
  button.hidden = !ways[name].isThere;
  if (!ways[name].isThere) continue;
  button.addEventListener("click", async () => {
    if (ways[name].isOn()) keep(name, "off");
    else if (await ways[name].allow()) keep(name, "on");
    show(button);
  });
  // Another tab may have changed it.
  addEventListener("storage", () => show(button));
  show(button);
}
