"""The cards of the studio page, as quick as they can be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

from django import template
from django.template import Context
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from generation.cards import Card

register = template.Library()

TEMPLATE = "generation/_card.html"
#: Some four kilobytes each.
KEPT = 1000

_lock = Lock()
_kept: OrderedDict[Hashable, SafeString] = OrderedDict()


@register.simple_tag(takes_context=True)
def card_here(context: Context, card: Card) -> SafeString:
    """Include a card. One that is done stays as it is, and is rendered once by each process:
    twenty of them are nearly all that a studio page costs."""
    if not card.is_settled:
        return _rendered(context, card)
    # The pictures of the first are not lazy: they are what a page shows first.
    key = (card.settled_as, get_language(), bool(context.get("is_early")))
    with _lock:
        if known := _kept.get(key):
            _kept.move_to_end(key)
            return known
    html = _rendered(context, card)
    with _lock:
        _kept[key] = html
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return html


def _rendered(context: Context, card: Card) -> SafeString:
    with context.push(card=card):
        return context.template.engine.get_template(TEMPLATE).render(context)  # type: ignore[union-attr]
