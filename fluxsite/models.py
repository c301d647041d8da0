"""Tokens by which other software speaks for a member."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

PREFIX = "fx_"


def _digest(secret: str) -> str:
    # The secret has 256 random bits: a plain hash cannot be searched, and is quick to check.
    return hashlib.sha256(secret.encode()).hexdigest()


# In SQL, because every request with a token asks it: Django takes ten times as long to build
# the query as the database to answer it.
_FIND = """
    SELECT auth_user.*, api_tokens.id AS token_id, api_tokens.last_used_at AS token_used_at
    FROM api_tokens JOIN auth_user ON auth_user.id = api_tokens.user_id
    WHERE api_tokens.digest = %s AND api_tokens.revoked_at IS NULL AND auth_user.is_active
"""


class ApiTokenManager(models.Manager["ApiToken"]):
    def issue(self, *, user: Any, name: str) -> tuple[ApiToken, str]:
        """Make a token and return it with its secret, which is never readable again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        token = self.create(user=user, name=name, hint=secret[-4:], digest=_digest(secret))
        return token, secret

    def find(self, secret: str) -> ApiToken | None:
        """Return the valid token of that secret with its member, or None. One query.

        Of the token itself only `id`, `user` and `last_used_at` are read.
        """
        user: Any
        for user in get_user_model().objects.raw(_FIND, [_digest(secret)]):
            used_at = user.token_used_at
            if used_at and timezone.is_naive(used_at):  # SQLite knows no time zones.
                used_at = used_at.replace(tzinfo=UTC)
            return ApiToken(pk=user.token_id, user=user, last_used_at=used_at)
        return None


class ApiToken(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=100)
    hint = models.CharField(_("last characters"), max_length=4)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    objects = ApiTokenManager()

    class Meta:
        db_table = "api_tokens"
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"
