"""/readyz: what whoever watches the site is told, and how soon."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.utils import OperationalError
from django.utils import timezone

from fluxsite.cos import COSStorage
from fluxsite.health import readyz
from fluxsite.operations import probes
from generation import polling
from generation.models import FluxConfig, SweepLease
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UserFactory


@pytest.fixture(autouse=True)
def _nothing_known():
    """What the storage said in another test does not count here."""
    probes._probe.forget()
    yield
    probes._probe.forget()


@pytest.fixture
def disk(settings, tmp_path):
    """A disk of this test's own."""
    place = {
        "BACKEND": "fluxsite.disk.DiskStorage",
        "OPTIONS": {"location": tmp_path / "disk", "allow_overwrite": True},
    }
    settings.STORAGES = {**settings.STORAGES, "default": place}
    return tmp_path / "disk"


@pytest.fixture
def at_work(db, disk, settings):
    """A site that could draw: a worker swept a moment ago, and there is somebody to draw."""
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    polling.sweep(window=0.01, idle=0)


def swept(ago):
    SweepLease.objects.update(expires_at=timezone.now() - ago)


def ask(client):
    response = client.get("/readyz")
    return response.status_code, response.json()["checks"]


def test_a_site_that_can_draw_is_ready(client, at_work):
    swept(timedelta(seconds=-6))

    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": {
            "database": {"ok": True, "detail": "answers"},
            "storage": {"ok": True, "detail": "takes files"},
            "workers": {"ok": True, "detail": "last seen 0 s ago"},
            "queue": {
                "ok": True,
                "detail": "0 waiting, 0 at the provider, the oldest due for 0 s",
            },
        },
    }


def test_each_check_is_a_line(client, at_work):
    lines = client.get("/readyz").content.decode().splitlines()

    assert lines[0] == '{"status": "ok", "checks": {'
    assert lines[1] == '  "database": {"ok": true, "detail": "answers"},'
    assert lines[-1] == "}}"
    assert len(lines) == 6


def test_nobody_needs_to_log_in_and_no_cache_may_answer(client, at_work):
    response = client.head("/readyz")

    assert response.status_code == 200
    assert response.content == b""
    assert "no-store" in response["Cache-Control"]
    assert client.post("/readyz").status_code == 405


@pytest.mark.parametrize("tasks", [1, 3])
def test_it_takes_the_same_few_queries_whatever_there_is(
    client, at_work, tasks, django_assert_num_queries
):
    user = UserFactory()
    FluxTaskFactory.create_batch(tasks, user=user)
    FluxTaskFactory.create_batch(tasks, user=user, at_provider=True)
    # On PostgreSQL two more, which bound them: a savepoint and its limit of time.
    with django_assert_num_queries(5 if connection.vendor == "sqlite" else 8):
        client.get("/readyz")


# ---------------------------------------------------------------- what may be wrong
def test_workers_that_were_never_seen_are_told_of(client, db, disk):
    status, checks = ask(client)

    assert status == 503
    assert checks["workers"] == {"ok": False, "detail": "never seen"}


def test_workers_that_are_silent_for_minutes_are_told_of(client, at_work):
    swept(timedelta(minutes=5))

    status, checks = ask(client)

    assert status == 503
    assert checks["workers"] == {"ok": False, "detail": "last seen 300 s ago"}


def test_a_sweep_that_runs_is_a_sign_of_life(client, at_work):
    swept(timedelta(seconds=-5))

    status, checks = ask(client)

    assert (status, checks["workers"]["detail"]) == (200, "last seen 0 s ago")


def test_a_task_nobody_asks_about_makes_the_queue_stuck(client, at_work):
    long_ago = timezone.now() - timedelta(minutes=4)
    FluxTaskFactory(at_provider=True, next_action_at=long_ago)

    status, checks = ask(client)

    assert status == 503
    assert checks["queue"]["ok"] is False
    assert "1 at the provider, the oldest due for 240 s" in checks["queue"]["detail"]


def test_a_long_line_is_no_trouble_while_something_is_being_drawn(client, at_work):
    long_ago = timezone.now() - timedelta(hours=2)
    FluxTaskFactory.create_batch(3, next_action_at=long_ago)
    soon = timezone.now() + timedelta(seconds=5)
    FluxTaskFactory(at_provider=True, next_action_at=soon)

    status, checks = ask(client)

    assert status == 200
    assert checks["queue"]["detail"] == "3 waiting, 1 at the provider, the oldest due for 7200 s"


def test_a_line_nobody_takes_from_is_stuck(client, at_work):
    FluxTaskFactory(next_action_at=timezone.now() - timedelta(minutes=4))

    assert ask(client)[1]["queue"]["ok"] is False


def test_a_line_that_waits_for_the_breaker_is_not_stuck(client, at_work):
    now = timezone.now()
    FluxConfig.objects.update(refused_at=now, probe_at=now + timedelta(minutes=5))
    FluxTaskFactory(next_action_at=now - timedelta(minutes=4))

    assert ask(client)[1]["queue"]["ok"] is True


def test_a_line_that_waits_for_drawing_to_be_switched_on_is_not_stuck(client, at_work):
    FluxConfig.objects.update(enabled=False)
    FluxTaskFactory(next_action_at=timezone.now() - timedelta(minutes=4))

    assert ask(client)[1]["queue"]["ok"] is True


def test_pictures_brought_over_from_elsewhere_are_no_trouble(client, at_work):
    TaskImageFactory(
        storage_key="", stored_at=None, next_action_at=timezone.now() - timedelta(days=2)
    )

    assert ask(client)[0] == 200


def test_a_storage_that_takes_nothing_is_told_of_without_its_place(client, at_work, disk):
    disk.mkdir()
    (disk / "probe").write_text("a file where a directory should be")

    status, checks = ask(client)

    assert status == 503
    assert checks["storage"] == {"ok": False, "detail": "File exists"}


def test_a_bucket_that_refuses_us_is_told_of_without_its_name(client, at_work, cos, settings):
    options = cos.options(secret_key="not the key")
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "fluxsite.cos.COSStorage", "OPTIONS": options},
    }

    status, checks = ask(client)

    assert status == 503
    assert checks["storage"]["ok"] is False
    assert cos.bucket_name not in checks["storage"]["detail"]


class Hanging(COSStorage):
    """A storage that lets go when it is told to."""

    released = threading.Event()

    def save(self, *_arguments, **_named):
        self.released.wait(30)


def test_a_storage_that_hangs_holds_up_nobody(client, at_work, settings, monkeypatch):
    monkeypatch.setattr(probes, "PATIENCE_SECONDS", 0.2)
    place = {"BACKEND": f"{__name__}.Hanging", "OPTIONS": {}}
    settings.STORAGES = {**settings.STORAGES, "default": place}
    before = threading.active_count()
    try:
        answers = [ask(client)]
        probes._probe.forget()
        answers.append(ask(client))
        waiting = threading.active_count() - before
    finally:
        Hanging.released.set()
        time.sleep(0.1)

    assert [status for status, _checks in answers] == [503, 503]
    assert answers[0][1]["storage"]["detail"] == "no answer within 0 s"
    # The second question waits for the first, in the same thread.
    assert waiting == 1


def test_the_storage_is_asked_once_however_many_ask(client, at_work, disk):
    ask(client)
    (disk / probes.FILE_NAME).unlink()
    ask(client)

    assert not (disk / probes.FILE_NAME).exists()


@pytest.mark.django_db(transaction=True)
def test_a_site_without_its_database_says_so(rf, disk):
    def refuse(**_kwargs):
        raise OperationalError("could not connect to db.internal as fluxsite")

    connection.close()
    connection_created.connect(refuse)
    try:
        response = readyz(rf.get("/readyz"))
    finally:
        connection_created.disconnect(refuse)
        connection.close()

    body = response.content.decode()
    assert response.status_code == 503
    assert '"database": {"ok": false, "detail": "OperationalError"}' in body
    assert '"workers": {"ok": false, "detail": "not asked' in body
    assert '"storage": {"ok": true' in body
    assert "db.internal" not in body


@pytest.mark.django_db(transaction=True)
def test_a_database_that_takes_too_long_is_given_up(settings, disk, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("readers of SQLite wait for nobody")
    monkeypatch.setattr(probes, "DATABASE_SECONDS", 1)
    polling.sweep(window=0.01, idle=0)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE flux_tasks IN ACCESS EXCLUSIVE MODE")
        checks = {check.name: check for check in probes.check_all(now=timezone.now())}
    finally:
        other.close()

    assert checks["database"].is_well is False
