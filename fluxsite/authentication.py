"""`Authorization: Bearer <token>`, as OpenAI's clients and curl send it, and what it may do.

Each view of the API names the scope a token needs, for each of its methods:

    token_scopes = {"GET": "read", "POST": "manage"}

A method without a scope is open to no token. Who comes with a session may do what the member may.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
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


class ScopeMissing(PermissionDenied):
    """The token is good, but not for this (RFC 6750, 3.1)."""

    default_code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(
            _("This token lacks the scope %(scope)s. Make one that has it.") % {"scope": scope}
        )
        self.auth_header = f'Bearer realm="Fluxsite", error="insufficient_scope", scope="{scope}"'


def need(scope: str, *, of: ApiToken) -> None:
    """Raise ScopeMissing unless the token has it."""
    if not of.allows(scope):
        raise ScopeMissing(scope)


class TokenScope(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, ApiToken) or request.method == "OPTIONS":
            return True
        method = "GET" if request.method == "HEAD" else request.method
        scope = getattr(view, "token_scopes", {}).get(method)
        if scope is None:
            return method not in view.allowed_methods  # The view answers 405 by itself.
        need(scope, of=request.auth)
        return True


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
