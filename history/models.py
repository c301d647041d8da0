"""An entry of the unified history: one finished task of any source, and tasks whatever became
of them. Read only.

Below them what the history keeps in tables of its own: what members say of entries, and exports.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from history import view
from history.ids import new_id


class HistoryEntryQuerySet(models.QuerySet["ViewRow"]):
    """Keep to filters and to the order of fluxsite/paging.py: a join, a count or any other
    order makes the database read everything the member ever made."""

    def for_user(self, user: Any) -> HistoryEntryQuerySet:
        return self.filter(user=user)

    def source(self, name: str) -> HistoryEntryQuerySet:
        return self.filter(source=name)

    def finished(self) -> HistoryEntryQuerySet:
        """Of HistoryTask, what is an entry. In place of HistoryEntry where no member's index is
        used, because by the indexes of that one SQLite finds all entries first."""
        return self.filter(status="SUCCESS").exclude(image_url="")


class ViewRow(models.Model):
    """A row of a view. Look one up by `source` and `source_id`: `key` has no index.

    `image_url` is "" of what has no picture."""

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
        abstract = True
        managed = False
        default_permissions = ()
        ordering: ClassVar = ["-created_at", "-source_id"]

    def __str__(self) -> str:
        return self.key


class HistoryEntry(ViewRow):
    class Meta(ViewRow.Meta):
        db_table = view.NAME
        verbose_name = _("history entry")
        verbose_name_plural = _("history entries")


class HistoryFailure(ViewRow):
    """A task that failed or was cancelled: to be asked for by `status`."""

    class Meta(ViewRow.Meta):
        db_table = view.FAILURES
        verbose_name = _("failure of the history")
        verbose_name_plural = _("failures of the history")


class HistoryTask(ViewRow):
    """A task that is not in the trash, finished or not."""

    class Meta(ViewRow.Meta):
        db_table = view.TASKS
        verbose_name = _("task of the history")
        verbose_name_plural = _("tasks of the history")


# ---------------------------------------------------------------- what members say of entries
class Feedback(models.Model):
    """What a member thinks of an entry: a vote, a report, or both; one row for each.

    It names the entry by source and id, not by a foreign key, because the task may be in any of
    several tables, and it stays when the entry goes.
    """

    class Vote(models.TextChoices):
        LIKE = "like", _("Liked")
        DISLIKE = "dislike", _("Disliked")

    class Reason(models.TextChoices):
        OFF_PROMPT = "off_prompt", _("Not what I asked for")
        BROKEN = "broken", _("Broken or cut off")
        UNSAFE = "unsafe", _("Offensive or unsafe")
        RIGHTS = "rights", _("Shows a person or a brand it should not")
        TECHNICAL = "technical", _("Does not load or download")
        OTHER = "other", _("Something else")

    MAX_TEXT = 1000

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("member")
    )
    source = models.CharField(_("source"), max_length=20)
    entry_id = models.CharField(_("entry"), max_length=255)
    vote = models.CharField(_("vote"), max_length=10, choices=Vote.choices, blank=True, default="")
    reason = models.CharField(
        _("report"), max_length=20, choices=Reason.choices, blank=True, default=""
    )
    text = models.TextField(_("in their words"), max_length=MAX_TEXT, blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)
    reported_at = models.DateTimeField(_("reported"), null=True, blank=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("resolved by"),
    )

    class Meta:
        db_table = "history_feedback"
        verbose_name = verbose_name_plural = _("feedback")
        ordering: ClassVar = ["-updated_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-updated_at", "-id"], name="idx_history_feedback_newest"),
            models.Index(
                fields=["reported_at"],
                condition=models.Q(resolved_at__isnull=True) & ~models.Q(reason=""),
                name="idx_history_feedback_open",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "source", "entry_id"], name="history_feedback_one_per_entry"
            ),
            models.CheckConstraint(
                condition=models.Q(reason="") | models.Q(reported_at__isnull=False),
                name="history_feedback_a_report_has_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.entry_id}"

    @property
    def is_open(self) -> bool:
        """Whether a report waits for staff."""
        return bool(self.reason) and self.resolved_at is None


# ---------------------------------------------------------------- pictures packed together
class Export(models.Model):
    """Entries that are packed into a ZIP file (history/exports.py)."""

    class Status(models.TextChoices):
        """QUEUED → RUNNING → READY | FAILED. A worker that dies leaves RUNNING, whose lease
        runs out. The last two are final, until the row goes."""

        QUEUED = "QUEUED", _("Waiting")
        RUNNING = "RUNNING", _("Packing")
        READY = "READY", _("Ready")
        FAILED = "FAILED", _("Failed")

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    entries = models.JSONField(help_text=_("Pairs of source and id."))
    entry_count = models.PositiveIntegerField()
    picture_count = models.PositiveIntegerField(default=0, help_text=_("Packed so far."))
    byte_size = models.PositiveBigIntegerField(default=0)
    error_code = models.CharField(max_length=40, blank=True, default="")
    storage_key = models.CharField(max_length=200, blank=True, default="")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_token = models.CharField(max_length=32, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "history_exports"
        verbose_name = _("export")
        verbose_name_plural = _("exports")
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["user", "-created_at", "-id"], name="idx_history_exports_user"),
            models.Index(fields=["expires_at"], name="idx_history_exports_expiry"),
        ]

    def __str__(self) -> str:
        return self.pk

    @property
    def is_over(self) -> bool:
        return self.status in (self.Status.READY, self.Status.FAILED)
