"""Every way a task can go, and what it costs: what was delivered, and nothing else."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from credits import ledger
from credits.models import LedgerEntry, Price
from generation import catalogue, lifecycle, polling
from generation.models import FluxTask
from generation.providers.base import PictureLink, Result
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_lifecycle import place, result

START = 500


@pytest.fixture(autouse=True)
def start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = START


def balance(user):
    return ledger.account_for(user=user).credits_balance


def booked(task):
    """Return what the ledger has for a task, in order."""
    entries = LedgerEntry.objects.filter(reference=f"flux:{task.pk}").order_by("created_at", "id")
    return [(entry.kind, entry.amount) for entry in entries]


def test_the_most_a_task_may_cost_is_reserved_with_it(alice, drawing):
    task = place(alice, num_images=3)

    assert (task.cost_reserved, task.cost_charged) == (15, 0)
    assert booked(task) == [("RESERVE", -15)]
    assert balance(alice) == START - 15


def test_delivered_pictures_are_charged(alice, work):
    task = place(alice, num_images=2)

    work()

    task.refresh_from_db()
    account = ledger.account_for(user=alice)
    assert (task.status, task.cost_charged) == ("SUCCESS", 10)
    assert (account.credits_balance, account.total_used) == (START - 10, 10)


def test_pictures_that_were_not_delivered_are_paid_back(alice, drawing):
    task = place(alice, num_images=4)
    FluxTask.objects.update(submission="ACCEPTED", request_id="r", status="IN_QUEUE")
    task.refresh_from_db()

    lifecycle.deliver(task=task, result=result(pictures=3), now=timezone.now())

    task.refresh_from_db()
    assert task.cost_charged == 15
    assert booked(task) == [("RESERVE", -20), ("SETTLE", 5)]
    assert balance(alice) == START - 15


def test_more_pictures_than_were_asked_for_cost_no_more(alice, drawing):
    task = place(alice)
    FluxTask.objects.update(submission="ACCEPTED", request_id="r", status="IN_QUEUE")
    task.refresh_from_db()
    links = tuple(PictureLink(url=f"https://v3.fal.media/{n}.png") for n in range(3))

    lifecycle.deliver(task=task, result=Result(pictures=links), now=timezone.now())

    assert balance(alice) == START - 5


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "content_policy"},
        {"kind": "model_crash"},
        {"kind": "no_images"},
        {"kind": "status_404", "on": "submit"},
        {"kind": "drop_after_accept", "on": "submit"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_failure_costs_nothing(alice, work, drawing, fault):
    drawing.add_fault(**fault)
    task = place(alice, num_images=2)

    work()

    task.refresh_from_db()
    assert (task.status, task.cost_charged) == ("FAILED", 0)
    assert booked(task) == [("RESERVE", -10), ("RELEASE", 10)]
    assert balance(alice) == START


def test_cancelling_pays_back_at_once_or_when_fal_has_stopped(alice, work, drawing):
    waiting = place(alice)
    lifecycle.cancel(task=waiting, now=timezone.now())
    assert balance(alice) == START

    drawing.add_fault(kind="never_completes")
    running = place(alice)
    polling.sweep(window=0.5, idle=0)
    lifecycle.cancel(task=running, now=timezone.now())
    assert balance(alice) == START - 5
    work()

    assert balance(alice) == START


def test_a_worker_that_died_while_sending_costs_nothing(alice, work, drawing):
    task = place(alice)
    lifecycle.begin_submission(task=task, now=timezone.now() - lifecycle.SUBMIT_LEASE)

    work()

    assert booked(task) == [("RESERVE", -5), ("RELEASE", 5)]


def test_the_price_at_submission_holds(alice, work, drawing):
    task = place(alice)
    Price.objects.update_or_create(key="fal-ai/flux-1/schnell", defaults={"credits": 50})

    work()

    task.refresh_from_db()
    assert task.cost_charged == 5
    assert place(alice).cost_reserved == 50


def test_a_second_end_books_nothing(alice, drawing):
    task = place(alice)
    FluxTask.objects.update(submission="ACCEPTED", request_id="r", status="IN_QUEUE")
    task.refresh_from_db()
    now = timezone.now()

    lifecycle.deliver(task=task, result=result(), now=now)
    lifecycle.fail(task=task, code="timeout", now=now)
    lifecycle.deliver(task=task, result=result(), now=now)

    assert booked(task) == [("RESERVE", -5), ("SETTLE", 0)]


def test_who_cannot_pay_gets_no_task_and_keeps_what_is_left(alice, drawing):
    ledger.adjust(user=alice, amount=4 - START, reference="t", reason="test", actor="staff")

    with pytest.raises(lifecycle.CannotPay) as caught:
        place(alice)

    assert caught.value.problem.code == "insufficient_credits"
    assert str(caught.value) == "This needs 5 credits and you have 4."
    assert FluxTask.objects.count() == 0
    assert balance(alice) == 4


def test_the_same_key_reserves_once(alice, drawing):
    place(alice, idempotency_key="k")
    place(alice, idempotency_key="k")

    assert balance(alice) == START - 5


def test_a_free_model_books_nothing(alice, work, drawing):
    Price.objects.update_or_create(key="fal-ai/flux-1/schnell", defaults={"credits": 0})
    task = place(alice)

    work()

    assert booked(task) == []
    assert balance(alice) == START


def test_switched_off_nothing_is_priced_or_booked(alice, work, settings):
    settings.CREDITS_ENABLED = False
    task = place(alice)

    work()

    task.refresh_from_db()
    assert (task.status, task.cost_reserved) == ("SUCCESS", 0)
    assert LedgerEntry.objects.count() == 0


def test_what_was_reserved_is_settled_even_after_credits_were_switched_off(
    alice, work, drawing, settings
):
    task = place(alice)
    settings.CREDITS_ENABLED = False

    work()

    assert booked(task) == [("RESERVE", -5), ("SETTLE", 0)]


def test_the_ledger_is_right_after_a_mixed_day(alice, bob, work, drawing, capsys):
    drawing.add_fault(kind="content_policy", times=2)
    drawing.add_fault(kind="drop_after_accept", on="submit", times=1, after=3)
    for user in (alice, bob, alice, bob, alice):
        place(user, num_images=2)
    lifecycle.cancel(task=place(bob), now=timezone.now())

    work()
    call_command("check_ledger")

    assert FluxTask.objects.unfinished().count() == 0
    assert ledger.reserved_now(user=alice) == ledger.reserved_now(user=bob) == 0


def test_every_endpoint_is_on_the_price_list_and_staffs_prices_stay(db):
    assert dict(Price.objects.values_list("key", "credits")) == catalogue.listed_prices()
    Price.objects.filter(key="fal-ai/flux-1/dev").update(credits=99)
    Price.objects.filter(key="fal-ai/flux-2").delete()

    lifecycle.list_new_prices()

    assert dict(Price.objects.values_list("key", "credits")) == {
        **catalogue.listed_prices(),
        "fal-ai/flux-1/dev": 99,
    }


# ---------------------------------------------------------------- doors
@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def test_the_api_says_402_and_how_much_is_missing(api, alice, drawing):
    ledger.adjust(user=alice, amount=-START, reference="t", reason="test", actor="staff")

    answer = api.post(
        "/api/flux/text-to-image",
        {"model": "fal-ai/flux-1/schnell", "prompt": "x", "num_images": 2},
        format="json",
    )

    assert (answer.status_code, answer.data["code"]) == (402, "insufficient_credits")
    assert answer.data["detail"] == "This needs 10 credits and you have 0."
    assert FluxTask.objects.count() == 0


def test_an_estimate_tells_price_balance_and_every_problem(api, alice):
    ask = {"model": "fal-ai/flux-1/dev", "prompt": "x", "num_images": 3}

    fine = api.post("/api/flux/estimate", ask, format="json")
    bad = api.post("/api/flux/estimate", {**ask, "num_images": 9, "prompt": ""}, format="json")
    Price.objects.update_or_create(key="fal-ai/flux-1/dev", defaults={"credits": 400})
    dear = api.post("/api/flux/estimate", ask, format="json")

    assert fine.data == {"credits": 30, "balance_after": START - 30, "problems": []}
    assert [problem["field"] for problem in bad.data["problems"]] == ["prompt", "num_images"]
    assert (dear.data["credits"], dear.data["balance_after"]) == (1200, START - 1200)
    assert [problem["code"] for problem in dear.data["problems"]] == ["insufficient_credits"]
    assert FluxTask.objects.count() == 0


def test_a_retry_is_paid_for_like_any_task(api, alice, drawing):
    task = FluxTaskFactory(user=alice, failed=True)

    api.post(f"/api/flux/task/{task.pk}/retry")

    assert balance(alice) == START - 5


def test_the_run_button_names_the_price_and_what_is_left(client, alice, drawing):
    client.force_login(alice)

    page = client.get("/?model=fal-ai/flux-1/schnell").content.decode()

    assert "Generate 1 image · 5\u00a0credits (495 left after)" in page


def test_the_page_says_why_it_cannot_run_without_credits(client, alice, drawing):
    ledger.adjust(user=alice, amount=-START, reference="t", reason="test", actor="staff")
    client.force_login(alice)

    page = client.get("/?model=fal-ai/flux-1/schnell").content.decode()

    assert "A picture costs 5 credits here and you have 0." in page


def test_the_card_of_a_failed_task_says_that_the_credits_are_back(client, alice, drawing, work):
    drawing.add_fault(kind="model_crash")
    place(alice, num_images=2)
    work()
    client.force_login(alice)

    assert "Nothing was charged; 10 credits are back." in client.get("/").content.decode()


def test_a_task_whose_reservation_somebody_removed_ends_all_the_same(alice, work, drawing):
    drawing.add_fault(kind="content_policy", prompt="refused")
    done, refused = place(alice), place(alice, prompt="refused")
    LedgerEntry.objects.all()._raw_delete("default")

    work()

    done.refresh_from_db()
    refused.refresh_from_db()
    assert (done.status, done.cost_charged) == ("SUCCESS", 0)
    assert (refused.status, refused.cost_charged) == ("FAILED", 0)
    assert LedgerEntry.objects.count() == 0
