"""The contract between lifecycle and a vendor: five calls, typed replies, seven failures.

A vendor's quirks stop here. What a failure means for the task is a property of its type:

    Refused         this request will never work              → FAILED
    Cancelled       the vendor stopped it at our wish         → CANCELLED
    Unavailable     nothing happened, or nothing was learnt   → ask again later
    Throttled       the same, because we ask too much         → ask less for a while
    OutcomeUnknown  the request may or may not have arrived   → never send it twice
    OperatorNeeded  the account or the key is refused         → an administrator acts
    RequestNotFound the vendor does not know this request     → FAILED once it stays so

No Django, no settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, kw_only=True)
class Submitted:
    request_id: str
    queue_position: int | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a request stands. `completed` says that there is a result to fetch, good or bad."""

    state: Literal["queued", "running", "completed"]
    queue_position: int | None = None


@dataclass(frozen=True, kw_only=True)
class PictureLink:
    """A picture at the vendor. `url` dies within days; sizes are pixels, if it told them."""

    url: str
    width: int | None = None
    height: int | None = None
    content_type: str = ""
    is_nsfw: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """`seed` is decimal text of up to 20 digits, "" if the vendor named none."""

    pictures: tuple[PictureLink, ...]
    seed: str = ""
    billable_units: str = ""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What asking after a request that nobody made brought; it costs nothing.

    accepted        the vendor is there and takes the key
    key_refused     it is there and does not
    account_locked  it takes the key, and the account may not order
    busy            it is there and has no time to tell
    unreachable     nothing is there, or it did not answer in time
    stranger        something is there that does not speak as the vendor does

    `detail` is for staff.
    """

    verdict: Literal["accepted", "key_refused", "account_locked", "busy", "unreachable", "stranger"]
    detail: str = ""


class ProviderFailure(Exception):
    """`code` is an entry of generation/errors.py; `detail` is the vendor's own text for staff,
    without what the member wrote."""

    def __init__(self, code: str, detail: str = "", *, retry_after: float | None = None) -> None:
        self.code = code
        self.detail = detail[:2000]
        self.retry_after = retry_after
        super().__init__(f"{code}: {self.detail}" if detail else code)


class Refused(ProviderFailure):
    """This request will never work."""


class Cancelled(ProviderFailure):
    """The vendor stopped the request at our wish."""


class Unavailable(ProviderFailure):
    """Nothing happened, or nothing was learnt. `retry_after` is in seconds."""


class Throttled(Unavailable):
    """The vendor wants to be asked less. `retry_after` is in seconds, None if it did not say."""


class OutcomeUnknown(ProviderFailure):
    """The request may or may not have arrived."""


class OperatorNeeded(ProviderFailure):
    """The vendor refuses the key or the account."""


class RequestNotFound(ProviderFailure):
    """The vendor does not know this request, or not any more."""


class Provider(Protocol):
    """What lifecycle needs of a vendor. Every call ends within a bounded time."""

    def submit(
        self, *, endpoint: str, payload: Mapping[str, Any], webhook_url: str = ""
    ) -> Submitted:
        """Hand over a request, once. At `webhook_url`, if any, the vendor announces its end.

        Raises Refused, Unavailable, OutcomeUnknown or OperatorNeeded. Never repeats itself.
        """

    def poll(self, *, endpoint: str, request_id: str) -> Progress:
        """Raises Unavailable, OperatorNeeded or RequestNotFound."""

    def look_each(
        self, requests: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[int, Progress | Result | ProviderFailure]]:
        """Poll several requests side by side, and fetch the results of those that are completed:
        pairs of endpoint and request id.

        Yields what was learnt of each with its place, as the answers come.
        """

    def result(self, *, endpoint: str, request_id: str) -> Result:
        """Raises Refused, Cancelled, Unavailable, OperatorNeeded or RequestNotFound."""

    def cancel(self, *, endpoint: str, request_id: str) -> None:
        """Ask to stop. A wish, not a fact: only the next poll tells what became of it.

        Raises Unavailable or OperatorNeeded.
        """
