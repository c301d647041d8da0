"""The product's settings with Django's own backend for SQLite: transactions begin IMMEDIATE,
and nobody takes turns."""

from __future__ import annotations

from fluxsite.settings import *  # noqa: F403, TID251
from fluxsite.settings import DATABASES  # noqa: TID251

if DATABASES["default"]["ENGINE"] == "fluxsite.sqlite":
    DATABASES["default"]["ENGINE"] = "django.db.backends.sqlite3"
