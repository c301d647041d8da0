"""Mistakes in the settings of the picture storage, told before the first picture is lost; in
the keys that secrets are encrypted with; and variables that do not go together.

The SDK notices some of them, with the first call and in words of its own; others make
addresses that nobody can open. `./run` asks for these checks before it starts anything, and
`./run manage check` runs them with all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core import checks
from django.http.request import validate_host

#: What `start` asks for.
TAG = "storage"

MAX_URL_HOURS = 168
_HOST = re.compile(
    r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?", re.A
)
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")


def check_storage(**_: Any) -> list[checks.CheckMessage]:
    """Return what is wrong with the `COS_…` variables, if any of them matters, and with what
    leans on the storage."""
    messages = list(_check_uses())
    if settings.STORAGE == "cos" or settings.COS_BUCKET:
        messages += [message for check in CHECKS for message in check()]
    return messages


def check_keys(**_: Any) -> list[checks.CheckMessage]:
    """Return which of FIELD_ENCRYPTION_KEYS is no key: else that is told with the first secret."""
    return [
        _error(
            18,
            f"FIELD_ENCRYPTION_KEYS: number {number} is not a Fernet key.",
            "Set FIELD_ENCRYPTION_KEYS to keys as manage.py rotate_keys --new-key prints them.",
        )
        for number, key in enumerate(settings.FIELD_ENCRYPTION_KEYS, start=1)
        if not _is_fernet_key(key)
    ]


def check_contradictions(**_: Any) -> list[checks.CheckMessage]:
    """Return which variables do not go together, and what to set."""
    return [
        checks.Warning(message, hint=hint, id=f"fluxsite.W{number:03}")
        for number, message, hint in _contradictions()
    ]


def _contradictions() -> Iterator[tuple[int, str, str]]:
    if settings.SECURE_SSL_REDIRECT and not settings.SECURE_PROXY_SSL_HEADER:
        yield (
            20,
            "HTTPS is 1, but who says that a visitor came by it? The site redirects for ever.",
            "Set BEHIND_PROXY to 1, and let the proxy set X-Forwarded-Proto.",
        )
    host = urlsplit(settings.PUBLIC_URL).hostname
    # DEBUG lets in names of this machine without any being named.
    if host and settings.ALLOWED_HOSTS and not validate_host(host, settings.ALLOWED_HOSTS):
        yield (
            22,
            f"PUBLIC_URL leads to {host}, which the site does not answer to.",
            f"Add {host} to ALLOWED_HOSTS, or mend PUBLIC_URL.",
        )
    if settings.STORAGE == "cos" and settings.MEDIA_X_ACCEL:
        yield (
            23,
            "MEDIA_X_ACCEL is set, but pictures are in a bucket: no proxy has them.",
            "Do not set MEDIA_X_ACCEL, or set STORAGE to local.",
        )
    if settings.STORAGE != "cos" and settings.MEDIA_PROXY:
        yield (
            24,
            "MEDIA_PROXY is 1, but pictures are on this disk: they pass through the site anyway.",
            "Do not set MEDIA_PROXY, or set STORAGE to cos.",
        )


def check_packages(**_: Any) -> list[checks.CheckMessage]:
    """Return which package a variable needs that is not there; `./run` sees to it by itself."""
    if settings.REDIS_URL and find_spec("redis") is None:
        text = "REDIS_URL is set, but the package redis is not installed."
        return [_error(25, text, "Install requirements-scale.txt, or do not set REDIS_URL.")]
    return []


def check_deployment(**_: Any) -> list[checks.CheckMessage]:
    """Return what a site that the world reaches should not leave as it is (check --deploy)."""
    found: list[checks.CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS:
        found.append(
            checks.Warning(
                "ALLOWED_HOSTS is *: links can be made that lead to a host of somebody else's.",
                hint="Set ALLOWED_HOSTS to the names of the site, such as studio.example.org.",
                id="fluxsite.W019",
            )
        )
    if settings.PUBLIC_URL.startswith("http://"):
        found.append(
            checks.Warning(
                "PUBLIC_URL is http: what lets webhooks and forgotten passwords in travels in "
                "the clear.",
                hint="Set PUBLIC_URL to the site's https:// address.",
                id="fluxsite.W021",
            )
        )
    return found


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _check_uses() -> Iterator[checks.CheckMessage]:
    if settings.STORAGE != "cos" and settings.INPUT_TRANSPORT == "url":
        yield _error(
            16,
            "INPUT_TRANSPORT is url, but files on this disk have no address for the provider.",
            "Set INPUT_TRANSPORT to auto or data, or STORAGE to cos.",
        )
    if settings.MEDIA_X_ACCEL and not re.fullmatch(r"(/[\w.-]+)+", settings.MEDIA_X_ACCEL):
        yield _error(
            17,
            f"MEDIA_X_ACCEL is {settings.MEDIA_X_ACCEL!r}, which is no location of a proxy.",
            "Set MEDIA_X_ACCEL to the path of an internal location, such as /protected.",
        )


def _error(number: int, message: str, hint: str) -> checks.CheckMessage:
    return checks.Error(message, hint=hint, id=f"fluxsite.E{number:03}")


def _check_bucket() -> Iterator[checks.CheckMessage]:
    bucket = settings.COS_BUCKET
    hint = "Set COS_BUCKET to the bucket's full name, such as pictures-1250000000."
    if not bucket:
        yield _error(1, "STORAGE is cos, but COS_BUCKET is not set.", hint)
    elif not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?-\d{5,}", bucket):
        text = f"COS_BUCKET is {bucket!r}, which does not end in a hyphen and the APPID."
        yield _error(2, text, hint)


def _check_credentials() -> Iterator[checks.CheckMessage]:
    where = "It is listed at https://console.cloud.tencent.com/cam/capi."
    for number, name in ((3, "COS_SECRET_ID"), (5, "COS_SECRET_KEY")):
        if not getattr(settings, name):
            yield _error(number, f"{name} is not set.", f"Set {name} or {name}_FILE. {where}")
    for number, name in ((4, "COS_SECRET_ID"), (6, "COS_SECRET_KEY"), (7, "COS_TOKEN")):
        # The value itself must not get into a log.
        if not re.fullmatch(r"[!-~]*", getattr(settings, name)):
            yield _error(
                number,
                f"{name} has a blank in it, or a letter that no key has.",
                f"Set {name} to the key alone, in one piece.",
            )


def _check_region() -> Iterator[checks.CheckMessage]:
    region = settings.COS_REGION
    hint = "Set COS_REGION to the region's short name, such as ap-guangzhou."
    if not region and not settings.COS_DOMAIN:
        yield _error(8, "COS_REGION is not set.", hint)
    elif region and not re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", region):
        yield _error(9, f"COS_REGION is {region!r}, which is not the name of a region.", hint)


def _check_domain() -> Iterator[checks.CheckMessage]:
    domain = settings.COS_DOMAIN
    if domain and not _HOST.fullmatch(domain):
        yield _error(
            10,
            f"COS_DOMAIN is {domain!r}, which is more than a host.",
            "Set COS_DOMAIN to the host alone, without https:// and without a path, such as "
            "img.example.org. The scheme is COS_SCHEME, the path COS_LOCATION.",
        )


def _check_scheme() -> Iterator[checks.CheckMessage]:
    scheme, domain = settings.COS_SCHEME, settings.COS_DOMAIN
    if scheme not in {"http", "https"}:
        text = f"COS_SCHEME is {scheme!r}, which is neither http nor https."
        yield _error(11, text, "Set COS_SCHEME to https, or do not set it.")
    elif scheme == "http" and not _LOOPBACK.fullmatch(domain):
        yield checks.Warning(
            "COS_SCHEME is http: pictures and their signed addresses travel in the clear, and "
            "pages served by HTTPS do not show them.",
            hint="Set COS_SCHEME to https, or do not set it.",
            id="fluxsite.W012",
        )


def _check_location() -> Iterator[checks.CheckMessage]:
    location = settings.COS_LOCATION
    hint = "Set COS_LOCATION to what names in the bucket begin with, such as studio/pictures."
    if location.startswith(("/", "\\")):
        yield _error(13, f"COS_LOCATION is {location!r}; names in COS begin without a slash.", hint)
    elif not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*/?|", location):
        text = f"COS_LOCATION is {location!r}, which has parts that cannot be in a name."
        yield _error(14, text, hint)


def _check_window() -> Iterator[checks.CheckMessage]:
    hours = settings.COS_URL_HOURS
    if not 1 <= hours <= MAX_URL_HOURS:
        yield _error(
            15,
            f"COS_URL_HOURS is {hours}, which is not from 1 to {MAX_URL_HOURS}.",
            "Set COS_URL_HOURS to the hours after which addresses change, such as 6.",
        )


CHECKS: tuple[Callable[[], Iterator[checks.CheckMessage]], ...] = (
    _check_bucket,
    _check_credentials,
    _check_region,
    _check_domain,
    _check_scheme,
    _check_location,
    _check_window,
)
