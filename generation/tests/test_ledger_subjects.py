"""What the ledger says about FLUX tasks, and where it leads."""

from __future__ import annotations

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from credits import ledger
from generation.ledger_subjects import flux_tasks
from generation.tests.factories import FluxTaskFactory, TaskImageFactory


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def describe(task, user=None):
    return flux_tasks(user=user or task.user, ids={task.pk}).get(task.pk)


def drawn(user, *, pictures=1, **changes):
    task = FluxTaskFactory(user=user, succeeded=True, **changes)
    for position in range(pictures):
        TaskImageFactory(user=user, task=task, position=position)
    return task


# ---------------------------------------------------------------- one task
def test_a_finished_task_is_shown_by_its_first_picture_in_the_history(alice):
    task = drawn(alice, pictures=2, prompt="三只船")

    subject = describe(task)

    assert (subject.title, subject.label, subject.pictures) == ("三只船", "FLUX.1 schnell", 2)
    assert subject.url == f"/history/flux/{task.pk}"
    assert subject.thumb_url.startswith("/media/")
    assert subject.thumb_url.endswith("/320")
    assert not subject.is_veiled


def test_a_task_without_pictures_is_shown_by_its_card(alice):
    task = FluxTaskFactory(user=alice, failed=True)

    subject = describe(task)

    assert subject.url == f"/?task={task.pk}#task-{task.pk}"
    assert (subject.pictures, subject.thumb_url) == (0, "")


def test_a_picture_that_is_not_saved_yet_has_no_thumbnail(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task, storage_key="", stored_at=None)

    assert (describe(task).pictures, describe(task).thumb_url) == (1, "")


def test_a_picture_not_for_everybody_is_veiled(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task, is_nsfw=True)

    assert describe(task).is_veiled


def test_a_prompt_is_cut_and_a_missing_one_named(alice):
    assert describe(drawn(alice, prompt="x" * 5000)).title == "x" * 200
    assert describe(drawn(alice, prompt="")).title == "Variation without a prompt"


def test_nothing_is_told_of_somebody_elses_task_nor_of_one_in_the_trash(alice, bob):
    assert describe(drawn(bob), user=alice) is None
    assert describe(drawn(alice, trashed_at=timezone.now())) is None


@pytest.mark.parametrize("count", [1, 3])
def test_tasks_take_two_queries_however_many(alice, count, django_assert_num_queries):
    ids = {drawn(alice, pictures=2).pk for _ in range(count)}

    with django_assert_num_queries(2):
        assert len(flux_tasks(user=alice, ids=ids)) == count


# ---------------------------------------------------------------- page and API
def test_the_page_of_credits_leads_to_the_picture(member, alice):
    task = drawn(alice, prompt="a lighthouse")
    ledger.reserve(user=alice, amount=20, reference=f"flux:{task.pk}")
    ledger.settle(reference=f"flux:{task.pk}", charged=10)

    response = member.get("/credits")

    [line, _start] = response.context["lines"]
    assert (line.title, line.text, line.amount) == (
        "a lighthouse",
        "Charged for 1 picture; 10 of 20 given back",
        -10,
    )
    page = response.content.decode()
    assert f'<a href="/history/flux/{task.pk}">a lighthouse</a>' in page
    assert member.get(line.subject.url).status_code == 200
    thumbnail = member.get(line.subject.thumb_url)
    thumbnail.close()
    assert thumbnail.status_code == 200


def test_the_page_of_credits_leads_to_the_card_of_a_failed_task(member, alice):
    task = FluxTaskFactory(user=alice, failed=True)
    ledger.reserve(user=alice, amount=20, reference=f"flux:{task.pk}")
    ledger.release(reference=f"flux:{task.pk}")

    [line, _start] = member.get("/credits").context["lines"]

    assert (line.text, line.amount) == ("Nothing was charged; 20 credits were given back", 0)
    assert f'id="task-{task.pk}"' in member.get(line.subject.url).content.decode()


def test_the_ledger_of_the_api_names_the_task(alice):
    api = APIClient()
    api.force_authenticate(alice)
    task = drawn(alice)
    ledger.reserve(user=alice, amount=20, reference=f"flux:{task.pk}")

    [row, _start] = api.get("/api/credits/ledger").json()["results"]

    assert (row["kind"], row["amount"], row["source"], row["task_id"], row["url"]) == (
        "RESERVE",
        -20,
        "flux",
        task.pk,
        f"/history/flux/{task.pk}",
    )


@pytest.mark.parametrize("count", [1, 3])
def test_the_page_of_credits_takes_the_same_queries_for_any_number_of_tasks(
    member, alice, count, django_assert_num_queries
):
    for _ in range(count):
        task = drawn(alice, pictures=2)
        ledger.reserve(user=alice, amount=5, reference=f"flux:{task.pk}")

    # The session, the member, the account, what is reserved, the budgets, the lines, their
    # tasks and pictures, the head.
    with django_assert_num_queries(9):
        response = member.get("/credits")

    assert len(response.context["lines"]) == count + 1
