"""What every page says about the visitor: the theme they chose."""

from __future__ import annotations

from typing import Any

from django import template
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from fluxsite import themes

register = template.Library()

_WORDS = {
    "system": (_("As the system"), "screen"),
    "light": (_("Light"), "sun"),
    "dark": (_("Dark"), "moon"),
}


@register.simple_tag(takes_context=True)
def theme(context: dict[str, Any]) -> str:
    """Return `light` or `dark` if it was chosen, else nothing: then the system decides."""
    chosen = themes.chosen(context.get("request"))
    return "" if chosen == themes.SYSTEM else chosen


@register.simple_tag
def theme_options(chosen: str) -> list[dict[str, Any]]:
    """Return the three themes; the chosen one, as `theme` returns it, is marked."""
    chosen = chosen or themes.SYSTEM
    return [
        {"value": value, "label": label, "icon": icon, "is_chosen": value == chosen}
        for value, (label, icon) in _WORDS.items()
    ]


@register.simple_tag
def languages() -> list[tuple[str, str]]:
    """Return the code of each language and how it calls itself."""
    return list(settings.LANGUAGES)
