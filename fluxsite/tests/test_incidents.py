"""What staff are told of by mail: once when it begins, once when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from credits import audit, ledger
from fluxsite.models import Incident
from fluxsite.operations import incidents, probes
from fluxsite.operations.incidents import Observation
from generation import channel, polling
from generation.models import FluxConfig
from generation.tests.factories import FluxTaskFactory, UserFactory

BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _mail(settings, tmp_path):
    """A mail server, a site that could draw, and a disk of this test's own."""
    settings.EMAIL_HOST = "mail.example.org"
    settings.ALERT_EMAILS = ["ops@example.org"]
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    place = {
        "BACKEND": "fluxsite.disk.DiskStorage",
        "OPTIONS": {"location": tmp_path / "disk", "allow_overwrite": True},
    }
    settings.STORAGES = {**settings.STORAGES, "default": place}
    yield
    probes._probe.forget()


@pytest.fixture
def well(db):
    """A site where all is well: a worker swept a moment ago."""
    polling.sweep(window=0.01, idle=0)


def see(is_wrong=True, *, at=BEGIN, kind=Incident.Kind.STORAGE, detail="disk full"):
    incidents.note(Observation(kind=kind, is_wrong=is_wrong, detail=detail), now=at)
    incidents.tell(now=at)


def subjects():
    return [message.subject for message in mail.outbox]


def test_it_is_watched_every_minute(db):
    schedule = Schedule.objects.get(name="watch")

    assert (schedule.func, schedule.minutes) == ("fluxsite.operations.incidents.watch", 1)


# ---------------------------------------------------------------- one mail, and one more
def test_one_mail_when_it_begins_and_one_when_it_is_over(db):
    for minute in range(4):
        see(at=BEGIN + minute * MINUTE)
    for minute in range(4, 20):
        see(is_wrong=False, at=BEGIN + minute * MINUTE)

    assert subjects() == [
        "[Fluxsite] Pictures cannot be stored",
        "[Fluxsite] Over: Pictures cannot be stored",
    ]
    assert mail.outbox[0].to == ["ops@example.org"]
    assert "Since 2026-11-20 12:00 UTC:\ndisk full" in mail.outbox[0].body
    assert "began at 2026-11-20 12:00 UTC and was over at 2026-11-20 12:08" in mail.outbox[1].body


def test_what_comes_and_goes_is_one_incident(db):
    for minute in range(12):
        see(is_wrong=minute % 3 == 0, at=BEGIN + minute * MINUTE)

    assert subjects() == ["[Fluxsite] Pictures cannot be stored"]


def test_the_next_time_is_told_of_again(db):
    for hour in (0, 1):
        see(at=BEGIN + timedelta(hours=hour))
        see(is_wrong=False, at=BEGIN + timedelta(hours=hour, minutes=30))

    assert len(subjects()) == 4


def test_each_kind_is_told_of_by_itself(db):
    see()
    see(kind=Incident.Kind.LEDGER, detail="alice: balance is 1, should be 2")

    assert len(subjects()) == 2
    assert "alice: balance is 1, should be 2" in mail.outbox[1].body


def test_what_never_happened_is_not_over(db):
    see(is_wrong=False)

    assert (Incident.objects.count(), subjects()) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_many_machines_send_one_mail(race):
    race(lambda _each: see(), list(range(8)))
    race(lambda _each: see(is_wrong=False, at=BEGIN + timedelta(minutes=9)), list(range(8)))

    assert len(subjects()) == 2


def test_a_mail_that_could_not_be_sent_is_sent_later(db, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    see()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    see(at=BEGIN + MINUTE)
    assert subjects() == []

    see(at=BEGIN + 3 * MINUTE)

    assert subjects() == ["[Fluxsite] Pictures cannot be stored"]


def test_what_was_over_before_anybody_could_be_told_stays_untold(db, settings):
    settings.EMAIL_HOST = ""
    see()
    see(is_wrong=False, at=BEGIN + timedelta(minutes=9))
    settings.EMAIL_HOST = "mail.example.org"
    see(is_wrong=False, at=BEGIN + timedelta(minutes=10))

    assert subjects() == []


# ---------------------------------------------------------------- to whom, and how
def test_nobody_named_means_all_staff_who_have_an_address(db, settings):
    settings.ALERT_EMAILS = []
    for name, values in {
        "carol": {"is_staff": True, "email": "carol@example.org"},
        "dave": {"is_staff": True},
        "erin": {"is_staff": True, "email": "erin@example.org", "is_active": False},
        "frank": {"email": "frank@example.org"},
        "grace": {"is_staff": True, "email": "grace@example.org"},
    }.items():
        UserFactory(username=name, **values)

    see()

    assert mail.outbox[0].to == ["carol@example.org", "grace@example.org"]


def test_the_mail_is_in_the_sites_language_and_leads_to_it(db, settings):
    settings.PUBLIC_URL = "https://studio.example.org"

    see()

    assert "https://studio.example.org/admin/dashboard/" in mail.outbox[0].body
    assert "Look whether the disk is full" in mail.outbox[0].body


# ---------------------------------------------------------------- what is looked at
def test_a_site_where_all_is_well_sends_nothing(well):
    incidents.watch()

    assert (Incident.objects.count(), subjects()) == (0, [])


def test_an_open_breaker_is_told_of_with_what_the_provider_said(well):
    channel.open_breaker(
        code="provider_refused_key", detail="HTTP 401 no such key", now=timezone.now()
    )

    incidents.watch()

    assert subjects() == ["[Fluxsite] The provider refuses this site"]
    assert "The provider refused this site's key.\nHTTP 401 no such key" in mail.outbox[0].body


def test_a_breaker_that_closes_is_told_of_too(well):
    channel.open_breaker(code="account_locked", detail="", now=timezone.now())
    incidents.watch()
    FluxConfig.objects.update(refused_at=None)

    incidents.watch(now=timezone.now() + timedelta(minutes=2))
    assert len(subjects()) == 1
    polling.sweep(window=0.01, idle=0)
    Incident.objects.update(seen_at=timezone.now() - timedelta(minutes=6))
    incidents.watch()

    assert subjects()[1] == "[Fluxsite] Over: The provider refuses this site"


def test_a_stuck_queue_is_told_of(well):
    FluxTaskFactory(at_provider=True, next_action_at=timezone.now() - timedelta(minutes=4))

    incidents.watch()

    assert subjects() == ["[Fluxsite] Tasks are stuck"]
    assert "queue: 0 waiting, 1 at the provider, the oldest due for 24" in mail.outbox[0].body


def test_workers_that_are_gone_are_told_of_by_cron(db, capsys):
    call_command("watch")

    assert subjects() == ["[Fluxsite] Tasks are stuck"]
    assert capsys.readouterr().out.startswith("queue: workers: never seen")


def test_a_storage_that_takes_nothing_is_told_of(well, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/probe").write_text("in the way")

    incidents.watch()

    assert subjects() == ["[Fluxsite] Pictures cannot be stored"]
    assert "File exists" in mail.outbox[0].body


def test_a_ledger_that_does_not_add_up_is_told_of_until_it_does(well, alice):
    ledger.account_for(user=alice)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE flux_credits SET credits_balance = credits_balance + 3")
    audit.nightly()
    incidents.watch()
    audit.nightly()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE flux_credits SET credits_balance = credits_balance - 3")
    assert len(subjects()) == 1
    call_command("check_ledger")

    assert subjects() == [
        "[Fluxsite] The ledger does not add up",
        "[Fluxsite] Over: The ledger does not add up",
    ]
    assert "alice: balance is 503, should be 500" in mail.outbox[0].body


def test_looking_takes_the_same_few_queries(well, django_assert_num_queries):
    # Five count what is unfinished, one looks for each kind, one for mails that are due.
    with django_assert_num_queries(9):
        incidents.watch()
