"""The breaker: a provider that refuses the account is not asked again and again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from credits import ledger
from generation import channel, lifecycle, polling
from generation.models import FluxConfig, FluxTask
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_lifecycle import place


def sweep(seconds=1.0):
    polling.sweep(window=seconds, idle=0)


def let_the_wait_pass():
    FluxConfig.objects.update(probe_at=timezone.now())
    FluxTask.objects.waiting().update(next_action_at=timezone.now())


def submits(sandbox):
    return [request for request in sandbox.requests if request.stage == "submit"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("status_401", "provider_refused_key"),
        ("status_402", "account_locked"),
        ("status_403", "account_locked"),
    ],
)
def test_a_refused_account_keeps_tasks_waiting_with_their_credits(alice, drawing, fault, code):
    drawing.add_fault(kind=fault, on="submit")
    task = place(alice)

    sweep()

    task.refresh_from_db()
    config = FluxConfig.objects.get()
    assert (task.status, task.submission) == ("PENDING", "UNSENT")
    assert ledger.reserved_now(user=alice) == task.cost_reserved
    assert (config.refusal_code, channel.current().is_refused) == (code, True)
    assert f"HTTP {fault[-3:]}" in config.refusal_detail


def test_behind_an_open_breaker_new_tasks_are_accepted_and_not_sent(alice, drawing):
    drawing.add_fault(kind="status_403", on="submit", times=1)
    place(alice)
    sweep()
    late = place(alice)

    sweep()

    late.refresh_from_db()
    assert (late.status, late.submission) == ("PENDING", "UNSENT")
    assert len(submits(drawing)) == 1


def test_behind_an_open_breaker_running_tasks_are_followed(alice, drawing):
    running = place(alice)
    sweep(0.1)
    channel.open_breaker(code="account_locked", detail="", now=timezone.now())

    sweep(5)

    running.refresh_from_db()
    assert running.status == "SUCCESS"


def test_after_a_while_one_task_tries_and_the_next_wait_is_longer(alice, drawing):
    drawing.add_fault(kind="status_403", on="submit")
    for _task in range(3):
        place(alice)
    sweep()
    before = len(submits(drawing))
    let_the_wait_pass()

    sweep()

    config = FluxConfig.objects.get()
    wait = config.probe_at - timezone.now()
    assert len(submits(drawing)) - before == 1
    assert timedelta(seconds=50) < wait <= timedelta(seconds=60)


def test_a_task_the_provider_takes_closes_the_breaker_for_all(alice, work, drawing):
    drawing.add_fault(kind="status_403", on="submit", times=3)
    tasks = [place(alice) for _task in range(3)]
    sweep()
    let_the_wait_pass()

    work()

    assert channel.current().is_refused is False
    assert set(FluxTask.objects.values_list("status", flat=True)) == {"SUCCESS"}
    assert len(tasks) == 3


def test_a_task_that_alone_is_refused_lets_others_try_first(alice, bob, work, drawing):
    drawing.add_fault(kind="status_403", on="submit", prompt="forbidden")
    guilty = FluxTaskFactory(user=alice, prompt="forbidden")
    sweep()
    innocent = FluxTaskFactory(user=bob)
    let_the_wait_pass()

    sweep(5)

    guilty.refresh_from_db()
    innocent.refresh_from_db()
    assert (innocent.status, guilty.status) == ("SUCCESS", "PENDING")


def test_a_refused_poll_opens_the_breaker_too_and_fails_nothing(alice, drawing):
    drawing.add_fault(kind="status_401", on="status")
    task = place(alice)

    sweep()

    task.refresh_from_db()
    assert task.status == "IN_QUEUE"
    assert channel.current().is_refused


def test_saving_the_configuration_closes_the_breaker(drawing, admin_client):
    channel.load_config()
    channel.open_breaker(code="provider_refused_key", detail="", now=timezone.now())
    form = {
        "enabled": "on",
        "base_url": "https://queue.fal.run",
        "auth_scheme": "Key",
        "timeout": 300,
        "max_concurrent_tasks": 5,
        "default_model": "fal-ai/flux-1/schnell",
    }

    response = admin_client.post("/admin/generation/fluxconfig/default/change/", form)

    assert response.status_code == 302
    assert not channel.current().is_refused


def test_a_new_key_in_the_environment_closes_the_breaker(db, settings):
    channel.load_config()
    channel.open_breaker(code="provider_refused_key", detail="", now=timezone.now())
    settings.FAL_KEY = "new:key"

    channel.apply_environment()

    assert not channel.current().is_refused


def test_what_waited_a_day_behind_the_breaker_ends_with_its_reason(alice, drawing):
    task = place(alice)
    channel.open_breaker(code="account_locked", detail="", now=timezone.now())
    FluxTask.objects.update(created_at=timezone.now() - lifecycle.WAIT_AT_MOST)

    sweep()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "account_locked")
    assert ledger.reserved_now(user=alice) == 0


def test_staff_see_why_nothing_is_sent_and_members_that_their_tasks_wait(
    client, alice, staff, drawing
):
    channel.load_config()
    channel.open_breaker(code="account_locked", detail="HTTP 403 locked", now=timezone.now())
    pages = []
    for person in (alice, staff):
        client.force_login(person)
        pages.append(client.get("/").content.decode())

    assert "your tasks wait" in pages[0]
    assert "HTTP 403 locked" not in pages[0]
    assert "HTTP 403 locked" in pages[1]


def test_the_admin_says_why_nothing_is_sent(admin_client, drawing):
    channel.load_config()
    channel.open_breaker(code="account_locked", detail="HTTP 403 locked", now=timezone.now())

    index = admin_client.get("/admin/").content.decode()
    form = admin_client.get("/admin/generation/fluxconfig/default/change/").content.decode()

    assert "HTTP 403 locked" in index
    assert "HTTP 403 locked" in form
