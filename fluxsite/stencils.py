"""Stencils: parts of pages that look the same but for a few texts.

Django's templates take longer over a page than the database over what is on it. So a template is
rendered once with a hole wherever a text differs, and then only filled in:

    stencil = Stencil(render_to_string("_hello.html", {"name": hole("name")}))
    stencil.fill({"name": "<Ada>"})

What makes one is `kept`: by the language, and everything else that a template may ask. All apps
use this module; it knows none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from html import escape
from typing import ParamSpec, TypeVar, cast

from django.conf import settings
from django.utils.safestring import SafeString, mark_safe

#: Stands around the name of a hole. No template has it.
_EDGE = "\0"
_INDENTATION = re.compile(r"\s*\n\s*")


#: How to empty what `kept` remembers.
_caches: list[Callable[[], None]] = []

P = ParamSpec("P")
T = TypeVar("T")


def kept(function: Callable[P, T]) -> Callable[P, T]:
    """Remember what a function makes of its arguments; but not where templates are written."""
    cache = lru_cache(maxsize=0 if settings.DEBUG else 1024)(function)
    _caches.append(cache.cache_clear)
    return cast("Callable[P, T]", cache)


def forget() -> None:
    """Have everything made anew, in this process: something that it shows is called differently
    now."""
    for clear in _caches:
        clear()


def hole(name: str) -> SafeString:
    """Return what a template is given in the place of a text. It can only be written as it is:
    no filter knows what the text will be."""
    return mark_safe(f"{_EDGE}{name}{_EDGE}")  # noqa: S308


def dense(html: str) -> str:
    """Return the markup without the indentation and blank lines that only its writers need."""
    return _INDENTATION.sub("\n", html)


class Stencil:
    def __init__(self, html: str) -> None:
        self._pieces = dense(html).split(_EDGE)
        self._names = self._pieces[1::2]
        self._needed = frozenset(self._names)

    def fill(self, texts: Mapping[str, str]) -> SafeString:
        """Return the markup with these texts, escaped, in the holes. More of them do no harm."""
        escaped = {name: escape(texts[name]) for name in self._needed}
        pieces = self._pieces.copy()
        pieces[1::2] = [escaped[name] for name in self._names]
        return mark_safe("".join(pieces))  # noqa: S308
