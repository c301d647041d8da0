"""An entry of the unified history: one finished task of any source. Read only."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from history import view


class HistoryEntryQuerySet(models.QuerySet["HistoryEntry"]):
    """Keep to filters and to the order of fluxsite/paging.py: a join, a count or any other
    order makes the database read everything the member ever made."""

    def for_user(self, user: Any) -> HistoryEntryQuerySet:
        return self.filter(user=user)

    def source(self, name: str) -> HistoryEntryQuerySet:
        return self.filter(source=name)


class HistoryEntry(models.Model):
    """A row of the view. Look one up by `source` and `source_id`: `key` has no index."""

    key = models.TextField(primary_key=True)
    source = models.TextField()
    source_id = models.CharField(max_length=255, db_column="id")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    model = models.CharField(max_length=100)
    prompt = models.TextField()
    image_url = models.TextField()
    status = models.CharField(max_length=20)
    created_at = models.DateTimeField()
    is_favourite = models.BooleanField()

    objects = HistoryEntryQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = view.NAME
        default_permissions = ()
        verbose_name = _("history entry")
        verbose_name_plural = _("history entries")
        ordering: ClassVar = ["-created_at", "-source_id"]

    def __str__(self) -> str:
        return self.key
