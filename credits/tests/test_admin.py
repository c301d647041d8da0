"""Admin: credits are granted with a reason, and what happened is only looked at."""

from __future__ import annotations

import csv
import io
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from credits import codes, ledger
from credits.models import Account, Budget, LedgerEntry, Price, RedeemCode

ADD = "/admin/credits/ledgerentry/add/"


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def sheet(admin, **changes):
    """The form as it stands on the page, filled in."""
    page = admin.get(ADD).content.decode()
    token = re.search(r'name="token" value="(\w+)"', page)[1]
    return {"username": "alice", "amount": "30", "reason": "welcome", "token": token, **changes}


# ---------------------------------------------------------------- granting
def test_staff_grant_credits_to_a_member_without_an_account(admin, alice):
    answer = admin.post(ADD, sheet(admin))

    assert answer.status_code == 302
    entry = LedgerEntry.objects.get()
    assert (entry.kind, entry.amount, entry.reason, entry.actor) == (
        "GRANT",
        30,
        "welcome",
        "staff",
    )
    assert Account.objects.get(user=alice).credits_balance == 30


def test_a_form_sent_twice_grants_once(admin, alice):
    filled = sheet(admin)

    admin.post(ADD, filled)
    admin.post(ADD, filled)

    assert Account.objects.get(user=alice).credits_balance == 30


def test_staff_take_credits_with_a_negative_number(admin, rich):
    admin.post(ADD, sheet(admin, amount="-30"))

    assert LedgerEntry.objects.order_by("-id").first().kind == "ADJUST"
    assert Account.objects.get(user=rich).credits_balance == 70


def test_more_than_there_is_cannot_be_taken(admin, rich):
    answer = admin.post(ADD, sheet(admin, amount="-101"), follow=True)

    assert "101 credits cannot be taken: 100 are left." in answer.content.decode()
    assert Account.objects.get(user=rich).credits_balance == 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"username": "carol"}, "There is no member of this name."),
        ({"amount": "0"}, "Nothing would change."),
        ({"amount": "99999999999"}, "less than or equal to 1000000000"),
        ({"reason": ""}, "This field is required."),
    ],
)
def test_a_wrong_form_is_explained(admin, alice, wrong, message):
    answer = admin.post(ADD, sheet(admin, **wrong))

    assert (answer.status_code, LedgerEntry.objects.count()) == (200, 0)
    assert message in answer.content.decode()


def test_an_account_leads_to_its_ledger_and_to_the_form(admin, rich, bob):
    ledger.grant(user=bob, amount=1, reference="bob", reason="", actor="")
    page = admin.get("/admin/credits/account/?q=alice").content.decode()

    hrefs = re.findall(r'href="([^"]+ledgerentry[^"]+\?[^"]+)"', page)
    entries, form = (href.replace("&amp;", "&") for href in hrefs)

    assert 'value="alice"' in admin.get(form).content.decode()
    listed = admin.get(entries).content.decode()
    assert ("pay" in listed, ">bob<" in listed) == (True, False)


def test_only_those_who_may_adjust_grant(client, alice):
    helper = User.objects.create_user("helper", is_staff=True)
    client.force_login(helper)
    assert client.get(ADD).status_code == 403
    assert client.post(ADD, {"username": "helper", "amount": "30"}).status_code == 403

    helper.user_permissions.add(
        Permission.objects.get(codename="adjust", content_type__app_label="credits")
    )
    assert client.post(ADD, sheet(client)).status_code == 302
    assert Account.objects.get(user=alice).credits_balance == 30


# ---------------------------------------------------------------- only looked at
@pytest.mark.parametrize("name", ["account", "ledgerentry"])
def test_accounts_and_ledger_are_not_edited(admin, rich, name):
    pk = {"account": Account, "ledgerentry": LedgerEntry}[name].objects.get().pk

    page = admin.get(f"/admin/credits/{name}/{pk}/change/")

    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    assert admin.post(f"/admin/credits/{name}/{pk}/change/", {"amount": "1"}).status_code == 403
    assert admin.post(f"/admin/credits/{name}/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert LedgerEntry.objects.get().amount == 100


@pytest.mark.parametrize("name", ["account", "ledgerentry", "price", "budget", "redeemcode"])
def test_lists_cost_the_same_at_one_and_three_rows(admin, name, django_assert_num_queries):
    def add(number):
        user = User.objects.create_user(f"member{number}")
        ledger.grant(user=user, amount=1, reference=f"g{number}", reason="", actor="")
        Price.objects.create(key=f"m{number}", credits=number)
        Budget.objects.create(user=user, per_day=number)
        codes.make(amount=1, count=1, created_by="staff")

    add(1)
    url = f"/admin/credits/{name}/"
    admin.get(url)  # Fills the caches of content types.
    with CaptureQueriesContext(connection) as first:
        admin.get(url)
    add(2)
    add(3)

    with django_assert_num_queries(len(first)):
        assert admin.get(url).status_code == 200


def test_switched_off_credits_are_not_in_the_index(admin, settings):
    assert "/admin/credits/" in admin.get("/admin/").content.decode()

    settings.CREDITS_ENABLED = False

    assert "/admin/credits/" not in admin.get("/admin/").content.decode()


# ---------------------------------------------------------------- what staff decide
def test_prices_are_edited_in_the_list(admin):
    Price.objects.all().delete()  # The list of a site as migrated.
    price = Price.objects.create(key="m", credits=5)

    admin.post(
        "/admin/credits/price/",
        {
            "form-TOTAL_FORMS": "1",
            "form-INITIAL_FORMS": "1",
            "form-0-id": str(price.pk),
            "form-0-credits": "8",
            "_save": "Save",
        },
    )

    assert Price.objects.get().credits == 8


def test_a_budget_for_nobody_is_explained(admin):
    answer = admin.post("/admin/credits/budget/add/", {"per_day": "5"})

    assert (answer.status_code, Budget.objects.count()) == (200, 0)
    assert "Choose a member or a group, not both." in answer.content.decode()


# ---------------------------------------------------------------- codes
def batch(**changes):
    return {"count": "3", "credits": "25", "max_uses": "1", "batch": "spring", **changes}


def test_a_batch_answers_with_its_codes_and_they_are_never_seen_again(admin, alice):
    answer = admin.post("/admin/credits/redeemcode/add/", batch())

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert "no-store" in answer["Cache-Control"]
    assert answer["Content-Disposition"] == 'attachment; filename="codes spring.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    made = [row.pop("code") for row in rows]
    told = {"credits": "25", "max_uses": "1", "expires_at": "", "batch": "spring"}
    assert rows == [told, told, told]
    assert set(RedeemCode.objects.values_list("credits", "batch", "created_by")) == {
        (25, "spring", "staff")
    }
    listed = admin.get("/admin/credits/redeemcode/").content.decode()
    detail = admin.get(
        f"/admin/credits/redeemcode/{RedeemCode.objects.first().pk}/change/"
    ).content.decode()
    for code in made:
        assert code[-4:] in listed
        assert code[:4] + "-" not in listed + detail
    assert RedeemCode.objects.first().digest not in listed + detail
    assert ledger.redeem(user=alice, code=made[2]).amount == 25


@pytest.mark.parametrize(
    "wrong", [{"count": "0"}, {"credits": "0"}, {"max_uses": "0"}, {"credits": "1000000001"}]
)
def test_a_wrong_batch_makes_nothing(admin, wrong):
    answer = admin.post("/admin/credits/redeemcode/add/", batch(**wrong))

    assert (answer.status_code, RedeemCode.objects.count()) == (200, 0)


def test_staff_expire_codes(admin, alice):
    [code] = codes.make(amount=25, count=1, created_by="staff")

    admin.post(
        "/admin/credits/redeemcode/",
        {"action": "expire", "_selected_action": [RedeemCode.objects.get().pk]},
    )

    with pytest.raises(ledger.CodeExpired):
        ledger.redeem(user=alice, code=code)


def test_a_codes_credits_cannot_be_changed_afterwards(admin):
    codes.make(amount=25, count=1, created_by="staff")
    row = RedeemCode.objects.get()

    admin.post(
        f"/admin/credits/redeemcode/{row.pk}/change/",
        {"batch": "autumn", "credits": "9999", "max_uses": "99"},
    )

    row.refresh_from_db()
    assert (row.batch, row.credits, row.max_uses) == ("autumn", 25, 1)
