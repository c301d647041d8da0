from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _

from fluxsite import schedules


class HistoryConfig(AppConfig):
    name = "history"
    verbose_name = _("History")

    def ready(self) -> None:
        from history import search, view  # want the apps to be ready

        pre_migrate.connect(view.before_migrate, sender=self)
        post_migrate.connect(view.after_migrate, sender=self)
        post_migrate.connect(search.after_migrate, sender=self)
        post_migrate.connect(plan_the_night, sender=self)


def plan_the_night(*, using: str, **kwargs: Any) -> None:
    """After every migrate: see to it that the nightly jobs are on the schedule."""
    schedules.keep(using=using, daily={"history": "history.nightly.nightly"})
