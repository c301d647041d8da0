"""The items of the gallery, two dozen on every page.

What one looks like stands in templates/history/_entry.html. Each shape of an item (a favourite
with one picture, two pictures and no prompt, …) is a stencil (fluxsite/stencils.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

from fluxsite.stencils import Stencil, hole, kept
from history.entries import Entry
from history.sources import Picture

TEMPLATE = "history/_entry.html"

#: How many pictures are asked for before the browser knows whether they can be seen; the first
#: screen of a phone has as many.
EARLY = 4

_OF_ENTRY = ("key", "url", "short_name", "prompt", "source", "model_name", "moment")
_OF_PICTURE = ("id", "url", "width", "height")


def items(entries: Iterable[Entry]) -> SafeString:
    """Return what the template makes of these entries, in the language of the reader."""
    # Asked once: Django looks for them anew each time.
    zone, language = timezone.get_current_timezone(), get_language() or ""
    written = [
        _stencil(_shape(entry), language, at < EARLY).fill(
            _texts(entry) | {"day": entry.day_for(zone, language)}
        )
        for at, entry in enumerate(entries)
    ]
    return mark_safe("".join(written))  # noqa: S308


def _texts(entry: Entry) -> dict[str, str]:
    texts = {name: getattr(entry, name) for name in _OF_ENTRY}
    for at, picture in enumerate(entry.pictures):
        for name in _OF_PICTURE:
            texts[f"{at}.{name}"] = str(getattr(picture, name))
    return texts


def _shape(entry: Entry) -> tuple[Any, ...]:
    """Return everything a template may ask that is no text of the entry's own."""
    is_shown = entry.is_shown
    return (
        entry.is_favourite,
        is_shown,
        "" if is_shown else entry.state,
        bool(entry.url),
        bool(entry.prompt),
        tuple((p.is_nsfw, bool(p.id), bool(p.width and p.height)) for p in entry.pictures),
    )


@kept
def _stencil(shape: tuple[Any, ...], _language: str, is_early: bool) -> Stencil:  # noqa: FBT001
    is_favourite, is_shown, state, has_url, has_prompt, pictures = shape
    blanks = [_blank(at, *picture) for at, picture in enumerate(pictures)]
    blank = {
        **{name: hole(name) for name in (*_OF_ENTRY, "day")},
        **({} if has_url else {"url": ""}),
        **({} if has_prompt else {"prompt": ""}),
        "is_favourite": is_favourite,
        "is_shown": is_shown,
        "state": state,
        "tick_text": Entry.text_of_tick(hole("short_name")),
        "cover": blanks[0] if blanks else None,
        "others": blanks[1:],
        "count": len(pictures),
        "count_text": Entry.text_of_count(len(pictures)),
    }
    return Stencil(render_to_string(TEMPLATE, {"entry": blank, "is_early": is_early}))


def _blank(at: int, is_nsfw: bool, has_id: bool, has_size: bool) -> Picture:  # noqa: FBT001
    """Return a picture whose values are holes, and whose other texts are made of them."""
    holes: dict[str, Any] = {name: hole(f"{at}.{name}") for name in _OF_PICTURE}
    missing: dict[str, Any] = {} if has_id else {"id": ""}
    missing |= {} if has_size else {"width": None}
    return Picture(**holes | missing, is_nsfw=is_nsfw, stored=True)
