"""The items of the gallery, two dozen on every page.

What one looks like stands in templates/history/_entry.html. Django's templates take longer
over one than the database over all of them, so each shape of an item (a favourite with one
picture, two pictures and no prompt, …) is rendered once for each language, with holes where its
values go; what differs from item to item is then written into the holes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

from history.entries import Entry

TEMPLATE = "history/_entry.html"
#: Stands around the name of a hole. No text has it: PostgreSQL refuses it, and so do we.
_EDGE = "\0"

_OF_ENTRY = (
    *("key", "url", "short_name", "tick_text", "prompt", "source", "model_name", "moment", "day"),
)
_OF_PICTURE = ("id", "url", "width", "height", "thumb_320", "thumb_640")


def items(entries: Iterable[Entry]) -> SafeString:
    """Return what the template makes of these entries, in the language of the reader."""
    language = get_language() or ""
    return mark_safe("\n".join(_item(entry, language) for entry in entries))  # noqa: S308


def _item(entry: Entry, language: str) -> str:
    values = {name: escape(getattr(entry, name)) for name in _OF_ENTRY}
    for at, picture in enumerate(entry.pictures):
        for name in _OF_PICTURE:
            values[f"{at}.{name}"] = escape(str(getattr(picture, name)))
    pieces = list(_pieces(_shape(entry), language))
    pieces[1::2] = [values[name] for name in pieces[1::2]]
    return "".join(pieces)


def _shape(entry: Entry) -> tuple[Any, ...]:
    """Return everything a template may ask that is no text of the entry's own."""
    return (
        entry.is_favourite,
        entry.is_shown,
        "" if entry.is_shown else entry.state,
        bool(entry.url),
        bool(entry.prompt),
        tuple((p.is_nsfw, bool(p.id), bool(p.width and p.height)) for p in entry.pictures),
    )


@lru_cache(maxsize=1024)
def _pieces(shape: tuple[Any, ...], language: str) -> tuple[str, ...]:
    """Return the item of a shape, cut at its holes: text, the name of a hole, text, and so on."""
    is_favourite, is_shown, state, has_url, has_prompt, pictures = shape
    blanks = [
        {
            **{name: _hole(f"{at}.{name}") for name in _OF_PICTURE},
            "is_nsfw": is_nsfw,
            **({} if has_id else {"id": ""}),
            **({} if has_size else {"width": None}),
        }
        for at, (is_nsfw, has_id, has_size) in enumerate(pictures)
    ]
    blank = {
        **{name: _hole(name) for name in _OF_ENTRY},
        **({} if has_url else {"url": ""}),
        **({} if has_prompt else {"prompt": ""}),
        "is_favourite": is_favourite,
        "is_shown": is_shown,
        "state": state,
        "cover": blanks[0] if blanks else None,
        "others": blanks[1:],
        "count": len(pictures),
        "count_text": Entry.text_of_count(len(pictures)),
    }
    return tuple(render_to_string(TEMPLATE, {"entry": blank}).split(_EDGE))


def _hole(name: str) -> SafeString:
    return mark_safe(f"{_EDGE}{name}{_EDGE}")  # noqa: S308
