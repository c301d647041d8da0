from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models import Model
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from fluxsite import schedules


class GenerationConfig(AppConfig):
    name = "generation"
    verbose_name = _("Generation")

    def ready(self) -> None:
        post_migrate.connect(prepare_site, sender=self)


def prepare_site(*, using: str, **kwargs: Any) -> None:
    """After every migrate: the configuration row, the prices of new endpoints, the names
    other software calls models by, the schedule that is the floor under the wake-ups
    (generation/polling.py), the one that measures how long the models take, and those that look
    after the ledger, the pictures and the index of the search every night."""
    from credits.models import Price
    from generation import aliases, channel, lifecycle, offering
    from generation.models import FluxConfig, ModelAlias, OfferedModel

    # A migration back to an older state leaves no table to write to, or one without our columns.
    for model, prepare in (
        (FluxConfig, channel.apply_environment),
        (OfferedModel, offering.list_new),
        (ModelAlias, aliases.list_new),
        (Price, lifecycle.list_new_prices),
    ):
        if _is_there(model, using=using):
            prepare()
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


def _is_there(model: type[Model], *, using: str) -> bool:
    """Tell whether the database has the table of a model, with all of its columns."""
    connection = connections[using]
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return False
        columns = connection.introspection.get_table_description(cursor, table)
    return {field.column for field in model._meta.local_fields} <= {each.name for each in columns}
