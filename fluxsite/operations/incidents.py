"""What staff are told of by mail: once when it begins, once when it is over.

    watch ─ what a schedule calls every minute, or cron calls as `manage.py watch`
    hear_of_ledger ─ what the nightly check of the ledger calls

Several machines may watch at once. An incident is opened and closed by a conditional update, and
its mail is sent by whoever gets the lease for that; a mail that could not be sent is tried again
when the lease runs out. An incident that was over before anybody could be told stays untold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.db.models import F, Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from credits.audit import Difference
from fluxsite.logs import redacted
from fluxsite.models import Incident
from fluxsite.operations import probes
from generation import errors, workload

logger = logging.getLogger(__name__)

#: What has not been seen for so long is over. Shorter, and something that comes and goes would
#: fill mailboxes.
QUIET = timedelta(minutes=5)
#: How long one machine has for a mail before another tries.
LEASE = timedelta(minutes=2)
MOST_DIFFERENCES = 20

Kind = Incident.Kind


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Whether something is wrong at the moment, and what exactly."""

    kind: Incident.Kind
    is_wrong: bool
    detail: str = ""


# ---------------------------------------------------------------- looking
def watch(*, now: datetime | None = None) -> None:
    """Look at everything once, and tell staff what has changed."""
    now = now or timezone.now()
    with translation.override(settings.LANGUAGE_CODE):
        for observation in _look(now):
            note(observation, now=now)
    tell(now=now)


def _look(now: datetime) -> Iterator[Observation]:
    load = workload.measure(now=now)
    yield _breaker(load)
    checks = [probes.check_workers(load), probes.check_queue(load)]
    yield Observation(
        kind=Kind.QUEUE,
        is_wrong=not all(check.is_well for check in checks),
        detail="\n".join(f"{check.name}: {check.said}" for check in checks),
    )
    storage = probes.check_storage(fresh=True)
    yield Observation(kind=Kind.STORAGE, is_wrong=not storage.is_well, detail=storage.said)


def _breaker(load: workload.Workload) -> Observation:
    config = load.channel.config
    cause = _(errors.explain(config.refusal_code).cause)
    return Observation(
        kind=Kind.BREAKER,
        is_wrong=load.channel.is_refused,
        detail=redacted(f"{cause}\n{config.refusal_detail}").strip(),
    )


def hear_of_ledger(*, differences: list[Difference], **_signal: Any) -> None:
    """Note what a check of the ledger brought. A check that finds nothing ends it at once."""
    now = timezone.now()
    detail = "\n".join(str(each) for each in differences[:MOST_DIFFERENCES])
    found = Observation(kind=Kind.LEDGER, is_wrong=bool(differences), detail=detail)
    note(found, now=now, quiet=timedelta(0))
    tell(now=now)


# ---------------------------------------------------------------- noting
def note(observation: Observation, *, now: datetime, quiet: timedelta = QUIET) -> None:
    """Open, keep open or close the incident of that kind."""
    incidents = Incident.objects.filter(pk=observation.kind)
    if not observation.is_wrong:
        seen_long_ago = incidents.filter(is_open=True, seen_at__lte=now - quiet)
        if seen_long_ago.update(is_open=False, closed_at=now):
            logger.warning("incident: %s is over", observation.kind.value)
        return
    seen = {"seen_at": now, "detail": observation.detail}
    # Where there is no row yet: once, whoever else does the same.
    Incident.objects.bulk_create([Incident(kind=observation.kind)], ignore_conflicts=True)
    if incidents.filter(is_open=False).update(is_open=True, opened_at=now, closed_at=None, **seen):
        logger.error("incident: %s: %s", observation.kind.value, observation.detail)
    else:
        incidents.filter(is_open=True).update(**seen)


def open_incidents() -> list[Incident]:
    """Return what is wrong at the moment, the oldest first. One query."""
    return list(Incident.objects.filter(is_open=True).order_by("opened_at"))


# ---------------------------------------------------------------- telling
def tell(*, now: datetime) -> None:
    """Send the mails that are due, each by one of all who try."""
    is_free = Q(lease_until=None) | Q(lease_until__lt=now)
    for incident in Incident.objects.filter(is_free, ~Q(is_open=F("told"))):
        recipients = _recipients()
        if not recipients:
            return
        lease = now + LEASE
        mine = Incident.objects.filter(pk=incident.pk, is_open=incident.is_open)
        if not mine.filter(is_free, told=incident.told).update(lease_until=lease):
            continue
        try:
            _send(incident, recipients)
        except OSError:
            logger.exception("incident: the mail about %s was not sent", incident.kind)
            continue
        Incident.objects.filter(pk=incident.pk, lease_until=lease).update(
            told=incident.is_open, lease_until=None
        )


def _recipients() -> list[str]:
    if not settings.EMAIL_HOST:
        return []
    if settings.ALERT_EMAILS:
        return list(settings.ALERT_EMAILS)
    staff = get_user_model().objects.filter(is_active=True, is_staff=True)
    return sorted(set(staff.exclude(email="").values_list("email", flat=True)))


def _send(incident: Incident, recipients: list[str]) -> None:
    context = {"incident": incident, "site": settings.PUBLIC_URL, "path": reverse("dashboard")}
    with translation.override(settings.LANGUAGE_CODE):
        subject = render_to_string("operations/incident_subject.txt", context).strip()
        text = render_to_string("operations/incident_mail.txt", context)
    send_mail(subject, text, None, recipients)
