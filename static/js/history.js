// The history page: its parts each look after themselves.

import "./lightbox.js";
import "./history-feedback.js";
import "./history-filters.js";
import "./history-marks.js";
import "./history-menu.js";
import "./history-selection.js";
