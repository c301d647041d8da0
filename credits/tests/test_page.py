"""The page of credits, without scripts and with htmx."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from credits import codes, ledger
from credits.models import Budget
from fluxsite.paging import Cursor

HTMX = {"HX-Request": "true"}
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _sources(settings):
    settings.CREDITS_SUBJECTS = {"thing": "credits.tests.subjects.things"}


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def make(**changes):
    [code] = codes.make(**{"amount": 25, "count": 1, "created_by": "staff", **changes})
    return code


def templates(response):
    return [
        template.name
        for template in response.templates
        if template.name in ("credits/page.html", "credits/_content.html", "credits/_lines.html")
    ]


def titles(response):
    return [line.title for line in response.context["lines"]]


def words(response):
    """What the page says, without its markup."""
    text = re.sub(r"<(head|template)\b.*?</\1>|<[^>]*>", " ", response.content.decode(), flags=re.S)
    return " ".join(text.split())


# ---------------------------------------------------------------- what it shows
def test_the_page_tells_the_balance_what_is_reserved_and_what_was_used(member, rich):
    ledger.reserve(user=rich, amount=20, reference="thing:1")
    ledger.settle(reference="thing:1", charged=20)
    ledger.reserve(user=rich, amount=7, reference="thing:2")

    page = words(member.get("/credits"))

    assert "73 credits left" in page
    assert "Reserved for pictures in the making 7 Used in all 20" in page


def test_large_amounts_are_readable(member, alice):
    ledger.grant(user=alice, amount=1_250_000, reference="a", reason="", actor="staff")
    ledger.adjust(user=alice, amount=-1_000, reference="b", reason="", actor="staff")

    page = words(member.get("/credits"))

    assert "1,249,000 credits left" in page
    assert "+1,250,000" in page
    assert "−1,000" in page


def test_a_budget_tells_what_is_used_and_when_it_starts_anew(member, rich):
    Budget.objects.create(user=rich, per_day=50, per_month=40)
    with time_machine.travel(NOON, tick=False):
        ledger.reserve(user=rich, amount=40, reference="thing:1")

        response = member.get("/credits")

    assert [
        (str(label), use.used, use.limit, use.left) for label, use in response.context["budgets"]
    ] == [
        ("Today", 40, 50, 10),
        ("This month", 40, 40, 0),
    ]
    assert "Today 40 of 50 Starts anew: May 5, 2026, midnight" in words(response)
    assert response.content.count(b"is-used-up") == 1


def test_without_a_budget_none_is_shown(member, rich):
    assert "Your budget" not in words(member.get("/credits"))


def test_a_line_leads_to_what_it_was_spent_on(member, rich):
    ledger.reserve(user=rich, amount=20, reference="thing:2")
    ledger.settle(reference="thing:2", charged=20)

    response = member.get("/credits")

    assert '<a href="/things/2">thing 2</a>' in response.content.decode()
    assert '<img src="/things/2/320" alt=""' in response.content.decode()
    assert "thing 2 Charged for 2 pictures Maker" in words(response)


def test_an_empty_account_says_where_credits_come_from(member, alice):
    page = words(member.get("/credits"))

    assert "0 credits left Redeem a code, or ask an administrator for more." in page
    assert "Nothing has happened yet" in page


def test_a_member_sees_only_their_own_lines(member, alice, bob):
    ledger.grant(user=bob, amount=30, reference="a", reason="for Bob", actor="staff")

    assert titles(member.get("/credits")) == []


def test_a_stranger_is_sent_to_the_login(client, db):
    for path in ("/credits", "/credits/balance"):
        response = client.get(path)

        assert (response.status_code, response["Location"]) == (302, f"/login?next={path}")


def test_without_credits_there_is_no_page_and_no_link_to_it(member, settings):
    settings.CREDITS_ENABLED = False

    statuses = [
        member.get("/credits").status_code,
        member.post("/credits", {"code": "x"}).status_code,
        member.get("/credits/balance").status_code,
    ]

    assert statuses == [404, 404, 404]
    assert 'href="/credits"' not in member.get("/history").content.decode()


def test_the_account_menu_leads_to_the_page_and_asks_for_the_balance_alone(member, rich):
    page = member.get("/history").content.decode()

    assert 'href="/credits"' in page
    assert 'hx-get="/credits/balance"' in page
    answer = member.get("/credits/balance")
    assert (answer.content, "no-store" in answer["Cache-Control"]) == (b"100", True)


# ---------------------------------------------------------------- older lines
@pytest.fixture
def many(alice):
    for number in range(25):
        with time_machine.travel(NOON + timedelta(minutes=number), tick=False):
            ledger.grant(
                user=alice, amount=1, reference=f"{number}", reason=f"no. {number}", actor="staff"
            )


@pytest.mark.usefixtures("many")
def test_htmx_gets_just_the_older_lines(member):
    first = member.get("/credits")
    path = f"/credits?cursor={first.context['next_cursor']}"

    older, page = member.get(path, headers=HTMX), member.get(path)

    reasons = [line.text for line in older.context["lines"]]
    assert reasons == ["no. 4", "no. 3", "no. 2", "no. 1", "no. 0"]
    assert (templates(older), templates(page)[0]) == (["credits/_lines.html"], "credits/page.html")
    assert older.context["next_cursor"] == ""
    assert "HX-Request" in first["Vary"]


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        Cursor(created_at=NOON, id="t1").encode(),
        Cursor(created_at=NOON, id="-").encode(),
    ],
)
def test_garbage_for_a_cursor_is_refused(member, cursor):
    assert member.get(f"/credits?cursor={cursor}").status_code == 400


@pytest.mark.parametrize("count", [1, 3])
def test_the_page_takes_the_same_queries_for_any_number_of_lines(
    member, rich, count, django_assert_num_queries
):
    for number in range(count):
        ledger.reserve(user=rich, amount=1, reference=f"thing:{number}")

    # The session, the member, the account, what is reserved, the budgets, the lines, the head.
    with django_assert_num_queries(7):
        response = member.get("/credits")

    assert len(response.context["lines"]) == count + 1


# ---------------------------------------------------------------- redeeming
def test_a_code_is_redeemed_without_scripts(member, alice):
    response = member.post("/credits", {"code": make()}, follow=True)

    assert response.redirect_chain == [("/credits", 302)]
    assert "25 credits added. You have 25 now." in words(response)
    assert titles(response) == ["Code redeemed"]


def test_a_code_is_redeemed_with_htmx(member, alice):
    response = member.post("/credits", {"code": make()}, headers=HTMX)

    assert (response.status_code, templates(response)) == (
        200,
        ["credits/_content.html", "credits/_lines.html"],
    )
    assert "25 credits added. You have 25 now." in words(response)
    # The account menu asks again.
    assert response["HX-Trigger"] == "credits"


def test_a_refusal_is_told_under_the_field_that_keeps_what_was_typed(member, alice):
    response = member.post("/credits", {"code": "nonsense <b>"})

    page = response.content.decode()
    assert response.status_code == 422
    assert 'value="nonsense &lt;b&gt;"' in page
    assert '<p class="problem" role="alert">This code is not known.</p>' in page
    assert "0 credits left" in words(response)


def test_a_refusal_replaces_just_the_form_for_htmx(member, alice):
    response = member.post("/credits", {"code": "nonsense"}, headers=HTMX)

    assert (response.status_code, response["HX-Retarget"], response["HX-Reswap"]) == (
        422,
        "#redeem",
        "outerHTML",
    )
    assert templates(response) == []
    assert "This code is not known." in words(response)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("", "Enter a code."),
        ("   ", "Enter a code."),
        ("x" * 101, "This is too long for a code."),
        ("a\0b", "Null characters are not allowed."),
    ],
)
def test_what_cannot_be_a_code_is_no_try(member, alice, typed, problem):
    responses = [member.post("/credits", {"code": typed}) for _ in range(11)]

    assert {response.status_code for response in responses} == {422}
    assert problem in words(responses[-1])


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_the_eleventh_guess_is_told_when_to_come_back(member, alice, headers):
    with time_machine.travel(NOON, tick=False):
        for _ in range(10):
            member.post("/credits", {"code": "nonsense"})

        response = member.post("/credits", {"code": make()}, headers=headers)

    assert (response.status_code, response["Retry-After"]) == (429, "3600")
    assert "Too many codes that did not work. Try again in 60 minutes." in words(response)
    assert ledger.account_for(user=alice).credits_balance == 0


def test_guesses_on_the_page_and_in_the_api_count_together(member, alice):
    for _ in range(5):
        member.post("/credits", {"code": "nonsense"})
        member.post("/api/credits/redeem", {"code": "x"}, content_type="application/json")

    assert member.post("/credits", {"code": make()}).status_code == 429


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_the_page_is_read_and_posted_to(member, method):
    assert getattr(member, method)("/credits").status_code == 405
