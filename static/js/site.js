// On every page: menus that close, buttons that copy, times in the reader's words, and a word when
// a request fails.

import { showTimes, toast } from "./dom.js";

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// What a menu shows may be asked for when it opens; `toggle` alone is also its closing.
document.addEventListener("toggle", (event) => {
  const menu = event.target;
  if (menu.matches("details.menu[open]")) menu.dispatchEvent(new Event("opened"));
}, true);

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (!menu) return;
  event.preventDefault();
  menu.open = false;
  menu.querySelector("summary").focus();
});

// Buttons that copy the text they carry.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    toast(button.dataset.copied, { seconds: 2 });
  } catch {
    // No clipboard without HTTPS: the text is marked, so that the keys for it work.
    const code = button.parentElement.querySelector("code");
    if (code) getSelection().selectAllChildren(code);
  }
});

// The theme changes in place, so that nothing one was doing is lost; the cookie follows.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-theme-switch]") || !event.submitter) return;
  event.preventDefault();
  const { value } = event.submitter;
  const root = document.documentElement;
  if (value === "system") delete root.dataset.theme;
  else root.dataset.theme = value;
  document.querySelector("meta[name=color-scheme]").content =
    value === "system" ? "light dark" : value;
  for (const button of form.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === event.submitter));
  }
  const body = new FormData(form, event.submitter);
  fetch(form.action, { method: "POST", body, redirect: "manual", keepalive: true });
});

// A fragment request that was led to the login page must not be put into this one.
document.addEventListener("htmx:beforeSwap", (event) => {
  const asked = new URL(event.detail.xhr.responseURL || location.href);
  if (asked.pathname === "/login") {
    event.detail.shouldSwap = false;
    location.reload();
  }
  // The answer to one try too many says itself when to try again.
  if (event.detail.xhr.status === 429) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});

document.addEventListener("htmx:sendError", () => {
  toast(document.getElementById("toasts").dataset.offline);
});

document.addEventListener("htmx:responseError", (event) => {
  const texts = document.getElementById("toasts").dataset;
  toast(event.detail.xhr.status === 404 ? texts.gone : texts.error);
});

document.addEventListener("htmx:afterSettle", () => showTimes());
showTimes();
setInterval(showTimes, 30_000, document);
