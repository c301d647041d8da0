from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.db.models.signals import post_migrate

from fluxsite import request_ids, schedules


class FluxsiteConfig(AppConfig):
    name = "fluxsite"
    verbose_name = "Fluxsite"

    def ready(self) -> None:
        from django_q.signals import pre_enqueue, pre_execute

        from credits import audit
        from fluxsite.audit_log import signals
        from fluxsite.checks import (
            TAG,
            check_contradictions,
            check_deployment,
            check_keys,
            check_packages,
            check_storage,
        )
        from fluxsite.operations import incidents

        checks.register(check_storage, TAG)
        checks.register(check_keys, TAG)
        checks.register(check_contradictions, TAG)
        checks.register(check_packages, TAG)
        checks.register(check_deployment, checks.Tags.security, deploy=True)
        audit.checked.connect(incidents.hear_of_ledger)
        signals.connect()
        pre_enqueue.connect(request_ids.send_along)
        pre_execute.connect(request_ids.take_over)
        if settings.SENTRY_DSN:
            from fluxsite import sentry

            sentry.start()
        post_migrate.connect(prepare_schedules, sender=self)


def prepare_schedules(*, using: str, **kwargs: Any) -> None:
    """After every migrate: the schedules by which the site counts what every hour brought
    and sees whether it is well."""
    schedules.keep(
        using=using,
        daily={
            "figures_nightly": "fluxsite.operations.hours.nightly",
            "logins": "fluxsite.logging_in.forget",
        },
        by_minutes={
            "figures": (1, "fluxsite.operations.hours.roll_up"),
            "watch": (1, "fluxsite.operations.incidents.watch"),
        },
    )
