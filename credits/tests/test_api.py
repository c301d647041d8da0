"""`/api/credits`: the balance, the ledger, and codes."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
import time_machine
from django.core.management import call_command
from rest_framework.test import APIClient

from credits import codes, ledger
from credits.models import Budget, LedgerEntry

LEDGER = "/api/credits/ledger"
REDEEM = "/api/credits/redeem"


@pytest.fixture(autouse=True)
def _sources(settings):
    settings.CREDITS_SUBJECTS = {"thing": "credits.tests.subjects.things"}


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def make(**changes):
    [code] = codes.make(**{"amount": 25, "count": 1, "created_by": "staff", **changes})
    return code


# ---------------------------------------------------------------- the balance
def test_the_balance_tells_what_is_reserved_and_what_the_budget_leaves(api, rich, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    with time_machine.travel("2026-05-04T12:00:00Z", tick=False):
        Budget.objects.create(user=rich, per_day=50)
        ledger.reserve(user=rich, amount=20, reference="thing:1")

        answer = api.get("/api/credits")

    assert answer.json() == {
        "credits_balance": 80,
        "total_used": 0,
        "reserved": 20,
        "budgets": [
            {"period": "day", "limit": 50, "used": 20, "resets_at": "2026-05-04T16:00:00Z"}
        ],
    }


# ---------------------------------------------------------------- the ledger
def test_the_ledger_tells_every_entry_newest_first(api, rich):
    with time_machine.travel("2126-05-04T12:00:00Z", tick=False):
        ledger.reserve(user=rich, amount=20, reference="thing:1:late")
        ledger.settle(reference="thing:1:late", charged=15)
    settled, reserved, granted = LedgerEntry.objects.all()

    answer = api.get(LEDGER)

    thing = {"source": "thing", "task_id": "1", "is_late": True, "url": "/things/1"}
    assert answer.json() == {
        "results": [
            {
                "id": settled.pk,
                "kind": "SETTLE",
                "amount": 5,
                "charged": 15,
                "created_at": "2126-05-04T12:00:00Z",
                "reason": "",
                **thing,
            },
            {
                "id": reserved.pk,
                "kind": "RESERVE",
                "amount": -20,
                "charged": 0,
                "created_at": "2126-05-04T12:00:00Z",
                "reason": "",
                **thing,
            },
            {
                "id": granted.pk,
                "kind": "GRANT",
                "amount": 100,
                "charged": 0,
                "created_at": granted.created_at.isoformat().replace("+00:00", "Z"),
                "reason": "",
                "source": None,
                "task_id": None,
                "is_late": False,
                "url": None,
            },
        ],
        "next": None,
        "previous": None,
    }


def test_the_ledger_tells_the_reason_of_staff_but_no_batch_of_codes(api, alice):
    ledger.grant(user=alice, amount=30, reference="a", reason="Prize", actor="staff")
    ledger.redeem(user=alice, code=make(batch="for the angry"))

    assert [row["reason"] for row in api.get(LEDGER).json()["results"]] == ["", "Prize"]


def test_a_task_that_is_gone_has_no_url(api, rich):
    ledger.reserve(user=rich, amount=20, reference="thing:901")
    ledger.reserve(user=rich, amount=20, reference="elsewhere:1")

    rows = api.get(LEDGER).json()["results"]
    assert [(row["source"], row["task_id"], row["url"]) for row in rows] == [
        ("elsewhere", "1", None),
        ("thing", "901", None),
        (None, None, None),
    ]


def test_the_ledger_is_paged_by_cursor_and_by_page(api, rich):
    for number in range(4):
        ledger.reserve(user=rich, amount=1, reference=f"thing:{number}")
    ids = list(LedgerEntry.objects.values_list("pk", flat=True))

    def walk(path):
        while path:
            body = api.get(path).json()
            yield [row["id"] for row in body["results"]]
            path = body["next"] and body["next"].removeprefix("http://testserver")

    expected = [ids[:2], ids[2:4], ids[4:]]
    assert list(walk(f"{LEDGER}?limit=2")) == expected
    assert list(walk(f"{LEDGER}?limit=2&page=1")) == expected
    last = api.get(f"{LEDGER}?limit=2&page=3").json()
    assert urlsplit(last["previous"]).query == "limit=2&page=2"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=garbage", "cursor"),
        ("cursor=MTc3Nzg5NjAwMDAwMDAwMDp0MQ", "cursor"),  # of a list with texts for ids
        ("page=0", "page"),
        ("limit=101", "limit"),
    ],
)
def test_a_bad_parameter_is_named(api, query, field):
    answer = api.get(f"{LEDGER}?{query}")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_a_member_sees_only_their_own_entries_and_so_do_staff(api, rich, bob, staff):
    for user in (bob, staff):
        other = APIClient()
        other.force_authenticate(user)

        assert other.get(LEDGER).json()["results"] == []

    assert len(api.get(LEDGER).json()["results"]) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_the_ledger_takes_the_same_queries_for_any_number_of_entries(
    api, rich, count, django_assert_num_queries
):
    for number in range(count):
        ledger.reserve(user=rich, amount=1, reference=f"thing:{number}")

    # The account and the page; the source of these tests asks nobody.
    with django_assert_num_queries(2):
        answer = api.get(LEDGER)

    assert len(answer.json()["results"]) == count + 1


# ---------------------------------------------------------------- codes
def test_a_code_is_redeemed(api, rich):
    answer = api.post(REDEEM, {"code": make()}, format="json")

    assert (answer.status_code, answer.json()["credits_balance"]) == (200, 125)


def test_a_code_that_brings_nothing_is_told_by_name(api, alice):
    answer = api.post(REDEEM, {"code": "nonsense"}, format="json")

    assert (answer.status_code, answer.json()["errors"]) == (
        400,
        {"code": ["This code is not known."]},
    )


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": "x" * 101}, {"code": "a\0b"}])
def test_what_cannot_be_a_code_is_no_try(api, alice, body):
    statuses = {api.post(REDEEM, body, format="json").status_code for _ in range(12)}

    assert statuses == {400}


def test_the_eleventh_guess_is_told_when_to_come_back(api, alice):
    with time_machine.travel(datetime(2026, 5, 4, 12, tzinfo=UTC), tick=False) as clock:
        for _ in range(10):
            assert api.post(REDEEM, {"code": "nonsense"}, format="json").status_code == 400
        clock.shift(600.5)

        answer = api.post(REDEEM, {"code": make()}, format="json")

    assert (answer.status_code, answer["Retry-After"]) == (429, "3000")
    assert (answer.json()["code"], answer.json()["detail"]) == (
        "too_many_failures",
        "Too many codes that did not work. Try again in 50 minutes.",
    )


def guess(members, *, forwarded_for):
    """Let the members guess in turns, ten times in all, each time from another address as the
    header has it."""
    for number in range(10):
        members[number % 2].post(
            REDEEM,
            {"code": "nonsense"},
            format="json",
            headers={"X-Forwarded-For": forwarded_for.format(number)},
        )


@pytest.fixture
def other(bob):
    client = APIClient()
    client.force_authenticate(bob)
    return client


def test_guesses_from_one_address_count_together_whatever_a_header_says(api, other):
    guess([api, other], forwarded_for="192.0.2.{}")

    here = other.post(REDEEM, {"code": make()}, format="json")
    there = other.post(REDEEM, {"code": make()}, format="json", REMOTE_ADDR="192.0.2.7")

    assert (here.status_code, there.status_code) == (429, 200)


def test_behind_a_proxy_the_address_is_the_one_it_saw(api, other, settings):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    guess([api, other], forwarded_for="198.51.100.{}, 192.0.2.1")

    def redeem(forwarded_for):
        headers = {"X-Forwarded-For": forwarded_for}
        return other.post(REDEEM, {"code": make()}, format="json", headers=headers).status_code

    assert (redeem("192.0.2.9, 192.0.2.1"), redeem("192.0.2.1, 192.0.2.9")) == (429, 200)


# ---------------------------------------------------------------- who may ask
@pytest.mark.parametrize("path", ["/api/credits", LEDGER])
def test_a_stranger_is_not_told(db, path):
    assert APIClient().get(path).status_code == 401


def test_without_credits_nothing_of_them_is_there(api, alice, settings):
    settings.CREDITS_ENABLED = False

    answers = [api.get("/api/credits"), api.get(LEDGER), api.post(REDEEM, {"code": "x"})]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_the_schema_describes_the_ledger(tmp_path):
    file = tmp_path / "schema.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(file))

    assert "/api/credits/ledger:" in file.read_text()
