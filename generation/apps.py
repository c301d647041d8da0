from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


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
    from django_q.models import Schedule

    from credits.models import Price
    from generation import channel, lifecycle
    from generation.models import FluxConfig

    # A migration back to an older state leaves no table to write to.
    tables = connections[using].introspection.table_names()
    if FluxConfig._meta.db_table in tables:
        channel.apply_environment()
    if Price._meta.db_table in tables:
        lifecycle.list_new_prices()
    if Schedule._meta.db_table in tables:
        Schedule.objects.get_or_create(
            name="check_ledger",
            defaults={"func": "credits.audit.nightly", "schedule_type": Schedule.DAILY},
        )
        Schedule.objects.get_or_create(
            name="housekeeping",
            defaults={"func": "generation.housekeeping.nightly", "schedule_type": Schedule.DAILY},
        )
        Schedule.objects.get_or_create(
            name="pace",
            defaults={
                "func": "generation.pace.measure",
                "schedule_type": Schedule.MINUTES,
                "minutes": 10,
            },
        )
        Schedule.objects.get_or_create(
            name="search",
            defaults={"func": "history.search.in_background", "schedule_type": Schedule.DAILY},
        )
        Schedule.objects.get_or_create(
            name="sweep",
            defaults={
                "func": "generation.polling.kick",
                "schedule_type": Schedule.MINUTES,
                "minutes": 1,
            },
        )
