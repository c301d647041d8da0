"""Members in the admin: what is told of them, who may suspend whom, and what that ends."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import Schedule

from credits import audit, ledger
from fluxsite import members
from fluxsite.audit_log.models import AuditEntry
from fluxsite.models import ApiToken
from generation.models import FluxTask, StorageUse
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_lifecycle import place

LIST = "/admin/auth/user/"
START = 500


@pytest.fixture(autouse=True)
def start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = START


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


@pytest.fixture
def helper(db):
    """Staff who look after members and are no superuser."""
    user = User.objects.create_user("helper", is_staff=True)
    codes = ["view_user", "change_user", "delete_user"]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    return user


@pytest.fixture
def drawing(db, settings, sandbox):
    settings.SANDBOX_URL = sandbox.url
    return sandbox


def row_of(page, name):
    """Return the cells of a member's row in the list, by column."""
    [row] = [r for r in re.findall(r"<tr>.*?</tr>", page, re.S) if f">{name}</a></th>" in r]
    return dict(re.findall(r'<td class="field-(\w+)[^"]*">(.*?)</td>', row, re.S))


def selected(action, *users):
    return {"action": action, "_selected_action": [user.pk for user in users]}


def said(answer):
    return [str(message) for message in answer.context["messages"]]


# ---------------------------------------------------------------- figures and links
def test_the_list_tells_what_each_has_used_and_takes(admin, alice, bob):
    ledger.reserve(user=alice, amount=30, reference="flux:x")
    ledger.settle(reference="flux:x", charged=20)
    now = timezone.now()
    for days in (1, 29, 31):
        FluxTaskFactory(user=alice, succeeded=True, created_at=now - timedelta(days=days))
    StorageUse.objects.create(user=alice, byte_size=5 * 1024 * 1024, counted_at=now)

    page = admin.get(LIST).content.decode()

    cells = row_of(page, "alice")
    assert (cells["balance"], cells["used"]) == (str(START - 20), "20")
    assert (cells["tasks_lately"], cells["storage"]) == ("2", "5.0\xa0MB")
    assert cells["state"] == "active"
    never = row_of(page, "bob")
    assert (never["balance"], never["used"], never["tasks_lately"]) == ("–", "0", "0")
    assert (never["storage"], never["last_seen"]) == ("0\xa0bytes", "never")


@pytest.mark.parametrize("sign", ["login", "task", "token"])
def test_last_seen_is_the_newest_sign_of_life(admin, alice, sign):
    old, new = (timezone.now().replace(year=year, month=3, day=4) for year in (2020, 2021))
    newest = {name: new if name == sign else old for name in ("login", "task", "token")}
    User.objects.filter(pk=alice.pk).update(last_login=newest["login"])
    FluxTaskFactory(user=alice, succeeded=True, created_at=newest["task"])
    token, _secret = ApiToken.objects.issue(user=alice, name="script")
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=newest["token"])

    assert "2021" in row_of(admin.get(LIST).content.decode(), "alice")["last_seen"]


def test_every_link_of_a_member_leads_to_what_is_theirs(admin, alice, bob):
    ledger.account_for(user=alice)
    theirs = FluxTaskFactory(user=alice, succeeded=True)
    other = FluxTaskFactory(user=bob, succeeded=True)
    ApiToken.objects.issue(user=alice, name="her token")
    ApiToken.objects.issue(user=bob, name="his token")

    page = admin.get(f"{LIST}{alice.pk}/change/").content.decode()
    [cell] = re.findall(r'field-links.*?<div class="readonly">(.*?)</div>', page, re.S)
    links = {text: url.replace("&amp;", "&") for url, text in re.findall(r'"(.*?)">(.*?)<', cell)}

    assert list(links) == ["ledger", "grant or take", "tasks", "history", "API tokens"]
    tasks = admin.get(links["tasks"]).content.decode()
    assert theirs.pk in tasks
    assert other.pk not in tasks
    tokens = admin.get(links["API tokens"]).content.decode()
    assert "her token" in tokens
    assert "his token" not in tokens
    assert "start:" in admin.get(links["ledger"]).content.decode()
    assert 'value="alice"' in admin.get(links["grant or take"]).content.decode()
    history = admin.get(links["history"]).json()["results"]
    assert [entry["id"] for entry in history] == [theirs.pk]


def test_without_credits_nothing_is_said_of_them(admin, alice, settings):
    settings.CREDITS_ENABLED = False

    page = admin.get(LIST).content.decode()
    one = admin.get(f"{LIST}{alice.pk}/change/").content.decode()

    assert "balance" not in row_of(page, "alice")
    assert "grant or take" not in page + one


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_costs_the_same_queries_for_any_length(
    admin, count, django_assert_num_queries, settings
):
    for number in range(count):
        user = User.objects.create_user(f"member{number}")
        ledger.account_for(user=user)
        FluxTaskFactory(user=user, succeeded=True)
        StorageUse.objects.create(user=user, counted_at=timezone.now())
        ApiToken.objects.issue(user=user, name="script")

    with django_assert_num_queries(6):
        admin.get(LIST)


# ---------------------------------------------------------------- suspending
def test_a_suspended_member_is_out_at_once_and_nothing_speaks_for_them(alice, drawing):
    browser = Client()
    browser.force_login(alice)
    _token, secret = ApiToken.objects.issue(user=alice, name="script")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert browser.get("/api/credits").status_code == 200
    assert Client().get("/api/credits", headers=bearer).status_code == 200

    ended = members.suspend(members=[alice], now=timezone.now())

    assert ended == members.Suspension(tasks=0, tokens=1, sessions=1)
    assert browser.get("/api/credits").status_code == 401
    assert browser.get("/")["Location"].startswith("/login")
    assert Client().get("/api/credits", headers=bearer).status_code == 401
    assert not Client().login(username="alice", password="a password for tests")


def test_sessions_and_tokens_do_not_come_back(alice):
    browser, other = Client(), Client()
    browser.force_login(alice)
    _token, secret = ApiToken.objects.issue(user=alice, name="script")
    members.suspend(members=[alice], now=timezone.now())

    assert members.reactivate(member=alice)

    assert browser.get("/api/credits").status_code == 401
    bearer = {"Authorization": f"Bearer {secret}"}
    assert other.get("/api/credits", headers=bearer).status_code == 401
    assert other.login(username="alice", password="a password for tests")


def test_what_waits_is_withdrawn_and_what_runs_is_left_to_end(alice, bob, drawing):
    waiting, running, other = place(alice), place(alice), place(bob)
    FluxTask.objects.filter(pk=running.pk).update(
        submission="ACCEPTED", request_id="r", status="IN_QUEUE"
    )

    ended = members.suspend(members=[alice], now=timezone.now())

    assert ended.tasks == 1
    states = dict(FluxTask.objects.values_list("pk", "status"))
    assert states == {waiting.pk: "CANCELLED", running.pk: "IN_QUEUE", other.pk: "PENDING"}
    assert FluxTask.objects.get(pk=running.pk).cancel_requested_at is None
    assert ledger.account_for(user=alice).credits_balance == START - running.cost_reserved
    assert audit.check() == []


def test_a_task_that_is_just_being_sent_is_not_withdrawn(alice, drawing):
    task = place(alice)
    FluxTask.objects.filter(pk=task.pk).update(submission="UNKNOWN", submitted_at=timezone.now())

    assert members.suspend(members=[alice], now=timezone.now()).tasks == 0
    assert FluxTask.objects.get().status == "PENDING"


def test_sessions_of_others_stay(alice, bob):
    theirs = Client()
    theirs.force_login(bob)

    members.suspend(members=[alice], now=timezone.now())

    assert theirs.get("/api/credits").status_code == 200


def test_a_suspension_that_was_cut_off_is_completed_by_another(alice, drawing):
    place(alice)
    ApiToken.objects.issue(user=alice, name="script")
    User.objects.filter(pk=alice.pk).update(is_active=False)

    ended = members.suspend(members=[alice], now=timezone.now())

    assert (ended.tasks, ended.tokens) == (1, 1)


# ---------------------------------------------------------------- the admin
def test_members_are_suspended_from_the_list(admin, alice, bob, staff, drawing):
    place(alice)
    ApiToken.objects.issue(user=bob, name="script")

    answer = admin.post(LIST, selected("suspend", alice, bob, staff), follow=True)

    assert said(answer) == [
        "Left alone, because yourself or above you: 1",
        "Suspended members: 2. Ended with it: 1 waiting tasks, 1 API tokens, 0 sessions.",
    ]
    active = dict(User.objects.values_list("username", "is_active"))
    assert active == {"alice": False, "bob": False, "staff": True}
    assert "suspended" in row_of(admin.get(LIST).content.decode(), "alice")["state"]
    assert {entry.change_message for entry in LogEntry.objects.all()} == {"Suspended."}

    answer = admin.post(LIST, selected("reactivate", alice, bob), follow=True)
    assert said(answer) == ["Members let in again: 2"]
    assert User.objects.filter(is_active=True).count() == 3


def test_the_page_of_a_member_has_the_button(admin, alice):
    page = f"{LIST}{alice.pk}/change/"

    assert f'action="{LIST}{alice.pk}/suspend/"' in admin.get(page).content.decode()
    answer = admin.post(f"{LIST}{alice.pk}/suspend/")
    assert (answer.status_code, answer["Location"]) == (302, page)
    alice.refresh_from_db()
    assert not alice.is_active
    assert f'action="{LIST}{alice.pk}/reactivate/"' in admin.get(page).content.decode()
    admin.post(f"{LIST}{alice.pk}/reactivate/")
    alice.refresh_from_db()
    assert alice.is_active


def test_the_button_is_told_in_the_audit_log_as_the_action_of_the_list_is(admin, alice):
    admin.post(f"{LIST}{alice.pk}/suspend/")
    admin.post(f"{LIST}{alice.pk}/reactivate/")

    told = AuditEntry.objects.filter(object_type="auth.user").exclude(action="login").order_by("pk")
    assert list(told.values_list("action", "object_label", "changes", "message")) == [
        ("suspend", "alice", {"is_active": [True, False]}, "Suspended."),
        ("reactivate", "alice", {"is_active": [False, True]}, "Reactivated."),
    ]


def test_where_there_are_no_actions_the_button_is_refused(admin, alice):
    assert admin.post(f"{LIST}{alice.pk}/suspend/?_popup=1").status_code == 403
    alice.refresh_from_db()
    assert alice.is_active


def test_nobody_is_suspended_where_the_log_cannot_be_written(admin, alice):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_log RENAME TO audit_log_away")

    with pytest.raises(DatabaseError):
        admin.post(f"{LIST}{alice.pk}/suspend/")

    alice.refresh_from_db()
    assert alice.is_active


def test_however_many_are_suspended_sessions_are_gone_through_once(admin, alice, bob):
    def looks(*users):
        with CaptureQueriesContext(connection) as queries:
            members.suspend(members=users, now=timezone.now())
        statements = [query["sql"] for query in queries]
        return sum('FROM "django_session"' in sql and "DELETE" not in sql for sql in statements)

    carol = User.objects.create_user("carol")
    assert (looks(alice), looks(bob, carol, alice)) == (1, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="writers take turns: nobody comes between"
)
def test_what_came_in_while_the_door_was_being_closed_is_ended_as_well(alice, drawing, race):
    """Before the transaction of an action is over, others see its members as they were."""

    def come_in(_argument):
        ApiToken.objects.issue(user=alice, name="late")
        return place(alice).pk

    with transaction.atomic():
        members.suspend(members=[alice], now=timezone.now())
        [late] = race(come_in, [None])
    members.reactivate(member=alice)

    assert not ApiToken.objects.living(user=alice).exists()
    assert FluxTask.objects.get(pk=late).status == "CANCELLED"
    assert ledger.account_for(user=alice).credits_balance == START
    assert audit.check() == []


def test_looking_at_the_address_suspends_nobody(admin, alice):
    assert admin.get(f"{LIST}{alice.pk}/suspend/").status_code == 405
    assert admin.post(f"{LIST}999999/suspend/").status_code == 404
    alice.refresh_from_db()
    assert alice.is_active


def test_nobody_suspends_themselves(admin, staff):
    assert admin.post(f"{LIST}{staff.pk}/suspend/").status_code == 403
    assert "/suspend/" not in admin.get(f"{LIST}{staff.pk}/change/").content.decode()
    staff.refresh_from_db()
    assert staff.is_active


def test_staff_who_are_no_superuser_suspend_members_and_nobody_above(client, helper, alice, staff):
    client.force_login(helper)

    assert client.post(f"{LIST}{alice.pk}/suspend/").status_code == 302
    assert client.post(f"{LIST}{staff.pk}/suspend/").status_code == 403
    client.post(LIST, selected("suspend", staff))

    assert dict(User.objects.values_list("username", "is_active")) == {
        "alice": False,
        "helper": True,
        "staff": True,
    }


def test_staff_who_may_only_look_suspend_nobody(client, alice):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_user"))
    client.force_login(viewer)

    assert client.post(f"{LIST}{alice.pk}/suspend/").status_code == 403
    client.post(LIST, selected("suspend", alice))

    alice.refresh_from_db()
    assert alice.is_active


def test_nobody_makes_themselves_more_than_they_are(client, helper, alice):
    client.force_login(helper)
    more = {"is_staff": "on", "is_superuser": "on", "groups": [Group.objects.create(name="g").pk]}

    for user in (alice, helper):
        form = {"username": user.username, "email": "a@example.com", **more}
        assert client.post(f"{LIST}{user.pk}/change/", form).status_code == 302

    alice.refresh_from_db()
    helper.refresh_from_db()
    assert alice.email == helper.email == "a@example.com"
    assert (alice.is_staff, alice.is_superuser, helper.is_superuser) == (False, False, False)
    assert not Group.objects.filter(user__in=[alice, helper]).exists()


def test_nobody_gives_their_own_group_more_permissions(client, helper):
    group = Group.objects.create(name="helpers")
    helper.groups.add(group)
    helper.user_permissions.add(*Permission.objects.filter(codename__endswith="_group"))
    client.force_login(helper)
    everything = [permission.pk for permission in Permission.objects.all()[:50]]
    form = {"name": "renamed", "permissions": everything}

    assert client.post(f"/admin/auth/group/{group.pk}/change/", form).status_code == 302
    assert client.post("/admin/auth/group/add/", {**form, "name": "new"}).status_code == 302

    assert list(Group.objects.order_by("name").values_list("name", flat=True)) == ["new", "renamed"]
    assert not Permission.objects.filter(group__isnull=False).exists()


def test_superusers_give_groups_permissions(admin):
    view = Permission.objects.get(codename="view_user")

    admin.post("/admin/auth/group/add/", {"name": "viewers", "permissions": [view.pk]})

    assert list(Group.objects.get().permissions.all()) == [view]


def test_nobody_but_superusers_says_which_code_runs_by_the_clock(client, helper, admin):
    """A schedule calls any function there is."""
    helper.user_permissions.add(*Permission.objects.filter(content_type__app_label="django_q"))
    browser = Client()
    browser.force_login(helper)
    schedule = Schedule.objects.first() or Schedule.objects.create(func="math.sqrt")
    page = f"/admin/django_q/schedule/{schedule.pk}/change/"

    assert browser.get("/admin/django_q/schedule/").status_code == 200
    assert browser.get("/admin/django_q/schedule/add/").status_code == 403
    assert browser.post(page, {"func": "os.abort"}).status_code == 403
    assert admin.get(page).status_code == 200


def test_nobody_takes_over_whoever_is_above_them(client, helper, staff):
    client.force_login(helper)
    password = staff.password
    new = {"password1": "taken over 123", "password2": "taken over 123", "usable_password": "true"}

    assert client.post(f"{LIST}{staff.pk}/password/", new).status_code == 403
    form = {"username": "staff", "email": "helper@example.com"}
    assert client.post(f"{LIST}{staff.pk}/change/", form).status_code == 403
    assert client.post(f"{LIST}{staff.pk}/delete/", {"post": "yes"}).status_code == 403

    staff.refresh_from_db()
    assert (staff.password, staff.email) == (password, "")


def test_the_switch_itself_is_not_in_the_form(admin, alice):
    """It would lock the door and leave everything inside."""
    form = {"username": "alice", "is_active": ""}

    assert admin.post(f"{LIST}{alice.pk}/change/", form).status_code == 302
    alice.refresh_from_db()
    assert alice.is_active


def test_superusers_add_members_as_before(admin):
    form = {"username": "carol", "password1": "very long 123", "password2": "very long 123"}

    answer = admin.post(f"{LIST}add/", {**form, "usable_password": "true"}, follow=True)

    assert answer.status_code == 200
    assert User.objects.get(username="carol").is_active


# ---------------------------------------------------------------- whose address it is
@pytest.mark.parametrize("address", ["alice@example.org", "ALICE@Example.ORG"])
def test_an_address_is_its_members_in_any_case(alice, address):
    User.objects.filter(pk=alice.pk).update(email="Alice@example.org")

    assert members.with_address(address) == alice


@pytest.mark.parametrize(
    "address", ["alıce@example.org", "alice@exampſe.org", "alice@lınk.example"]
)
def test_an_address_that_only_looks_like_a_members_is_not_theirs(alice, address):
    """The capital of ı is I and that of ſ is S: a database that compares capitals takes them for
    one, and they are domains that anybody can register."""
    User.objects.filter(pk=alice.pk).update(email=address.replace("ı", "i").replace("ſ", "s"))

    assert members.with_address(address) is None


def test_an_address_that_several_have_and_none_at_all_are_nobodys(alice, bob):
    User.objects.update(email="shared@example.org")

    assert members.with_address("shared@example.org") is None
    User.objects.update(email="")
    assert members.with_address("") is None
