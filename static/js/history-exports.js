// Selected entries become a ZIP file in the background; a toast says how it goes and has the link.

import { toast } from "./dom.js";
import { named, send } from "./history-api.js";
import { clear } from "./history-selection.js";

const FIRST_WAIT = 800;
const LONGEST_WAIT = 5000;
const GROWTH = 1.3;

const texts = document.getElementById("marks").dataset;
let latest = "";

/** Have entries packed, and say when they are. */
export async function pack(keys) {
  try {
    const asked = await send(texts.exportsUrl, { entries: keys.map(named) });
    latest = asked.id;
    clear();
    toast(texts.packing, { action: pageLink(), seconds: Infinity });
    follow(asked.id, FIRST_WAIT);
  } catch (error) {
    toast(error.message || document.getElementById("toasts").dataset.error);
  }
}

function follow(id, wait) {
  setTimeout(async () => {
    // Who asks for another has its toast; this one is on the page of exports.
    if (latest !== id) return;
    let now = null;
    try {
      now = await send(`${texts.exportsUrl}/${id}`, null, "GET");
    } catch (error) {
      if (error.status) return;
    }
    if (now?.status === "READY") {
      toast(texts.packed, { action: link(now.url, texts.fetch, true), seconds: Infinity });
    } else if (now?.status === "FAILED") {
      toast(now.error_message, { seconds: 20 });
    } else {
      follow(id, Math.min(wait * GROWTH, LONGEST_WAIT));
    }
  }, wait);
}

function link(url, words, isFile) {
  const made = document.createElement("a");
  made.href = url;
  made.textContent = words;
  if (isFile) made.download = "";
  return made;
}

const pageLink = () => link(texts.exportsPage, texts.look, false);
