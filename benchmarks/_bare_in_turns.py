"""The bare project of `_bare.py` on the product's own database backend: SQLite with a gate."""

from __future__ import annotations

from benchmarks._bare import *  # noqa: F403
from benchmarks._bare import DATABASES

DATABASES["default"]["ENGINE"] = "fluxsite.sqlite"
