"""`Authorization: Bearer <token>`, as OpenAI's clients and curl send it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from fluxsite.models import ApiToken

#: `last_used_at` is written at most this often: it is for people, not for accounting.
LAST_USED_STEP = timedelta(minutes=5)


def named_token(request: HttpRequest | Request) -> tuple[bool, ApiToken | None]:
    """Return whether the request names a token, and that token if it is valid."""
    # All it reads is META, which both kinds of request have.
    scheme, _blank, secret = get_authorization_header(cast(Request, request)).partition(b" ")
    if scheme.lower() != b"bearer":
        return False, None
    try:
        return True, ApiToken.objects.find(secret.strip().decode("ascii"))
    except UnicodeDecodeError:
        return True, None


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        is_named, token = named_token(request)
        if not is_named:
            return None
        if token is None:
            raise AuthenticationFailed(_("This token is not valid, or was revoked."))
        now = timezone.now()
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_STEP)
        if token.last_used_at is None or token.last_used_at < now - LAST_USED_STEP:
            ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Fluxsite"'


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
