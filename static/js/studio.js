// The studio page: its parts each look after themselves.

import "./cards.js";
import "./prompt.js";
import "./settings.js";
import "./sheet.js";
import "./references.js";
import "./viewer.js";
import "./recent.js";
import "./fill.js";
import "./compare.js";

const opened = document.querySelector(".card.is-open");
if (opened && !location.hash) opened.scrollIntoView({ block: "start" });
