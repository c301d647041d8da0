"""How pages write amounts of credits, and whether they write any."""

from __future__ import annotations

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def credits_enabled() -> bool:
    return bool(settings.CREDITS_ENABLED)


@register.filter
def grouped(number: int) -> str:
    """Write 12345 as 12,345."""
    return f"{number:,}"


@register.filter
def signed(number: int) -> str:
    """Write an amount with its sign; the minus is the real one, as wide as the plus."""
    return f"{number:+,}".replace("-", "−") if number else "0"
