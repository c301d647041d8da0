"""How many tasks a member may begin in a minute: exactly so many, through every door."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
import time_machine
from django.test import Client
from rest_framework.test import APIClient

from credits import ledger
from generation.models import FluxTask, RateWindow
from generation.tests.factories import FluxTaskFactory

PATH = "/api/flux/text-to-image"
HALF_PAST = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def within_one_minute(settings):
    settings.TASKS_PER_MINUTE = 2
    with time_machine.travel(HALF_PAST) as clock:
        yield clock


def create(user, **headers):
    client = APIClient()
    client.force_authenticate(user)
    return client.post(PATH, {"prompt": "a cat"}, format="json", headers=headers)


@pytest.fixture
def page(alice):
    client = Client()
    client.force_login(alice)
    return client


def test_the_next_one_is_told_how_long_to_wait(alice, bob, drawing, within_one_minute):
    answers = [create(alice) for _ in range(3)]
    within_one_minute.shift(30)
    later = create(alice)

    assert [answer.status_code for answer in (*answers, later)] == [202, 202, 429, 202]
    assert answers[2].data["code"] == "too_often"
    assert 1 <= int(answers[2]["Retry-After"]) <= 30
    assert (
        answers[2]
        .data["detail"]
        .startswith("You have begun as many tasks as one minute allows. Try again in ")
    )
    assert create(bob).status_code == 202


def test_one_that_is_refused_costs_nothing_and_leaves_no_task(alice, drawing):
    create(alice), create(alice)
    before = ledger.account_for(user=alice).credits_balance

    create(alice)

    assert ledger.account_for(user=alice).credits_balance == before
    assert FluxTask.objects.count() == 2


def test_what_comes_to_nothing_is_not_counted(alice, drawing, settings):
    settings.CREDITS_STARTING_GRANT = 0

    assert [create(alice).status_code for _ in range(4)] == [402] * 4
    assert RateWindow.objects.count() == 0


def test_the_same_key_again_is_no_other_task(alice, drawing):
    answers = [create(alice, **{"Idempotency-Key": "once"}) for _ in range(5)]

    assert {answer.data["id"] for answer in answers} == {FluxTask.objects.get().pk}
    assert create(alice).status_code == 202


def test_zero_is_no_limit_and_no_row(alice, drawing, settings):
    settings.TASKS_PER_MINUTE = 0

    assert [create(alice).status_code for _ in range(4)] == [202] * 4
    assert RateWindow.objects.count() == 0


def test_to_retry_counts(alice, drawing):
    failed = FluxTaskFactory(user=alice, failed="timeout")
    client = APIClient()
    client.force_authenticate(alice)

    answers = [client.post(f"/api/flux/task/{failed.pk}/retry") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_the_page_says_it_in_words(page, alice, drawing, headers):
    create(alice), create(alice)
    form = {"prompt": "a cat", "model": "fal-ai/flux-1/schnell"}

    answer = page.post("/", form, headers=headers)

    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 30
    assert "You have begun as many tasks as one minute allows." in answer.content.decode()
    assert FluxTask.objects.count() == 2


def test_the_card_says_it_in_words(page, alice, drawing):
    failed = FluxTaskFactory(user=alice, failed="timeout")
    create(alice), create(alice)

    answer = page.post(f"/studio/task/{failed.pk}/retry", headers=HTMX)

    assert "You have begun as many tasks as one minute allows." in answer.content.decode()
    assert FluxTask.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_sixty_at_once_exactly_so_many_pass(alice, drawing, race, settings):
    settings.TASKS_PER_MINUTE = 10
    ledger.account_for(user=alice)

    answers = race(lambda _n: create(alice).status_code, list(range(60)))

    assert Counter(answers) == {202: 10, 429: 50}
    assert FluxTask.objects.count() == RateWindow.objects.get().count == 10
