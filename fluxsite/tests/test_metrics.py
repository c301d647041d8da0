"""/metrics: who may read it, and that it tells the truth, whichever process answers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings as site
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from fluxsite.models import HourlyFigure, Incident
from fluxsite.operations import hours, probes
from generation import polling
from generation.models import FluxConfig, StorageUse
from generation.tests.factories import FluxTaskFactory, TaskImageFactory
from history import feedback
from history.marks import Name

SCHNELL, DEV = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev"
TOKEN = "a token for Prometheus"


@pytest.fixture(autouse=True)
def _storage_known():
    """Asked once, whatever was known, so that each test has the same queries."""
    probes.check_storage(fresh=True)


@pytest.fixture
def scrape(client, db, settings):
    """Return a function that reads the figures: by name, then by labels."""
    settings.METRICS_TOKEN = TOKEN

    def read():
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        return {
            (sample.name.removeprefix("fluxsite_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    return read


# ---------------------------------------------------------------- who may read
def test_nobody_reads_it_without_a_login_or_the_token(client, alice, settings):
    answers = [client.get("/metrics")]
    client.force_login(alice)
    answers.append(client.get("/metrics"))
    settings.METRICS_TOKEN = TOKEN
    answers += [
        client.get("/metrics", headers={"Authorization": wrong})
        for wrong in ("Bearer ", "Bearer another", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN)
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert all(b"fluxsite_" not in answer.content for answer in answers)


def test_no_token_is_not_the_empty_token(client, db):
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


def test_staff_who_are_signed_in_read_it(client, staff):
    client.force_login(staff)

    response = client.get("/metrics")

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")
    assert "no-store" in response["Cache-Control"]
    assert client.post("/metrics").status_code == 405


def test_the_dialect_is_the_one_that_is_asked_for(client, staff):
    client.force_login(staff)

    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})

    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.content.endswith(b"# EOF\n")


# ---------------------------------------------------------------- what it tells
def test_what_is_unfinished_is_counted_now(scrape, alice, settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    polling.sweep(window=0.01, idle=0)
    now = timezone.now()
    FluxTaskFactory.create_batch(2, user=alice, created_at=now - timedelta(seconds=90))
    FluxTaskFactory(user=alice, at_provider=True, next_action_at=now + timedelta(seconds=9))
    FluxTaskFactory(user=alice, submission="UNKNOWN", next_action_at=now + timedelta(seconds=9))
    TaskImageFactory(
        user=alice, storage_key="", stored_at=None, next_action_at=now, store_attempts=1
    )
    StorageUse.objects.create(user=alice, byte_size=12345, counted_at=now)
    feedback.report(user=alice, name=Name(source="flux", id="a"), reason="broken")

    figures = scrape()

    assert figures["build_info", site.VERSION] == 1
    assert figures["tasks_unfinished", "PENDING"] == 3
    assert figures["tasks_unfinished", "IN_QUEUE"] == 1
    assert figures["tasks_unfinished", "IN_PROGRESS"] == 0
    assert figures["tasks_waiting",] == 2
    assert figures["tasks_submission_unknown",] == 1
    assert 90 <= figures["oldest_waiting_seconds",] < 120
    assert figures["pictures_to_store",] == figures["pictures_failing",] == 1
    assert figures["storage_bytes",] == 12345
    assert figures["reports_open",] == 1
    assert figures["channel_open",] == 1
    assert figures["breaker_open",] == 0
    assert [figures["check_ok", check] for check in ("workers", "queue", "storage")] == [1, 1, 1]
    assert figures["workers_silent_seconds",] < 60


def test_an_open_breaker_is_told(scrape, settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    FluxConfig.objects.update(refused_at=timezone.now())

    assert scrape()["breaker_open",] == 1


def test_what_staff_are_told_of_is_told_here_too(scrape):
    Incident.objects.create(kind="storage", is_open=True, opened_at=timezone.now())
    Incident.objects.create(kind="queue", is_open=False)

    figures = scrape()

    kinds = ("storage", "queue", "breaker", "ledger")
    assert [figures["incident_open", kind] for kind in kinds] == [1, 0, 0, 0]


def test_what_has_ended_is_summed_from_the_hours(scrape, alice):
    for seconds in (0.4, 3.0, 900.0):
        FluxTaskFactory(user=alice, succeeded=True, generation_time=seconds, cost_charged=5)
    FluxTaskFactory(user=alice, failed=True, error_code="timeout", model=DEV)
    hours.roll_up()
    long_ago = timezone.now() - timedelta(days=400)
    HourlyFigure.objects.create(
        begins_at=long_ago, hours=24, name="tasks", model=SCHNELL, key="SUCCESS", value=40
    )

    figures = scrape()

    assert figures["tasks_ended_total", SCHNELL, "SUCCESS"] == 43
    assert figures["tasks_ended_total", DEV, "timeout"] == 1
    assert figures["credits_charged_total", SCHNELL] == 15
    buckets = [
        figures["generation_seconds_bucket", bound, SCHNELL] for bound in ("0.5", "4", "512")
    ]
    assert buckets == [1, 2, 2]
    assert figures["generation_seconds_bucket", "+Inf", SCHNELL] == 3
    assert figures["generation_seconds_count", SCHNELL] == 3
    assert figures["generation_seconds_sum", SCHNELL] == 903.4


def test_no_figure_names_a_member_or_a_prompt(client, staff, alice):
    FluxTaskFactory(user=alice, prompt="a secret garden", succeeded=True)
    hours.roll_up()
    client.force_login(staff)

    text = client.get("/metrics").content.decode()

    assert "secret garden" not in text
    assert "alice" not in text


@pytest.mark.parametrize("tasks", [1, 3])
def test_it_takes_the_same_few_queries_whatever_there_is(
    scrape, alice, tasks, django_assert_num_queries
):
    FluxTaskFactory.create_batch(tasks, user=alice)
    FluxTaskFactory.create_batch(tasks, user=alice, succeeded=True)
    hours.roll_up()

    with django_assert_num_queries(9):
        scrape()
