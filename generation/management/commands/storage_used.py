"""``manage.py storage_used``: count anew what each member's pictures take."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.template.defaultfilters import filesizeformat

from generation import housekeeping
from generation.models import StorageUse


class Command(BaseCommand):
    help = "Count what each member's pictures and uploads take, largest first."

    def handle(self, *args: Any, **options: Any) -> None:
        housekeeping.count_storage()
        total = 0
        for use in StorageUse.objects.select_related("user"):
            total += use.byte_size
            self.stdout.write(
                f"{self._size(use.byte_size):>10}  {use.user.get_username()}: "
                f"{use.pictures} pictures, {use.uploads} uploads"
            )
        self.stdout.write(f"{self._size(total):>10}  in all")

    def _size(self, size: int) -> str:
        return filesizeformat(size).replace("\xa0", " ")
