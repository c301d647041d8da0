"""An account's ledger as people read it: one line per event, newest first.

The ledger has two entries for most tasks, one that reserves and one that ends it. To a member
they are one thing: 20 were reserved, 10 of them charged. A line stands at the time of its
first entry and its amount is what the event did to the balance up to now, so the amounts of
all lines together are the balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from credits import subjects
from credits.models import Account, LedgerEntry
from credits.subjects import Subject

Kind = LedgerEntry.Kind


@dataclass(frozen=True, kw_only=True)
class Line:
    """`entry` is the one that began the event; `subject` None when nothing is known of it."""

    entry: LedgerEntry
    subject: Subject | None

    @cached_property
    def _closing(self) -> LedgerEntry | None:
        return getattr(self.entry, "closing", None)

    @property
    def state(self) -> str:
        """One of reserved, charged, returned, granted, adjusted, redeemed."""
        if self._closing:
            return "charged" if self._closing.kind == Kind.SETTLE else "returned"
        return {
            Kind.RESERVE.value: "reserved",
            Kind.GRANT.value: "granted",
            Kind.ADJUST.value: "adjusted",
        }.get(self.entry.kind, "redeemed")

    @property
    def _is_lost(self) -> bool:
        reference = subjects.reference_of(self.entry)
        return bool(reference and reference.is_lost)

    @property
    def _is_refund(self) -> bool:
        reference = subjects.reference_of(self.entry)
        return bool(reference and reference.is_refund)

    @property
    def amount(self) -> int:
        return self.entry.amount + (self._closing.amount if self._closing else 0)

    @property
    def icon(self) -> str:
        """The icon of a line that has no picture to show."""
        return {"reserved": "picture", "charged": "picture", "returned": "again"}.get(
            self.state, "sliders" if self.state == "adjusted" else "spark"
        )

    # ------------------------------------------------------------ words
    @property
    def title(self) -> str:
        if self.state == "granted":
            return _("Credits to begin with") if _is_start(self.entry) else _("Granted by staff")
        if self.state == "adjusted" and not (self._is_lost or self._is_refund):
            return _("Corrected by staff")
        if self.state == "redeemed":
            return _("Code redeemed")
        return self.subject.title if self.subject else _("Pictures that are no longer here")

    @property
    def text(self) -> str:
        """Say what became of a reservation, or the reason staff gave."""
        if self.state == "reserved":
            return _("Reserved until it is done")
        if self.state == "returned":
            return self._return
        if self.state == "charged":
            return self._charge
        if self._is_lost:
            return _("Given back: a picture could not be saved and is gone at the provider")
        if self._is_refund:
            return _("Given back by staff: %(reason)s") % {"reason": reason_of(self.entry)}
        return reason_of(self.entry)

    @property
    def _return(self) -> str:
        reserved = -self.entry.amount
        text = ngettext(
            "Nothing was charged; %(count)s credit was given back",
            "Nothing was charged; %(count)s credits were given back",
            reserved,
        )
        return text % {"count": reserved}

    @property
    def _charge(self) -> str:
        charge = self._charge_in_pictures
        returned = self._closing.amount if self._closing else 0
        if not returned:
            return charge
        return _("%(charge)s; %(returned)s of %(reserved)s given back") % {
            "charge": charge,
            "returned": returned,
            "reserved": -self.entry.amount,
        }

    @property
    def _charge_in_pictures(self) -> str:
        pictures = self.subject.pictures if self.subject else 0
        reference = subjects.reference_of(self.entry)
        if not pictures:
            return _("Charged")
        if reference and reference.is_late:
            text = ngettext(
                "Charged for %(count)s picture that came late",
                "Charged for %(count)s pictures that came late",
                pictures,
            )
        else:
            text = ngettext(
                "Charged for %(count)s picture", "Charged for %(count)s pictures", pictures
            )
        return text % {"count": pictures}


def reason_of(entry: LedgerEntry) -> str:
    """Return what staff wrote for the member to read: not the name of a batch of codes, which
    they were not told is read."""
    is_for_members = entry.kind in (Kind.GRANT, Kind.ADJUST) and not _is_start(entry)
    return entry.reason if is_for_members else ""


def _is_start(entry: LedgerEntry) -> bool:
    return entry.reference.startswith("start:")


def events(*, account: Account) -> QuerySet[LedgerEntry]:
    """Return the entries that lines begin with, each with the one that closes it."""
    return LedgerEntry.objects.filter(account=account, closes=None).select_related("closing")


def compose(*, user: Any, entries: Sequence[LedgerEntry]) -> list[Line]:
    """Return the lines of a member's entries from `events`, in the same order."""
    known = subjects.describe(user=user, entries=entries)
    return [Line(entry=entry, subject=known.get(entry.pk)) for entry in entries]
