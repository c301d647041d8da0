from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from fluxsite import schedules


class GenerationConfig(AppConfig):
    name = "generation"
    verbose_name = _("Generation")

    def ready(self) -> None:
        post_migrate.connect(prepare_site, sender=self)


def prepare_site(*, using: str, **kwargs: Any) -> None:
    """After every migrate: the configuration row, the prices of new endpoints, the schedule
    that is the floor under the wake-ups (generation/polling.py), the one that measures how long
    the models take, and those that look after the ledger, the pictures and the index of the
    search every night."""
    from credits.models import Price
    from generation import channel, lifecycle, offering
    from generation.models import FluxConfig, OfferedModel

    # A migration back to an older state leaves no table to write to.
    tables = connections[using].introspection.table_names()
    if FluxConfig._meta.db_table in tables:
        channel.apply_environment()
    if OfferedModel._meta.db_table in tables:
        offering.list_new()
    if Price._meta.db_table in tables:
        lifecycle.list_new_prices()
    schedules.keep(
        using=using,
        daily={
            "check_ledger": "credits.audit.nightly",
            "housekeeping": "generation.housekeeping.nightly",
            "search": "history.search.in_background",
        },
        by_minutes={
            "pace": (10, "generation.pace.measure"),
            "sweep": (1, "generation.polling.kick"),
        },
    )
