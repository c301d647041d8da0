"""Members who come by the OpenID Connect provider of their organisation. Imported only where
OIDC_SERVER_URL names one; the protocol itself is django-allauth's.

Of what allauth can do beside, nothing is used: who may come in is decided here, before its own
flows begin, and nobody signs up, connects or recovers anything elsewhere. An account of the
provider belongs to the member it once let in. A new one belongs to the member whose address it
has, if the provider has verified that address and one member alone has it; else to a new member,
if OIDC_NEW_MEMBERS lets any in.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any, NoReturn

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.shortcuts import redirect, render, resolve_url
from django.utils.crypto import get_random_string
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from fluxsite import members
from fluxsite.audit_log import recording as audit_log
from fluxsite.audit_log.models import AuditEntry

logger = logging.getLogger(__name__)

#: Who it is in the audit log that makes somebody staff.
PROVIDER = "single sign-on"
BACKEND = "django.contrib.auth.backends.ModelBackend"
TIMEOUT = (5, 10)
MAX_BYTES = 512 * 1024
MAX_SECONDS = 20.0
MAX_NAME = 100
MAX_ADDRESS = 254


class BoundedSession(requests.Session):
    """Answers of bounded size, within bounded time, from the address that was asked."""

    def request(self, method: Any, url: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.trust_env = False
        deadline = time.monotonic() + MAX_SECONDS
        kwargs |= {"timeout": TIMEOUT, "stream": True, "allow_redirects": False}
        response = super().request(method, url, **kwargs)
        content = b""
        try:
            for chunk in response.iter_content(8192):
                content += chunk
                if len(content) > MAX_BYTES or time.monotonic() > deadline:
                    msg = "The provider's answer is too long or too slow."
                    raise requests.RequestException(msg)
        finally:
            response.close()
        response._content = content  # noqa: SLF001 - where `requests` itself keeps it
        return response


class Adapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def get_requests_session(self) -> requests.Session:
        return BoundedSession()

    def on_authentication_error(self, request: HttpRequest, *args: Any, **kwargs: Any) -> NoReturn:
        reason = kwargs.get("exception") or kwargs.get("error") or "unknown"
        logger.warning("single sign-on failed: %s", type(reason).__name__)
        _refuse(request, _("The provider did not let you in. Try again."))

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> NoReturn:
        """Log somebody in or say why not; always ends allauth's own flow."""
        if sociallogin.state.get("process") != "login":
            _refuse(request, _("The provider did not let you in. Try again."))
        claims = _claims(sociallogin)
        if claims is None:
            _refuse(request, _("The provider did not let you in. Try again."))
        user = (
            sociallogin.user if sociallogin.is_existing else members.with_address(_address(claims))
        )
        if user is None and not settings.OIDC_NEW_MEMBERS:
            _refuse(request, _("Nobody here has your address. An administrator can enter it."))
        if user is not None and not user.is_active:
            _refuse(request, _("Your account is closed. Ask an administrator."))
        try:
            user = _take_in(request, sociallogin, user, claims)
        except IntegrityError:
            # Twice at once, in two windows: the other one made the member.
            _refuse(request, _("The provider did not let you in. Try again."))
        login(request, user, backend=BACKEND)
        raise ImmediateHttpResponse(redirect(_next(request, sociallogin.state.get("next"))))


def _refuse(request: HttpRequest, reason: str) -> NoReturn:
    page = render(request, "account/sso_refused.html", {"reason": reason}, status=403)
    page["Cache-Control"] = "no-store"
    raise ImmediateHttpResponse(page)


def _claims(sociallogin: Any) -> dict[str, Any] | None:
    """Return what the provider says of the visitor, or None if its two answers disagree on who."""
    said = sociallogin.account.extra_data
    told, signed = said.get("userinfo") or {}, said.get("id_token")
    if not signed or (told and told.get("sub") != signed.get("sub")):
        return None
    # Which groups somebody is in need not be kept, nor anything else.
    sociallogin.account.extra_data = {}
    return {**signed, **told}


def _address(claims: dict[str, Any]) -> str:
    """Return the address the provider has verified, or ""."""
    address = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(address, str):
        return ""
    try:
        validate_email(address)
    except ValidationError:
        return ""
    return address if len(address) <= MAX_ADDRESS else ""


def _take_in(request: HttpRequest, sociallogin: Any, user: Any, claims: dict[str, Any]) -> Any:
    """Note whose account it is, make the member if there is none, and set whether they are staff."""
    with transaction.atomic():
        user = user or _new_member(claims)
        if settings.OIDC_STAFF_GROUP and not user.is_superuser:
            groups = claims.get("groups")
            is_staff = isinstance(groups, list) and settings.OIDC_STAFF_GROUP in groups
            if user.is_staff != is_staff:
                user.is_staff = is_staff
                user.save(update_fields=["is_staff"])
                audit_log.record(
                    action=AuditEntry.CHANGE,
                    by=PROVIDER,
                    on=user,
                    changes={"is_staff": [not is_staff, is_staff]},
                    request=request,
                )
                logger.info("member %s is staff by the provider's groups: %s", user.pk, is_staff)
        sociallogin.account.user = user
        sociallogin.account.save()
    return user


def _new_member(claims: dict[str, Any]) -> Any:
    users: Any = get_user_model().objects
    said = str(claims.get("preferred_username") or _address(claims).partition("@")[0])
    wanted = re.sub(r"[^\w.+-]", "", said)[:MAX_NAME] or "member"
    for _attempt in range(20):
        try:
            with transaction.atomic():
                return users.create_user(
                    wanted,
                    email=_address(claims),
                    first_name=str(claims.get("name") or "").replace("\0", "")[:150],
                )
        except IntegrityError:
            # Somebody else's: a name is never a reason to be taken for them.
            wanted = (
                f"{wanted[:MAX_NAME]}-{get_random_string(4, 'abcdefghjkmnpqrstuvwxyz23456789')}"
            )
    msg = "no free name was found for a new member"
    raise RuntimeError(msg)


def _next(request: HttpRequest, address: str | None) -> str:
    is_ours = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if address and is_ours else resolve_url(settings.LOGIN_REDIRECT_URL)
