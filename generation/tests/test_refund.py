"""Staff give back what a task has cost: once, with a reason the member reads."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from credits import audit, ledger, statement
from credits.models import LedgerEntry
from generation import cards, lifecycle, polling
from generation.models import FluxTask, TaskImage
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_lifecycle import place

START = 500
LIST = "/admin/generation/fluxtask/"


@pytest.fixture(autouse=True)
def start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = START


def balance(user):
    return ledger.account_for(user=user).credits_balance


def refund(task, reason="Came out green"):
    return lifecycle.refund(task=task, reason=reason, actor="staff", now=timezone.now())


@pytest.fixture
def paid(alice, work):
    """A finished task of two pictures that cost ten credits."""
    task = place(alice, num_images=2)
    work()
    task.refresh_from_db()
    assert (task.status, task.cost_charged, balance(alice)) == ("SUCCESS", 10, START - 10)
    return task


# ---------------------------------------------------------------- the verb
def test_all_it_cost_comes_back_and_the_pictures_stay(paid, alice):
    assert refund(paid) == 10

    paid.refresh_from_db()
    assert (paid.status, paid.cost_charged) == ("SUCCESS", 0)
    assert paid.refunded_at is not None
    assert balance(alice) == START
    assert TaskImage.objects.filter(task_id=paid.pk).count() == 2
    entry = LedgerEntry.objects.get(kind="ADJUST")
    assert (entry.reference, entry.amount) == (f"flux:{paid.pk}:refund", 10)
    assert (entry.reason, entry.actor) == ("Came out green", "staff")
    assert audit.check() == []


def test_a_task_is_refunded_once(paid, alice):
    refund(paid)

    assert refund(paid) == 0
    assert balance(alice) == START


@pytest.mark.django_db(transaction=True)
def test_two_refunds_at_the_same_moment_give_back_once(alice, race):
    task = FluxTaskFactory(user=alice, succeeded=True, cost_reserved=10, cost_charged=10)

    assert sorted(race(lambda _n: refund(task), list(range(4)))) == [0, 0, 0, 10]
    assert balance(alice) == START + 10


@pytest.mark.parametrize("state", ["waiting", "at_provider", "failed", "free"])
def test_what_cost_nothing_gives_nothing_back(alice, state):
    traits = {"at_provider": {"at_provider": True}, "failed": {"failed": True}}
    free = {"succeeded": True, "cost_reserved": 0}
    task = FluxTaskFactory(
        user=alice, **{"cost_reserved": 10, **traits.get(state, free if state == "free" else {})}
    )

    assert refund(task) == 0
    task.refresh_from_db()
    assert task.refunded_at is None
    assert not LedgerEntry.objects.filter(kind="ADJUST").exists()


def test_a_picture_that_was_lost_before_is_not_paid_back_twice(alice, work, drawing):
    drawing.add_fault(kind="expired_file", times=4)
    task = place(alice, num_images=2)
    work()
    first = TaskImage.objects.order_by("position")[0]
    while first.lost_at is None and first.stored_at is None:
        polling.store(first.pk)
        first.refresh_from_db()
    lost = TaskImage.objects.filter(lost_at__isnull=False).count()

    assert refund(task) == 10 - 5 * lost
    assert balance(alice) == START


def test_a_picture_that_is_lost_afterwards_is_not_paid_back_again(alice, work, drawing):
    drawing.add_fault(kind="expired_file")
    task = place(alice)
    work()
    image = TaskImage.objects.get()
    assert refund(task) == 5

    while image.lost_at is None:
        polling.store(image.pk)
        image.refresh_from_db()

    assert balance(alice) == START
    task.refresh_from_db()
    assert task.cost_charged == 0
    assert audit.check() == []


def test_a_late_result_can_be_refunded_as_well(alice):
    task = FluxTaskFactory(user=alice, succeeded=True, cost_reserved=5, cost_charged=5)
    ledger.reserve(user=alice, amount=5, reference=f"flux:{task.pk}")
    ledger.release(reference=f"flux:{task.pk}")
    ledger.reserve(user=alice, amount=5, reference=f"flux:{task.pk}:late")
    ledger.settle(reference=f"flux:{task.pk}:late", charged=5)

    assert refund(task) == 5
    assert balance(alice) == START


# ---------------------------------------------------------------- what the member sees
def test_the_member_reads_the_reason_in_the_statement(paid, alice, client):
    refund(paid, reason="绿色 & green")

    entries = statement.events(account=ledger.account_for(user=alice))
    line = statement.compose(user=alice, entries=list(entries))[0]
    assert (line.state, line.amount) == ("adjusted", 10)
    assert (line.title, line.text) == (paid.prompt, "Given back by staff: 绿色 & green")
    client.force_login(alice)
    assert "绿色 &amp; green" in client.get("/credits").content.decode()
    [booked, *_rest] = client.get("/api/credits/ledger").json()["results"]
    assert (booked["amount"], booked["reason"]) == (10, "绿色 & green")


def test_the_task_is_shown_as_refunded(paid, alice, client):
    before = client.force_login(alice) or client.get(f"/api/flux/task/{paid.pk}").json()
    refund(paid)
    after = client.get(f"/api/flux/task/{paid.pk}").json()

    assert (before["cost"], before["refunded_at"]) == (10, None)
    assert (after["status"], after["cost"]) == ("SUCCESS", 0)
    assert after["refunded_at"] is not None
    paid.refresh_from_db()
    [card] = cards.build([paid])
    assert [d.value for d in card.details if d.label == "Credits"] == ["refunded"]


# ---------------------------------------------------------------- the action
def select(*tasks, **more):
    return {"action": "refund", "_selected_action": [task.pk for task in tasks], **more}


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def test_the_action_asks_for_a_reason_first(admin, paid, alice):
    page = admin.post(LIST, select(paid))

    assert page.status_code == 200
    words = page.content.decode()
    assert "Tasks that cost something: 1. Credits to give back: 10." in words
    assert f'name="_selected_action" value="{paid.pk}"' in words
    assert balance(alice) == START - 10


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_without_a_reason_nothing_is_given_back(admin, paid, alice, reason):
    page = admin.post(LIST, select(paid, reason=reason))

    assert list(page.context["form"].errors) == ["reason"]
    assert balance(alice) == START - 10


def test_with_a_reason_it_is_done_and_told(admin, paid, alice):
    answer = admin.post(LIST, select(paid, reason=" Came out green "), follow=True)

    assert [str(m) for m in answer.context["messages"]] == [
        "Refunded tasks: 1. Credits given back: 10"
    ]
    entry = LedgerEntry.objects.get(kind="ADJUST")
    assert (entry.reason, entry.actor) == ("Came out green", "staff")
    assert LogEntry.objects.get().object_id == paid.pk
    assert "refunded" in admin.get(LIST).content.decode()


def test_a_page_that_is_sent_twice_gives_back_once(admin, paid, alice):
    admin.post(LIST, select(paid, reason="a"))
    answer = admin.post(LIST, select(paid, reason="a"), follow=True)

    assert balance(alice) == START
    assert [str(m) for m in answer.context["messages"]][1:] == [
        "Nothing to give back, because free, unfinished or refunded: 1"
    ]


def test_all_of_a_filter_are_refunded_and_no_others(admin, alice, bob):
    for _index in range(60):
        FluxTaskFactory(user=alice, succeeded=True, cost_reserved=2, cost_charged=2)
    other = FluxTaskFactory(
        user=bob, succeeded=True, cost_charged=2, cost_reserved=2, model="fal-ai/flux-1/dev"
    )
    address = f"{LIST}?model=fal-ai%2Fflux-1%2Fschnell"
    one = FluxTask.objects.filter(user=alice).first()

    page = admin.post(address, select(one, select_across="1")).content.decode()
    assert "Tasks that cost something: 60. Credits to give back: 120." in page
    assert '<input type="hidden" name="select_across" value="1">' in page
    answer = admin.post(address, select(one, select_across="1", reason="outage"), follow=True)

    assert [str(m) for m in answer.context["messages"]] == [
        "Refunded tasks: 60. Credits given back: 120"
    ]
    assert balance(alice) == START + 120
    other.refresh_from_db()
    assert (other.cost_charged, other.refunded_at) == (2, None)


def test_only_who_may_adjust_credits_refunds(client, paid, alice, settings):
    helper = User.objects.create_user("helper", is_staff=True)
    codes = ["view_fluxtask", "change_fluxtask"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client.force_login(helper)

    client.post(LIST, select(paid, reason="for a friend"))

    assert balance(alice) == START - 10
    assert 'value="refund"' not in client.get(LIST).content.decode()


# ---------------------------------------------------------------- the other actions on many
def test_cancel_works_on_all_of_a_filter_and_tells_how_many(admin, alice):
    FluxTaskFactory.create_batch(60, user=alice)
    running = FluxTaskFactory(user=alice, at_provider=True)
    done = FluxTaskFactory(user=alice, succeeded=True)
    chosen = {"action": "cancel", "_selected_action": [done.pk], "select_across": "1"}

    answer = admin.post(f"{LIST}?status__exact=PENDING", chosen, follow=True)
    assert [str(m) for m in answer.context["messages"]] == ["Cancelled or asked to stop: 60"]
    assert FluxTask.objects.filter(status="CANCELLED").count() == 60
    running.refresh_from_db()
    assert running.cancel_requested_at is None

    answer = admin.post(LIST, chosen, follow=True)
    assert [str(m) for m in answer.context["messages"]] == [
        "Cancelled or asked to stop: 1",
        "Had ended already: 61",
    ]


def test_recover_works_on_all_of_a_filter_and_tells_how_many(admin, alice, bob, settings):
    late = {"failed": True, "submission": "ACCEPTED", "error_code": "timeout", "cost_reserved": 5}
    for number in range(60):
        FluxTaskFactory(user=alice, request_id=f"a{number}", **late)
    poor = User.objects.create_user("poor")
    ledger.adjust(
        user=poor, amount=-START, reference="admin:all", reason="spent elsewhere", actor="staff"
    )
    FluxTaskFactory(user=poor, request_id="p", **late)
    hopeless = FluxTaskFactory(user=bob, failed=True)
    chosen = {"action": "recover", "_selected_action": [hopeless.pk], "select_across": "1"}

    answer = admin.post(f"{LIST}?status__exact=FAILED", chosen, follow=True)

    assert [str(m) for m in answer.context["messages"]] == [
        "Asked for again: 60",
        "Members without the credits for their late result: 1",
    ]
    assert FluxTask.objects.filter(recover_requested_at__isnull=False).count() == 60
