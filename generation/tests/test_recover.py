"""Results that come too late, and answers that were lost: found again, charged on delivery."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from credits import ledger
from credits.models import LedgerEntry
from generation import lifecycle, polling
from generation.models import FluxTask, TaskImage
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_lifecycle import place

START = 500


@pytest.fixture(autouse=True)
def start(settings):
    settings.CREDITS_STARTING_GRANT = START


@pytest.fixture
def late(alice, drawing):
    """Return a task that was given up although the provider goes on drawing it."""
    drawing.add_fault(kind="ignores_cancel")
    task = place(alice, num_images=2)
    polling.sweep(window=0.1, idle=0)
    FluxTask.objects.update(deadline_at=timezone.now())
    task.refresh_from_db()
    assert task.submission == "ACCEPTED"
    assert lifecycle.fail(task=task, code="timeout", now=timezone.now())
    task.refresh_from_db()
    return task


def balance(user):
    return ledger.account_for(user=user).credits_balance


def booked(task):
    entries = LedgerEntry.objects.filter(reference__startswith=f"flux:{task.pk}").order_by("id")
    return [(entry.kind, entry.amount, entry.charged) for entry in entries]


# ---------------------------------------------------------------- recover
def test_a_late_result_is_delivered_and_charged_once(alice, late, work):
    before = balance(alice)

    assert lifecycle.recover(task=late, now=timezone.now())
    assert balance(alice) == before == START
    work()

    late.refresh_from_db()
    assert (late.status, late.error_code, late.cost_charged) == ("SUCCESS", "", 10)
    assert TaskImage.objects.filter(task_id=late.pk).count() == 2
    assert balance(alice) == START - 10
    assert booked(late) == [
        ("RESERVE", -10, 0),
        ("RELEASE", 10, 0),
        ("RESERVE", -10, 0),
        ("SETTLE", 0, 10),
    ]
    call_command("check_ledger")


def test_a_late_result_is_asked_for_once_at_a_time(late):
    now = timezone.now()

    assert lifecycle.recover(task=late, now=now)
    assert not lifecycle.recover(task=late, now=now)
    late.refresh_from_db()
    assert not lifecycle.recover(task=late, now=now)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("content_policy", "content_policy"), ("model_crash", "provider_error")],
)
def test_a_late_refusal_costs_nothing_and_is_the_last_word(alice, drawing, work, fault, code):
    drawing.add_fault(kind=fault)
    task = place(alice)
    polling.sweep(window=0.1, idle=0)
    task.refresh_from_db()
    lifecycle.fail(task=task, code="timeout", now=timezone.now())
    task.refresh_from_db()

    lifecycle.recover(task=task, now=timezone.now())
    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", code)
    assert not lifecycle.is_recoverable(task=task, now=timezone.now())
    assert balance(alice) == START


def test_a_request_the_provider_stopped_has_no_late_result(alice, drawing, work):
    drawing.add_fault(kind="never_completes")
    task = place(alice)
    polling.sweep(window=0.3, idle=0)
    FluxTask.objects.update(deadline_at=timezone.now(), next_action_at=timezone.now())
    work()
    task.refresh_from_db()
    assert task.error_code == "timeout"

    lifecycle.recover(task=task, now=timezone.now())
    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "stopped")
    assert balance(alice) == START


def test_nobody_is_asked_for_a_late_result_the_member_cannot_pay(alice, late):
    ledger.adjust(user=alice, amount=-START + 9, reference="a", reason="", actor="staff")

    with pytest.raises(lifecycle.CannotPay):
        lifecycle.recover(task=late, now=timezone.now())

    late.refresh_from_db()
    assert late.recover_requested_at is None


def test_credits_spent_before_the_late_result_comes_leave_it_undelivered(alice, late, work):
    lifecycle.recover(task=late, now=timezone.now())
    ledger.adjust(user=alice, amount=-START + 9, reference="a", reason="", actor="staff")

    work()

    late.refresh_from_db()
    assert (late.status, late.error_code, late.recover_requested_at) == ("FAILED", "timeout", None)
    assert TaskImage.objects.count() == 0
    assert balance(alice) == 9
    call_command("check_ledger")


def test_a_late_result_that_does_not_come_is_not_asked_for_for_ever(alice, drawing, late):
    drawing.add_fault(kind="status_500", on="status")
    then = timezone.now() - lifecycle.RECOVER_PATIENCE
    assert lifecycle.recover(task=late, now=then)

    polling.sweep(window=1, idle=0)

    late.refresh_from_db()
    assert (late.status, late.error_code, late.recover_requested_at) == ("FAILED", "timeout", None)


@pytest.mark.parametrize("code", ["content_policy", "request_lost", "provider_error"])
def test_what_the_provider_has_decided_cannot_be_recovered(alice, code):
    task = FluxTaskFactory(user=alice, failed=True, submission="ACCEPTED", request_id="r")
    task.error_code = code

    assert not lifecycle.is_recoverable(task=task, now=timezone.now())


def test_after_thirty_days_the_provider_keeps_no_results(late):
    assert not lifecycle.is_recoverable(task=late, now=timezone.now() + timedelta(days=30))


# ---------------------------------------------------------------- calls of the provider
def test_a_call_about_a_running_task_brings_the_next_look_forward(alice):
    later = timezone.now() + timedelta(hours=1)
    task = FluxTaskFactory(user=alice, at_provider=True, next_action_at=later)
    now = timezone.now()

    assert lifecycle.hear_of(task_id=task.pk, request_id=task.request_id, now=now)

    task.refresh_from_db()
    assert (task.next_action_at, task.webhook_at, task.status) == (now, now, "IN_QUEUE")


def test_a_call_is_heard_once(alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    now = timezone.now()
    heard = [
        lifecycle.hear_of(task_id=task.pk, request_id=task.request_id, now=now)
        for _time in range(5)
    ]

    assert heard == [True, False, False, False, False]


def test_a_call_about_another_request_is_not_heard(alice):
    task = FluxTaskFactory(user=alice, at_provider=True)

    assert not lifecycle.hear_of(task_id=task.pk, request_id="another", now=timezone.now())


def test_a_call_makes_good_for_the_answer_that_was_lost(alice, drawing, work):
    task = place(alice)
    lifecycle.begin_submission(task=task, now=timezone.now())
    provider = polling.channel.current().provider()
    sent = lifecycle.send(task=task, provider=provider)

    assert lifecycle.hear_of(task_id=task.pk, request_id=sent.request_id, now=timezone.now())
    work()

    task.refresh_from_db()
    assert (task.status, task.request_id) == ("SUCCESS", sent.request_id)
    assert len(drawing.jobs) == 1


def test_a_submit_that_ends_in_doubt_after_the_call_changes_nothing(alice, drawing):
    task = place(alice)
    now = timezone.now()
    lifecycle.begin_submission(task=task, now=now)
    lifecycle.hear_of(task_id=task.pk, request_id="r", now=now)

    lifecycle.record_submission(
        task=task,
        outcome=lifecycle.OutcomeUnknown("submit_unknown"),
        timeout=timedelta(seconds=300),
        now=now,
    )

    task.refresh_from_db()
    assert (task.status, task.submission) == ("IN_QUEUE", "ACCEPTED")
    assert ledger.reserved_now(user=alice) == task.cost_reserved


def test_with_webhooks_a_lost_answer_waits_a_minute_for_the_call(alice, drawing, work):
    task = place(alice)
    now = timezone.now()
    lifecycle.begin_submission(task=task, now=now)
    lifecycle.record_submission(
        task=task,
        outcome=lifecycle.OutcomeUnknown("submit_unknown"),
        timeout=timedelta(seconds=300),
        now=now,
        awaits_webhook=True,
    )
    task.refresh_from_db()
    assert (task.status, task.submission) == ("PENDING", "UNKNOWN")
    assert task.next_action_at == now + lifecycle.WEBHOOK_PATIENCE

    FluxTask.objects.update(next_action_at=timezone.now())
    work()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("FAILED", "submit_unknown")
    assert balance(alice) == START


def test_a_call_after_the_end_makes_the_result_recoverable_and_charges_nothing(
    alice, drawing, work
):
    task = place(alice)
    lifecycle.begin_submission(task=task, now=timezone.now())
    sent = lifecycle.send(task=task, provider=polling.channel.current().provider())
    lifecycle.fail_submission(task=task, code="submit_unknown", now=timezone.now())

    assert lifecycle.hear_of(task_id=task.pk, request_id=sent.request_id, now=timezone.now())
    task.refresh_from_db()
    assert (task.status, balance(alice)) == ("FAILED", START)
    assert lifecycle.recover(task=task, now=timezone.now())
    work()

    task.refresh_from_db()
    assert (task.status, balance(alice)) == ("SUCCESS", START - 5)


def test_a_call_about_a_finished_task_changes_nothing(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)

    assert not lifecycle.hear_of(task_id=task.pk, request_id=task.request_id, now=timezone.now())


# ---------------------------------------------------------------- doors
def test_a_late_result_is_asked_for_by_api(alice, late, work):
    api = APIClient()
    api.force_authenticate(alice)
    address = f"/api/flux/task/{late.pk}"
    assert api.get(address).data["recoverable"] is True

    asked = api.post(f"{address}/recover")
    again = api.post(f"{address}/recover")
    work()

    assert (asked.status_code, asked.data["recovering"]) == (202, True)
    assert (again.status_code, again.data["code"]) == (409, "not_recoverable")
    assert api.get(address).data["status"] == "SUCCESS"


def test_a_late_result_that_cannot_be_paid_is_a_402(alice, late):
    api = APIClient()
    api.force_authenticate(alice)
    ledger.adjust(user=alice, amount=-START, reference="a", reason="", actor="staff")

    answer = api.post(f"/api/flux/task/{late.pk}/recover")

    assert (answer.status_code, answer.data["code"]) == (402, "insufficient_credits")


def test_a_stranger_cannot_ask_for_somebody_elses_late_result(bob, late):
    api = APIClient()
    api.force_authenticate(bob)

    assert api.post(f"/api/flux/task/{late.pk}/recover").status_code == 404


def test_a_given_up_card_offers_the_late_picture_and_its_price(client, alice, late, work):
    client.force_login(alice)
    page = client.get("/").content.decode()
    assert "Ask for the late picture · up to 10 credits" in page

    card = client.post(f"/studio/task/{late.pk}/recover", headers={"HX-Request": "true"})

    assert "Asking for the late picture" in card.content.decode()
    assert "data-live" in card.content.decode()
    work()
    assert "Done" in client.get(f"/studio/cards?id={late.pk}").content.decode()


def test_staff_ask_for_the_late_results_of_a_selection(admin_client, late, work):
    answer = admin_client.post(
        "/admin/generation/fluxtask/",
        {"action": "recover", "_selected_action": [late.pk]},
        follow=True,
    )
    work()

    late.refresh_from_db()
    assert "Asked for again: 1" in answer.content.decode()
    assert late.status == "SUCCESS"
