"""The mail to those who forgot their password, with a link to choose a new one.

A web request only counts and calls a worker, so it takes no longer for an address that belongs
to somebody, and no mail server holds it up. The link is made by the worker: until then nothing
that is written down would let anybody in.

Whoever asks need not be who gets the mail. So a member gets MAILS_PER_MEMBER an hour, and only
one where the client has caused MAILS_PER_CLIENT. Never none: behind one address there may be a
whole organisation, and somebody in it who wants to keep the others out.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.tokens import default_token_generator
from django.core.cache import cache
from django.core.mail import send_mail
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from django_q.tasks import async_task
from rest_framework.throttling import BaseThrottle

from generation import rates

logger = logging.getLogger(__name__)

MAILS_PER_MEMBER = 3
MAILS_PER_CLIENT = 30
WINDOW = timedelta(hours=1)


def is_offered() -> bool:
    """Tell whether there is a mail server, and a name of this site that no visitor made up."""
    has_name = bool(settings.PUBLIC_URL) or "*" not in settings.ALLOWED_HOSTS
    return bool(settings.EMAIL_HOST) and has_name


def ask(*, request: HttpRequest, user: Any) -> None:
    """Have the mail sent to that member, unless they had enough of them. Never raises."""
    try:
        # Counted by each process of the web server for itself: it need not be exact.
        key = _key(request)
        cache.add(key, 0, timeout=WINDOW.total_seconds())
        is_busy = cache.get(key, 0) >= MAILS_PER_CLIENT
        rates.take(
            scope="password_mail",
            user=user,
            limit=1 if is_busy else MAILS_PER_MEMBER,
            window=WINDOW,
            now=timezone.now(),
        )
        site = settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")
        async_task("fluxsite.password_mail.send", user.pk, site, translation.get_language())
        cache.incr(key)
    except rates.TooOften:
        logger.info("member %s had enough mails about a password in this hour", user.pk)
    except Exception:
        logger.exception("member %s: no mail about a password could be asked for", user.pk)


def _key(request: HttpRequest) -> str:
    # As settings.REST_FRAMEWORK["NUM_PROXIES"] says it is found.
    address = BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]
    # A digest: whatever a header says fits a key, and no addresses are collected.
    return f"password_mail:{hashlib.sha256(address.encode()).hexdigest()}"


def send(user_id: int, site: str, language: str) -> None:
    """Send that member a link below `site`. What django-q2 runs."""
    user: Any = get_user_model().objects.filter(pk=user_id, is_active=True).first()
    if user is None or not user.email or not user.has_usable_password():
        return
    context = {
        "user": user,
        "site": site,
        "uid": urlsafe_base64_encode(force_bytes(user.pk)),
        "token": default_token_generator.make_token(user),
    }
    with translation.override(language):
        subject = render_to_string("account/reset_subject.txt", context).strip()
        text = render_to_string("account/reset_mail.txt", context)
    try:
        send_mail(subject, text, None, [user.email])
    except OSError:
        logger.exception("member %s: the mail about a password was not sent", user.pk)
