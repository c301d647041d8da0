"""The limit of what one member changes by API: exact, and reading is free."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
import time_machine
from rest_framework.test import APIClient

from fluxsite.models import ApiToken
from generation.models import RateWindow

ESTIMATE = "/api/flux/estimate"


@pytest.fixture(autouse=True)
def within_one_minute(settings):
    settings.API_CHANGES_PER_MINUTE = 2
    with time_machine.travel(datetime(2026, 5, 4, 12, 0, 1, tzinfo=UTC)) as clock:
        yield clock


def ask(user, **headers):
    client = APIClient()
    client.force_authenticate(user)
    return client.post(ESTIMATE, {"prompt": "a cat"}, format="json", headers=headers)


def test_the_next_one_is_told_how_long_to_wait(alice, bob, within_one_minute):
    answers = [ask(alice) for _ in range(3)]
    within_one_minute.shift(60)
    later = ask(alice)

    assert [answer.status_code for answer in (*answers, later)] == [200, 200, 429, 200]
    assert answers[2].data["code"] == "too_often"
    assert set(answers[2].data) == {"code", "detail", "request_id"}
    assert 50 < int(answers[2]["Retry-After"]) <= 60
    assert answers[2].data["detail"].startswith("Too many requests within one minute.")
    assert ask(bob).status_code == 200


def test_all_tokens_of_a_member_are_counted_together(alice):
    secrets = [ApiToken.objects.issue(user=alice, name=name)[1] for name in ("a", "b", "c")]

    answers = [
        APIClient().post(
            ESTIMATE, {"prompt": "a"}, format="json", headers={"Authorization": f"Bearer {secret}"}
        )
        for secret in secrets
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_an_address_that_was_made_up_changes_nothing(alice):
    answers = [ask(alice, **{"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_reading_is_never_counted(alice):
    client = APIClient()
    client.force_authenticate(alice)

    assert [client.get("/api/flux/history").status_code for _ in range(5)] == [200] * 5
    assert RateWindow.objects.count() == 0


def test_nobody_is_counted(db):
    assert [APIClient().post(ESTIMATE).status_code for _ in range(4)] == [401] * 4
    assert RateWindow.objects.count() == 0


def test_zero_is_no_limit(alice, settings):
    settings.API_CHANGES_PER_MINUTE = 0

    assert [ask(alice).status_code for _ in range(4)] == [200] * 4


@pytest.mark.django_db(transaction=True)
def test_of_sixty_at_once_exactly_so_many_pass(alice, race, settings):
    settings.API_CHANGES_PER_MINUTE = 10

    answers = race(lambda _n: ask(alice).status_code, list(range(60)))

    assert Counter(answers) == {200: 10, 429: 50}
    assert RateWindow.objects.get().count == 10
