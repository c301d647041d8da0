"""Tokens by which other software speaks for a member, what a member likes to see, and what the
site counted of itself."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, ClassVar

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from fluxsite.audit_log.models import AuditEntry

__all__ = ["ApiToken", "AuditEntry", "HourlyFigure", "Incident", "MemberSettings"]

PREFIX = "fx_"

#: What a token may be allowed. Each view of the API names the one it needs (authentication.py).
SCOPES = {
    "read": _("Read: history, tasks, credits"),
    "generate": _("Draw: bring pictures, begin and cancel tasks"),
    "manage": _("Change: marks, feedback, presets, redeem codes"),
}
ALL_SCOPES = " ".join(SCOPES)


def _digest(secret: str) -> str:
    # The secret has 256 random bits: a plain hash cannot be searched, and is quick to check.
    return hashlib.sha256(secret.encode()).hexdigest()


# In SQL, because every request with a token asks it: Django takes ten times as long to build
# the query as the database to answer it.
_FIND = """
    SELECT auth_user.*, api_tokens.id AS token_id, api_tokens.last_used_at AS token_used_at,
        api_tokens.scopes AS token_scopes
    FROM api_tokens JOIN auth_user ON auth_user.id = api_tokens.user_id
    WHERE api_tokens.digest = %s AND api_tokens.revoked_at IS NULL AND auth_user.is_active
        AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > %s)
"""


class ApiTokenManager(models.Manager["ApiToken"]):
    def issue(
        self,
        *,
        user: Any,
        name: str,
        expires_at: datetime | None = None,
        scopes: Collection[str] = tuple(SCOPES),
    ) -> tuple[ApiToken, str]:
        """Make a token and return it with its secret, which is never readable again.

        Raises ValueError for no scope at all, and for one that does not exist.
        """
        if not scopes or not SCOPES.keys() >= set(scopes):
            msg = f"Scopes are some of {ALL_SCOPES}, not {' '.join(scopes) or 'none'}."
            raise ValueError(msg)
        secret = PREFIX + secrets.token_urlsafe(32)
        token = self.create(
            user=user,
            name=name,
            hint=secret[-4:],
            digest=_digest(secret),
            scopes=" ".join(each for each in SCOPES if each in scopes),
            expires_at=expires_at,
        )
        return token, secret

    def revoke(self, *, user: Any, token_id: int) -> bool:
        """Make a token of that member useless for ever. False: there is none, or not any more."""
        mine = self.filter(pk=token_id, user=user, revoked_at=None)
        return mine.update(revoked_at=timezone.now()) == 1

    def living(self, *, user: Any) -> models.QuerySet[ApiToken]:
        """Return the tokens by which something can speak for that member now."""
        has_time = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(has_time, user=user, revoked_at=None)

    def revoke_all(self, *, user: Any) -> int:
        """Make all tokens of that member useless for ever. Return how many there were."""
        return self.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())

    def find(self, secret: str) -> ApiToken | None:
        """Return the valid token of that secret with its member, or None. One query.

        Of the token itself only `id`, `user`, `scopes` and `last_used_at` are read.
        """
        user: Any
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        for user in get_user_model().objects.raw(_FIND, [_digest(secret), now]):
            used_at = user.token_used_at
            if used_at and timezone.is_naive(used_at):  # SQLite knows no time zones.
                used_at = used_at.replace(tzinfo=UTC)
            return ApiToken(
                pk=user.token_id, user=user, last_used_at=used_at, scopes=user.token_scopes
            )
        return None


class ApiToken(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=100)
    hint = models.CharField(_("last characters"), max_length=4)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    #: Words of SCOPES. What was made before there were any may do everything.
    scopes = models.CharField(_("may"), max_length=100, default=ALL_SCOPES, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    objects = ApiTokenManager()

    class Meta:
        db_table = "api_tokens"
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"

    def allows(self, scope: str) -> bool:
        return scope in self.scopes.split()

    @property
    def scope_names(self) -> list[str]:
        """Return what it may do, in words."""
        return [str(name) for scope, name in SCOPES.items() if self.allows(scope)]

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


class FailedLogin(AccessAttempt):  # type: ignore[misc]
    """Wrong passwords of one name from one address, or of all names from one
    (fluxsite/logging_in.py). To delete it lets whoever it was try again."""

    class Meta:
        proxy = True
        default_permissions = ("view", "delete")
        verbose_name = _("failed login")
        verbose_name_plural = _("failed logins")

    def __str__(self) -> str:
        return f"{self.username or '*'} · {self.ip_address}"


class MemberSettings(models.Model):
    """What a member chose about the pages, for every browser they sign in with."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="site_settings"
    )
    #: Empty: as the browser says.
    language = models.CharField(_("language"), max_length=10, blank=True, default="")
    #: Empty: nothing was ever chosen; else one of `themes.THEMES`.
    theme = models.CharField(_("theme"), max_length=10, blank=True, default="")
    notifies = models.BooleanField(_("notifications"), default=False)

    class Meta:
        db_table = "member_settings"
        verbose_name = _("settings of a member")
        verbose_name_plural = _("settings of members")

    def __str__(self) -> str:
        return str(self.user)


class HourlyFigure(models.Model):
    """How much of something an hour brought, or a day whose hours were folded into one. What is
    counted under which names is told, and written, in operations/hours.py alone."""

    begins_at = models.DateTimeField()
    hours = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=20)
    model = models.CharField(max_length=100, blank=True, default="")
    key = models.CharField(max_length=40, blank=True, default="")
    value = models.BigIntegerField()

    class Meta:
        db_table = "hourly_figures"
        default_permissions = ()
        indexes: ClassVar = [
            # Sums are read from it alone, in its order: five times as quick as from the rows.
            models.Index(
                fields=["name", "model", "key", "begins_at", "value"],
                name="idx_hourly_figures_sums",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["begins_at", "hours", "name", "model", "key"],
                name="hourly_figures_once_an_hour",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.begins_at:%Y-%m-%d %H} {self.name} {self.model} {self.key}: {self.value}"


class Incident(models.Model):
    """Something staff are told of by mail, once when it begins and once when it is over: a row
    for each kind, written by operations/incidents.py alone.

    `told` is what staff know: that it is open, or that it is not. While that differs from
    `is_open` a mail is due; whoever holds the lease sends it.
    """

    class Kind(models.TextChoices):
        BREAKER = "breaker", _("The provider refuses this site")
        QUEUE = "queue", _("Tasks are stuck")
        STORAGE = "storage", _("Pictures cannot be stored")
        LEDGER = "ledger", _("The ledger does not add up")

    kind = models.CharField(primary_key=True, max_length=20, choices=Kind.choices)
    is_open = models.BooleanField(default=False)
    told = models.BooleanField(default=False)
    detail = models.TextField(blank=True, default="")
    opened_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "incidents"
        default_permissions = ()

    def __str__(self) -> str:
        return self.kind
