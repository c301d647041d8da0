"""What a trial of the connection to the provider means, in words for whoever set it up."""

from __future__ import annotations

from django.contrib import messages
from django.utils.translation import gettext as _

from generation import channel
from generation.providers.base import Trial


def compose() -> tuple[int, str]:
    """Try the connection out, and return the level of the message and its text.

    Waits for the network: seconds, never longer than FalClient.try_out.
    """
    try:
        trial = channel.try_out()
    except channel.ChannelClosed as closed:
        return messages.ERROR, _nobody_to_ask(closed.mode)
    level = messages.SUCCESS if trial.verdict == "accepted" else messages.ERROR
    if trial.verdict == "busy":
        level = messages.WARNING
    text = _texts(channel.current())[trial.verdict]
    return level, f"{text} {_said(trial)}".rstrip()


def _nobody_to_ask(mode: channel.Mode) -> str:
    if mode == "key_unreadable":
        return _("The stored key cannot be decrypted: enter it again, save, and test once more.")
    return _("There is no key to test yet: enter one, save, and test once more.")


def _texts(state: channel.Channel) -> dict[str, str]:
    accepted = _(
        "Connected: the provider answers and accepts the key. Whether the account has money "
        "shows with the first picture."
    )
    if not state.config.api_key:
        accepted = _("The built-in sandbox answers. There is no key of a provider to test.")
    elif state.is_refused:
        accepted = _(
            "Connected: the provider answers and accepts the key. Sending is still paused after "
            "a refusal; save this page to go on at once."
        )
    return {
        "accepted": accepted,
        "key_refused": _(
            "The provider answers and refuses the key. Copy it anew, whole, from the provider's "
            "page of keys, and see that the authorization scheme fits: Key for fal, Bearer for "
            "most relays."
        ),
        "account_locked": _(
            "The provider knows the key, and the account is locked: mostly it has no money left. "
            "Top it up at the provider."
        ),
        "busy": _(
            "The provider is there and has no time to say more. Nothing is wrong here; test again "
            "in a few minutes."
        ),
        "unreachable": _(
            "Nothing answered at this address. Check it for typing errors, and that this server "
            "may reach it: name resolution, firewall, certificate."
        ),
        "stranger": _(
            "Something answers at this address, but not as fal does. Check the base URL: it ends "
            "with the host, or with what your relay puts before fal's own paths."
        ),
    }


def _said(trial: Trial) -> str:
    if trial.verdict == "accepted" or not trial.detail:
        return ""
    # What strangers say may be long.
    return _("(It said: %(detail)s)") % {"detail": trial.detail[:200]}
