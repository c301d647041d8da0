"""Every way a task can end without a picture, in words for the member who waits for it.

One entry says what happened, whether credits were taken and what to do next. The texts are
English message ids; the pages and the API translate them. What the vendor itself said is
kept on the task for staff, never shown to members: it echoes prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


def _(text: str) -> str:
    """Mark a text for translation without importing Django."""
    return text


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a member reads about an ended task.

    `action` is the next step the card offers: `retry` the same request, `edit` it first,
    choose another `model`, or `wait` for an administrator. `fault` says where it went wrong, for
    those who run the site: in the `request`, at the `provider`, for lack of `time`, or on our
    own `site`.
    """

    cause: str
    advice: str
    action: str
    fault: Literal["request", "provider", "time", "site"]


EXPLANATIONS: dict[str, Explanation] = {
    "content_policy": Explanation(
        cause=_("The provider's safety rules refused this request."),
        advice=_("Rephrase the prompt or use another reference picture."),
        action="edit",
        fault="request",
    ),
    "no_media_generated": Explanation(
        cause=_("The model returned no picture for this request."),
        advice=_("Change the prompt a little and try again."),
        action="edit",
        fault="request",
    ),
    "invalid_input": Explanation(
        cause=_("The model did not accept one of the settings."),
        advice=_("Check the settings and try again."),
        action="edit",
        fault="request",
    ),
    "bad_input_image": Explanation(
        cause=_("The model could not use the reference picture."),
        advice=_("Try another picture, as JPEG or PNG and neither very small nor very long."),
        action="edit",
        fault="request",
    ),
    "input_image_unreachable": Explanation(
        cause=_("The provider could not fetch the reference picture."),
        advice=_("Try again; if it happens again, tell an administrator."),
        action="retry",
        fault="site",
    ),
    "unknown_model": Explanation(
        cause=_("The provider does not know this model any more."),
        advice=_("Choose another model and tell an administrator."),
        action="model",
        fault="provider",
    ),
    "provider_error": Explanation(
        cause=_("The provider failed while drawing this picture."),
        advice=_("Try again in a moment."),
        action="retry",
        fault="provider",
    ),
    "provider_unavailable": Explanation(
        cause=_("The provider could not be reached for too long."),
        advice=_("Try again in a few minutes."),
        action="retry",
        fault="provider",
    ),
    "provider_refused_key": Explanation(
        cause=_("The provider refused this site's key."),
        advice=_("An administrator has to check the key."),
        action="wait",
        fault="provider",
    ),
    "account_locked": Explanation(
        cause=_("This site's account at the provider is locked, usually for lack of funds."),
        advice=_("An administrator has to top it up."),
        action="wait",
        fault="provider",
    ),
    "not_configured": Explanation(
        cause=_("No image provider is set up on this site."),
        advice=_("An administrator has to enter a fal key."),
        action="wait",
        fault="site",
    ),
    "submit_unknown": Explanation(
        cause=_("The connection broke while the request was being sent, so its fate is unknown."),
        advice=_("It is never sent twice by itself. Run it again if you still want it."),
        action="retry",
        fault="provider",
    ),
    "request_lost": Explanation(
        cause=_("The provider no longer knows this request."),
        advice=_("Try again."),
        action="retry",
        fault="provider",
    ),
    "timeout": Explanation(
        cause=_("The picture was not ready within the time allowed."),
        advice=_("Try again, or choose a quicker model."),
        action="retry",
        fault="time",
    ),
    "stopped": Explanation(
        cause=_("The picture was not ready in time, and the provider stopped drawing it."),
        advice=_("Try again, or choose a quicker model."),
        action="retry",
        fault="time",
    ),
    "cancelled": Explanation(
        cause=_("The task was cancelled."),
        advice=_("Run it again whenever you like."),
        action="retry",
        fault="request",
    ),
    "input_missing": Explanation(
        cause=_("A reference picture of this task is no longer there."),
        advice=_("Choose the picture again."),
        action="edit",
        fault="site",
    ),
    "imported_unfinished": Explanation(
        cause=_("It was not finished when it was brought over from another site."),
        advice=_("Draw it again here if you still want it."),
        action="edit",
        fault="request",
    ),
    "imported_failed": Explanation(
        cause=_("It had failed on the site it was brought over from."),
        advice=_("Draw it again here if you still want it."),
        action="edit",
        fault="request",
    ),
    "internal": Explanation(
        cause=_("Something went wrong on this site."),
        advice=_("Try again; if it happens again, tell an administrator."),
        action="retry",
        fault="site",
    ),
}


def explain(code: str) -> Explanation:
    """Return the explanation of an error code; an unknown one reads as `internal`."""
    return EXPLANATIONS.get(code, EXPLANATIONS["internal"])


def codes_of(fault: Literal["request", "provider", "time", "site"]) -> frozenset[str]:
    """Return the codes of what goes wrong there."""
    return frozenset(code for code, each in EXPLANATIONS.items() if each.fault == fault)
