"""What every page says about the visitor: the theme they chose."""

from __future__ import annotations

from typing import Any

from django import template
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


@register.inclusion_tag("_theme.html", takes_context=True)
def theme_switch(context: dict[str, Any]) -> dict[str, Any]:
    """Offer the three themes; the chosen one is marked."""
    request = context.get("request")
    chosen = themes.chosen(request)
    return {
        "options": [
            {"value": value, "label": label, "icon": icon, "is_chosen": value == chosen}
            for value, (label, icon) in _WORDS.items()
        ],
        "next": request.get_full_path() if request else "/",
        "csrf_token": context.get("csrf_token", ""),
    }
