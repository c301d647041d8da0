"""What every page needs from the templates' side: icons, parts that never change, and the state
of the channel."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django import template
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from fluxsite.stencils import Stencil, hole, kept
from generation import channel, errors

register = template.Library()

#: What a page says about each state of the channel, to members and to staff.
_NOTICES: dict[str, tuple[Any, Any]] = {
    "not_configured": (
        _("Nothing can be drawn yet: no image provider is set up. Please ask an administrator."),
        _("Nothing can be drawn yet: no image provider is set up. Enter a fal key to begin."),
    ),
    "off": (
        _("Drawing is switched off at the moment. An administrator can switch it on again."),
        _("Drawing is switched off. Nothing new is accepted until you switch it on again."),
    ),
    "key_unreadable": (
        _("Nothing can be drawn: the site's key cannot be read. Please tell an administrator."),
        _("The stored fal key cannot be read with this site's encryption keys. Enter it again."),
    ),
}


def request_channel(request: HttpRequest) -> channel.Channel:
    """Return the state of the channel, asked once per request."""
    known = getattr(request, "_channel", None)
    if known is None:
        known = channel.current()
        request._channel = known  # type: ignore[attr-defined]  # noqa: SLF001
    return known


class Differing(str):
    """A text that is another one on each page, see `fixed`."""

    __slots__ = ()


@register.filter
def differs(value: Any) -> Differing:
    """Mark a value of `fixed` that is another one on each page."""
    return Differing(value)


@register.simple_tag
def fixed(template_name: str, **values: str | bool) -> SafeString:
    """Include what looks the same to everybody who reads the same language: no request and no
    member in it. A process renders it once, as a page is mostly such parts and Django's
    templates take longer over them than the database over the rest.

    Values are part of that; but for texts that go through `differs`, such as a token, which are
    only filled in: there the template says `{{ name }}` and no more.
    """
    texts = {name: value for name, value in values.items() if isinstance(value, Differing)}
    shape = frozenset((name, value) for name, value in values.items() if name not in texts)
    return _stencil(template_name, get_language() or "", shape, tuple(texts)).fill(texts)


@kept
def _stencil(
    template_name: str,
    _language: str,
    shape: frozenset[tuple[str, Any]],
    differing: tuple[str, ...],
) -> Stencil:
    holes = {name: hole(name) for name in differing}
    return Stencil(render_to_string(template_name, {**dict(shape), **holes}))


@register.simple_tag
@lru_cache(maxsize=256)
def icon(name: str) -> SafeString:
    """Draw an icon of the sprite. It is decoration: the control beside it has the words."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("img/icons.svg"),
        name,
    )


@register.simple_tag(takes_context=True)
def section(context: dict[str, Any]) -> str:
    """Return which of the places in the header this page is: `studio`, `history` or none."""
    match = getattr(context.get("request"), "resolver_match", None)
    if match is None:
        return ""
    if match.view_name == "generation:studio":
        return "studio"
    return "history" if match.namespace == "history" else ""


@register.simple_tag(takes_context=True)
def channel_badge(context: dict[str, Any]) -> str:
    """Say that the built-in sandbox draws, as long as it does."""
    request = context["request"]
    if not _is_member(request) or request_channel(request).mode != "sandbox":
        return ""
    return fixed("_channel_badge.html", admin_url=_config_url(request))


@register.simple_tag(takes_context=True)
def channel_notice(context: dict[str, Any]) -> str:
    """Say plainly when nothing can be drawn, and who can change that."""
    request = context["request"]
    if not _is_member(request):
        return ""
    state = request_channel(request)
    is_staff = request.user.is_staff
    if state.is_refused:
        text = _refusal_for_staff(state) if is_staff else _refusal_for_members()
    elif state.mode in _NOTICES:
        text = str(_NOTICES[state.mode][is_staff])
    else:
        return ""
    return fixed("_channel_notice.html", text=Differing(text), admin_url=_config_url(request))


@register.inclusion_tag("_channel_warning.html", takes_context=True)
def channel_warning(context: dict[str, Any]) -> dict[str, Any]:
    """Say on the pages of the admin why nothing is being sent."""
    request = context["request"]
    if not getattr(getattr(request, "user", None), "is_staff", False):
        return {}
    state = request_channel(request)
    if state.is_refused:
        text = _refusal_for_staff(state)
    elif state.mode in _NOTICES:
        text = _NOTICES[state.mode][True]
    else:
        return {}
    return {
        "text": text,
        "admin_url": _config_url(request),
        "link": gettext("Open the configuration"),
    }


def _refusal_for_members() -> str:
    return gettext(
        "The image provider does not accept this site's requests at the moment; your tasks wait "
        "and keep their place. Administrators see the reason."
    )


def _refusal_for_staff(state: channel.Channel) -> str:
    """Say what the provider said, what happens meanwhile and what to do."""
    explained = errors.explain(state.config.refusal_code)
    return gettext(
        "%(cause)s %(advice)s Until then tasks wait and one tries now and then; saving the "
        "configuration tries at once. The provider said: %(detail)s"
    ) % {
        "cause": gettext(explained.cause),
        "advice": gettext(explained.advice),
        "detail": state.config.refusal_detail or "–",
    }


def _config_url(request: HttpRequest) -> str:
    if not getattr(request.user, "is_staff", False):
        return ""
    try:
        return reverse("admin:generation_fluxconfig_change", args=["default"])
    except NoReverseMatch:
        return ""


def _is_member(request: HttpRequest) -> bool:
    # An error page may be drawn for a request that never got as far as having a user.
    return bool(getattr(getattr(request, "user", None), "is_authenticated", False))
