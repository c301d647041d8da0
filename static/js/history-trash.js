// The trash: entries can be selected; the rest are forms.

import "./history-selection.js";
