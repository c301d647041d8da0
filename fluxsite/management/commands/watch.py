from __future__ import annotations

from django.core.management.base import BaseCommand

from fluxsite.operations import incidents


class Command(BaseCommand):
    help = (
        "See whether the site is well, and tell staff by mail what has changed. The workers do so "
        "every minute; from cron this also tells of workers that are gone."
    )

    def handle(self, **_options: object) -> None:
        incidents.watch()
        for incident in incidents.open_incidents():
            self.stdout.write(f"{incident.kind}: {incident.detail}")
