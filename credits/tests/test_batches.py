"""Batches of codes: made, told of, and ended together, without the codes ever being seen again."""

from __future__ import annotations

import csv
import io
import re
import threading
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from credits import audit, batches, codes, ledger
from credits.models import RedeemCode

BATCHES = "/admin/credits/redeemcode/batches/"


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def make(batch="spring", **changes):
    return codes.make(
        **{"amount": 25, "count": 2, "created_by": "staff", "batch": batch, **changes}
    )


def usage(answer):
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


# ---------------------------------------------------------------- the list
def test_a_batch_is_told_with_its_totals(admin, alice, bob):
    old = make("winter", count=1, expires_at=timezone.now() - timedelta(days=1))
    made = make(count=3, max_uses=2)
    for user, code in ((alice, made[0]), (bob, made[0]), (bob, made[1])):
        ledger.redeem(user=user, code=code)

    page = admin.get(BATCHES)

    spring, winter = page.context["page"]
    assert (spring["batch"], spring["codes"], spring["used"], spring["usable"]) == (
        "spring",
        3,
        3,
        6,
    )
    # One is used up, two are not; three times 25 were given.
    assert (spring["living"], spring["given"]) == (2, 75)
    assert (winter["batch"], winter["living"], winter["given"]) == ("winter", 0, 0)
    text = page.content.decode()
    assert "3 of 6" in text
    for code in [*old, *made]:
        assert code not in text


def test_credits_given_may_be_more_than_a_plain_integer_holds(admin, alice, bob, staff):
    [code] = make(amount=ledger.MAX_AMOUNT, count=1, max_uses=3)
    for user in (alice, bob, staff):
        ledger.redeem(user=user, code=code)

    [batch] = batches.overview(now=timezone.now())

    assert batch["given"] == 3 * ledger.MAX_AMOUNT


def test_the_list_costs_the_same_at_one_and_three_batches(admin, django_assert_num_queries):
    make("one")
    admin.get(BATCHES)
    with CaptureQueriesContext(connection) as first:
        admin.get(BATCHES)
    make("two")
    make("three")

    with django_assert_num_queries(len(first)):
        assert admin.get(BATCHES).status_code == 200


def test_a_batch_without_a_name_is_named_by_the_time(admin, capsys):
    admin.post(
        "/admin/credits/redeemcode/add/",
        {"count": "1", "credits": "5", "max_uses": "1", "batch": ""},
    )
    call_command("make_redeem_codes", "--credits", "5", "--count", "1")

    for name in RedeemCode.objects.values_list("batch", flat=True):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", name)


def test_the_list_of_codes_leads_to_the_batches(admin):
    make("a & b=c")

    assert BATCHES in admin.get("/admin/credits/redeemcode/").content.decode()
    text = admin.get(BATCHES).content.decode()
    address = re.search(r'href="([^"]*\?batch=[^"]*)"', text)[1].replace("&amp;", "&")
    assert len(admin.get(address).context["cl"].result_list) == 2


# ---------------------------------------------------------------- the end
def test_a_whole_batch_is_expired(admin, alice):
    spent, fresh = make()
    ledger.redeem(user=alice, code=spent)
    [other] = make("autumn", count=1)

    answer = admin.post(f"{BATCHES}expire/", {"batch": "spring"}, follow=True)

    assert "1 code expired." in answer.content.decode()
    with pytest.raises(ledger.CodeExpired):
        ledger.redeem(user=alice, code=fresh)
    assert ledger.redeem(user=alice, code=other).amount == 25
    assert RedeemCode.objects.get(digest=codes.digest_of(spent)).expires_at is None


def test_codes_that_had_expired_keep_their_day(admin):
    yesterday = timezone.now() - timedelta(days=1)
    make(expires_at=yesterday)

    admin.post(f"{BATCHES}expire/", {"batch": "spring"})

    assert set(RedeemCode.objects.values_list("expires_at", flat=True)) == {yesterday}


def test_nothing_is_expired_by_looking_or_by_a_name_nobody_knows(admin):
    make()

    assert admin.get(f"{BATCHES}expire/?batch=spring").status_code == 405
    for wrong in ({}, {"batch": "summer"}, {"batch": "a\0b"}):
        assert admin.post(f"{BATCHES}expire/", wrong).status_code == 404
    assert not RedeemCode.objects.exclude(expires_at=None).exists()


def test_where_there_are_no_actions_a_batch_is_not_expired_either(admin):
    make()

    assert admin.post(f"{BATCHES}expire/?_popup=1", {"batch": "spring"}).status_code == 403
    assert not RedeemCode.objects.exclude(expires_at=None).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="writers take turns from the start")
def test_a_code_that_ends_while_somebody_redeems_it_is_not_redeemed(alice, race):
    [code] = make(count=1)
    ledger.account_for(user=alice)
    before = ledger.account_for(user=alice).credits_balance
    ending = threading.Event()

    def act(who):
        if who == "member":
            assert ending.wait(10)
            return ledger.redeem(user=alice, code=code)
        with transaction.atomic():
            ended = batches.expire(RedeemCode.objects.all(), now=timezone.now())
            ending.set()
            wait_until(lambda: others_waiting() == 1)
        return ended

    refused, ended = race(act, ["member", "staff"])

    assert ended == 1
    assert isinstance(refused, ledger.CodeExpired)
    assert ledger.account_for(user=alice).credits_balance == before
    assert RedeemCode.objects.get().uses == 0
    assert audit.check() == []


def others_waiting():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks "
            "WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return cursor.fetchone()[0]


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---------------------------------------------------------------- usage
def test_usage_tells_who_redeemed_what_and_no_code(admin, alice, bob):
    made = make(count=3, max_uses=2)
    ledger.redeem(user=alice, code=made[0])
    ledger.redeem(user=bob, code=made[0])
    ledger.redeem(user=bob, code=made[1])
    make("autumn")

    answer = admin.get(f"{BATCHES}usage/?batch=spring")

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="usage spring.csv"'
    assert "no-store" in answer["Cache-Control"]
    rows = usage(answer)
    assert [(row["ends_with"], row["uses"], row["member"]) for row in rows] == [
        (f"…{made[0][-4:]}", "2", "alice"),
        (f"…{made[0][-4:]}", "2", "bob"),
        (f"…{made[1][-4:]}", "1", "bob"),
        (f"…{made[2][-4:]}", "0", ""),
    ]
    assert all(row["redeemed_at"].startswith("20") for row in rows[:3])
    assert made[0][:9] not in repr(rows)


def test_usage_is_whole_over_many_pages(admin, alice, bob, monkeypatch):
    monkeypatch.setattr(batches, "PAGE", 2)
    made = make(count=5, max_uses=3)
    third = User.objects.create_user("carol")
    for user in (alice, bob, third):
        for code in made[:4]:
            ledger.redeem(user=user, code=code)

    rows = usage(admin.get(f"{BATCHES}usage/?batch=spring"))

    assert len(rows) == 13
    assert len({(row["ends_with"], row["member"]) for row in rows}) == 13


def test_a_name_of_a_batch_is_no_formula_and_no_header(admin):
    name = '=1+1 "x"；秋天'
    answer = admin.post(
        "/admin/credits/redeemcode/add/",
        {"count": "1", "credits": "5", "max_uses": "1", "batch": name},
    )

    [row] = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert row["batch"] == f"'{name}"
    assert answer["Content-Disposition"].startswith("attachment; filename*=utf-8''codes%20%3D1")
    make("a\nb")
    assert admin.get(f"{BATCHES}usage/", {"batch": "a\nb"}).status_code == 200


# ---------------------------------------------------------------- who may
def test_only_staff_with_the_permission_look_and_end(client, alice, db):
    make()
    helper = User.objects.create_user("helper", is_staff=True)
    client.force_login(helper)
    assert client.get(BATCHES).status_code == 403
    assert client.get(f"{BATCHES}usage/?batch=spring").status_code == 403

    helper.user_permissions.add(Permission.objects.get(codename="view_redeemcode"))

    page = client.get(BATCHES)
    assert (page.status_code, "batches/expire" in page.content.decode()) == (200, False)
    assert client.get(f"{BATCHES}usage/?batch=spring").status_code == 200
    assert client.post(f"{BATCHES}expire/", {"batch": "spring"}).status_code == 403
    client.force_login(alice)
    assert client.get(BATCHES).status_code == 302
