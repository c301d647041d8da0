// The history page needs the lightbox; everything else are links.

import "./lightbox.js";
