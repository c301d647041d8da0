"""Figures in words: short, and with a unit."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from fluxsite.operations import hours

NOTHING = "–"


def number(value: float) -> str:
    """Return 12,345, or 1.5 where that is all there is."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """Return 98.4%; never 100% or 0% for what is only nearly so."""
    if value is None:
        return NOTHING
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    return f"{100 * min(max(value, 0.001), 0.999):.1f}%"


def seconds(value: float | None) -> str:
    """Return 3.4 s, 45 s or 2 min 5 s."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return _("over %(time)s") % {"time": seconds(hours.BOUNDS[-1])}
    if value < 10:
        return _("%(seconds)s s") % {"seconds": f"{value:.1f}".removesuffix(".0")}
    if value < 100:
        return _("%(seconds)s s") % {"seconds": round(value)}
    minutes, rest = divmod(round(value), 60)
    if not rest:
        return _("%(minutes)s min") % {"minutes": minutes}
    return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}


def age(span: timedelta) -> str:
    """Return how long something has been so, in its two largest units at most."""
    total = max(0, int(span.total_seconds()))
    if total < 3600:
        return seconds(float(total))
    whole, minutes = divmod(total // 60, 60)
    if whole < 48:
        return _("%(hours)s h %(minutes)s min") % {"hours": whole, "minutes": minutes}
    return _("%(days)s days") % {"days": whole // 24}


def size(value: float) -> str:
    """Return 57.7 GB, and 60 GB without its zero."""
    return re.sub(r"[.,]0(?=\D)", "", filesizeformat(value))
