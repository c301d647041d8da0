// Small things several modules need. Texts come translated from the page's data attributes.

const language = document.documentElement.lang || "en";

/** Let a screen reader say something; nothing moves on the page. */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer && text) announcer.textContent = text;
}

/**
 * Show a passing message. It stays until it is closed or its seconds are over, eight unless told.
 * `action`, a button or a link, stands beside the words and closes it too.
 */
export function toast(text, { action = null, seconds = 8 } = {}) {
  const toasts = document.getElementById("toasts");
  if (!toasts || !text) return;
  // All that lies outside of an open dialog can be neither seen nor reached.
  (document.querySelector("dialog:modal") ?? document.body).append(toasts);
  const message = document.createElement("p");
  const close = document.createElement("button");
  message.className = "toast";
  close.type = "button";
  close.textContent = toasts.dataset.close;
  for (const each of [action, close]) each?.addEventListener("click", () => message.remove());
  message.append(...[text, action, close].filter(Boolean));
  toasts.replaceChildren(message);
  if (seconds < Infinity) setTimeout(() => message.remove(), seconds * 1000);
}

/** Return a button for a toast. */
export function actionButton(text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", act);
  return button;
}

document.addEventListener("close", (event) => {
  const toasts = document.getElementById("toasts");
  if (toasts && event.target.contains(toasts)) document.body.append(toasts);
}, true);

/** Let everything that shows the member's credits ask again what is left of them. */
export function creditsMoved() {
  document.body.dispatchEvent(new Event("credits"));
}

const UNITS = [
  ["minute", 60],
  ["hour", 3600],
  ["day", 86400],
];

// Made when first needed: each takes the browser milliseconds.
const formats = {
  relative: () => new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" }),
  date: () => new Intl.DateTimeFormat(language, { month: "short", day: "numeric" }),
  withYear: () => new Intl.DateTimeFormat(language, { dateStyle: "medium" }),
  exact: () => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }),
};
const made = {};
const format = (name) => (made[name] ??= formats[name]());

/** Turn the server's times into the reader's: "5 minutes ago", "in 3 hours", or a date. */
export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    element.textContent = inWords(new Date(element.dateTime));
  }
}

function inWords(moment) {
  const ahead = (moment - Date.now()) / 1000;
  const distance = Math.abs(ahead);
  if (distance >= 7 * 86400) {
    const isThisYear = moment.getFullYear() === new Date().getFullYear();
    return format(isThisYear ? "date" : "withYear").format(moment);
  }
  const [unit, seconds] = UNITS.findLast(([, length]) => distance >= length) ?? ["second", 0];
  return format("relative").format(seconds ? Math.trunc(ahead / seconds) : 0, unit);
}

// The exact time is for whoever points at it.
document.addEventListener("pointerover", ({ target }) => {
  if (target.matches("time[datetime]")) {
    target.title = format("exact").format(new Date(target.dateTime));
  }
});

/** Ask the site for a fragment. A session that has ended leads to the login page. */
export async function fetchFragment(url, options = {}) {
  const response = await fetch(url, { headers: { "HX-Request": "true" }, ...options });
  if (response.redirected) {
    location.reload();
    return null;
  }
  if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status });
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

/**
 * Have a control open a dialog whose body comes from its `data-url`; it closes by its button and by
 * a click beside it. With `once` what has come is kept.
 */
export function opensSheet(control, dialog, { once = false } = {}) {
  const body = dialog.querySelector("[data-body]");
  let isFilled = false;
  control.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    dialog.showModal();
    if (once && isFilled) return;
    try {
      const answer = await fetchFragment(dialog.dataset.url);
      if (!answer) return;
      body.replaceChildren(...answer.body.childNodes);
      isFilled = true;
    } catch {
      dialog.close();
      toast(document.getElementById("toasts").dataset.offline);
    }
  });
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
