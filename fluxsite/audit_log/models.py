from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from fluxsite.append_only import AppendOnlyModel, AppendOnlyQuerySet


class AuditQuerySet(AppendOnlyQuerySet["AuditEntry"]):
    def append(self, entries: Iterable[AuditEntry]) -> list[AuditEntry]:
        """Write several entries at once."""
        return models.QuerySet.bulk_create(self, entries, batch_size=200)


class AuditEntry(AppendOnlyModel):
    """One thing that somebody of staff did, or that was refused to somebody.

    People and objects are named by text, not linked: it stays true when they have gone.
    """

    ADD, CHANGE, DELETE = "add", "change", "delete"
    LOGIN, LOGIN_FAILED, DENIED = "login", "login_failed", "denied"
    PASSWORD = "password_change"  # noqa: S105

    created_at = models.DateTimeField(_("at"), default=timezone.now, editable=False)
    actor_id = models.CharField(
        _("id of that person"), max_length=40, blank=True, default="", editable=False
    )
    actor = models.CharField(
        _("by"),
        max_length=150,
        blank=True,
        default="",
        help_text=_("Empty: nobody who was signed in."),
    )
    #: One of the constants above, or the name of an action, a page or a command.
    action = models.CharField(_("action"), max_length=100)
    #: As `app.model`.
    object_type = models.CharField(_("kind of object"), max_length=100, blank=True, default="")
    object_id = models.CharField(_("id"), max_length=255, blank=True, default="")
    object_label = models.CharField(_("object"), max_length=200, blank=True, default="")
    changes = models.JSONField(
        _("changes"), default=dict, help_text=_("Of each field what it was and what it is.")
    )
    message = models.TextField(_("in words"), blank=True, default="")
    request_id = models.CharField(_("request"), max_length=64, blank=True, default="")
    address = models.CharField(_("address"), max_length=45, blank=True, default="")

    objects = AuditQuerySet.as_manager()

    class Meta:
        db_table = "audit_log"
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        default_permissions = ("view",)
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="idx_audit_log_newest"),
            models.Index(fields=["actor", "-created_at", "-id"], name="idx_audit_log_actor"),
            models.Index(fields=["action", "-created_at", "-id"], name="idx_audit_log_action"),
            models.Index(
                fields=["object_type", "object_id", "-created_at"], name="idx_audit_log_object"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.object_label}".rstrip()
