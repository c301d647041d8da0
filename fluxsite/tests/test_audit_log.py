"""The audit log: what staff did is written down, without secrets, and stays as it was written."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin import ModelAdmin, TabularInline
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.tokens import default_token_generator
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpResponse, HttpResponseRedirect
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlsafe_base64_encode

from conftest import PASSWORD
from credits import codes, ledger
from credits.models import LedgerEntry, Price, RedeemCode
from fluxsite.append_only import AppendOnly
from fluxsite.audit_log import recording
from fluxsite.audit_log.admin_site import AuditedAdminSite
from fluxsite.audit_log.models import AuditEntry
from fluxsite.models import ApiToken
from generation.models import FluxConfig, FluxTask

KEY = "12345678-1234-1234-1234-123456789abc:0123456789abcdef0123456789abcdef"


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def entries(**which):
    """What was written, apart from log-ins where they are not asked for."""
    found = AuditEntry.objects.filter(**which).order_by("id")
    return list(found if "action" in which else found.exclude(action="login"))


def only(**which):
    [entry] = entries(**which)
    return entry


def everything_written():
    """All the log holds, as one text."""
    rows = AuditEntry.objects.values_list("object_label", "object_id", "changes", "message")
    return repr(list(rows))


def price_form(**values):
    return {"key": "fal-ai/flux-1/dev", "credits": "5", **values}


# ---------------------------------------------------------------- rows
def test_what_is_added_is_told_with_its_values(admin, staff):
    Price.objects.all().delete()

    admin.post("/admin/credits/price/add/", price_form(), HTTP_X_REQUEST_ID="a-request-name")

    entry, price = only(), Price.objects.get()
    assert (entry.actor, entry.actor_id, entry.action) == ("staff", str(staff.pk), "add")
    assert (entry.object_type, entry.object_id) == ("credits.price", str(price.pk))
    assert entry.object_label == "fal-ai/flux-1/dev"
    assert entry.changes["key"] == [None, "fal-ai/flux-1/dev"]
    assert entry.changes["credits"] == [None, 5]
    assert (entry.request_id, entry.address) == ("a-request-name", "127.0.0.1")


def test_what_is_changed_is_told_as_it_was_and_as_it_is(admin):
    price = Price.objects.create(key="m", credits=5)

    admin.post(f"/admin/credits/price/{price.pk}/change/", price_form(key="m", credits="8"))

    entry = only()
    assert (entry.action, entry.changes) == ("change", {"credits": [5, 8]})
    assert entry.message == "Changed Credits per picture."


def test_what_is_changed_in_the_list_is_told_as_well(admin):
    Price.objects.all().delete()
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

    assert only().changes == {"credits": [5, 8]}


def test_what_is_deleted_is_told_with_what_it_was(admin):
    price = Price.objects.create(key="m", credits=5)

    admin.post(f"/admin/credits/price/{price.pk}/delete/", {"post": "yes"})

    entry = only()
    assert (entry.action, entry.object_label) == ("delete", "m")
    assert entry.changes["credits"] == [5, None]


def test_many_deleted_at_once_are_told_one_by_one(admin):
    Price.objects.all().delete()
    prices = [Price.objects.create(key=f"m{n}", credits=n) for n in (1, 2)]
    chosen = {"action": "delete_selected", "_selected_action": [price.pk for price in prices]}

    admin.post("/admin/credits/price/", chosen)
    assert entries() == []  # A page asked whether to.
    admin.post("/admin/credits/price/", {**chosen, "post": "yes"})

    assert [(each.action, each.object_label) for each in entries()] == [
        ("delete", "m1"),
        ("delete", "m2"),
    ]
    assert not Price.objects.exists()


def test_a_members_groups_are_told_by_name(admin, alice):
    group = Group.objects.create(name="painters")
    permission = Permission.objects.get(codename="view_price")

    page = admin.get(f"/admin/auth/user/{alice.pk}/change/").context["adminform"].form
    form = {
        name: page.initial[name] for name in ("username", "first_name", "last_name", "email")
    } | {"is_active": "on", "groups": [group.pk], "user_permissions": [permission.pk]}
    form |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    answer = admin.post(f"/admin/auth/user/{alice.pk}/change/", form)

    assert answer.status_code == 302, answer.context["errors"]
    changes = only().changes
    assert changes["groups"] == [[], ["painters"]]
    assert changes["user_permissions"] == [[], ["view_price"]]


def test_rows_edited_on_the_page_of_another_are_told_apart(rf, staff, alice):
    class TokenInline(TabularInline):
        model = ApiToken
        fields = ["name"]

    class MemberAdmin(ModelAdmin):
        fields = ["first_name"]
        inlines = [TokenInline]

    site = AuditedAdminSite()
    site.register(User, MemberAdmin)
    kept, changed, deleted = (
        ApiToken.objects.issue(user=alice, name=name)[0] for name in ("kept", "changed", "deleted")
    )
    form = {"first_name": "", "api_tokens-TOTAL_FORMS": "4", "api_tokens-INITIAL_FORMS": "3"}
    for number, token in enumerate((deleted, changed, kept)):
        form[f"api_tokens-{number}-id"] = str(token.pk)
        form[f"api_tokens-{number}-user"] = str(alice.pk)
        form[f"api_tokens-{number}-name"] = token.name
    edits = {"1-name": "renamed", "0-DELETE": "on", "3-name": "fresh", "3-user": str(alice.pk)}
    form |= {f"api_tokens-{name}": value for name, value in edits.items()}
    request = rf.post("/", form)
    request.user, request.session = staff, {}
    request._messages = FallbackStorage(request)
    request._dont_enforce_csrf_checks = True

    answer = site.get_model_admin(User).changeform_view(request, str(alice.pk))

    assert answer.status_code == 302
    told = {each.object_id: each for each in entries(object_type="fluxsite.apitoken")}
    fresh = ApiToken.objects.get(name="fresh")
    assert told.keys() == {str(changed.pk), str(deleted.pk), str(fresh.pk)}
    assert (told[str(fresh.pk)].action, told[str(fresh.pk)].changes["name"]) == (
        "add",
        [None, "fresh"],
    )
    assert told[str(changed.pk)].changes == {"name": ["changed", "renamed"]}
    gone = told[str(deleted.pk)]
    assert (gone.action, gone.changes["name"]) == ("delete", ["deleted", None])
    assert gone.changes["digest"] == ["•••", None]


def test_a_form_with_a_mistake_is_not_told(admin):
    admin.post("/admin/credits/price/add/", price_form(credits="-1"))

    assert entries() == []


def test_what_is_rolled_back_is_not_told(admin, alice):
    page = admin.get("/admin/credits/ledgerentry/add/").content.decode()
    token = re.search(r'name="token" value="(\w+)"', page)[1]
    form = {"username": "alice", "amount": "-100000", "reason": "too much", "token": token}

    admin.post("/admin/credits/ledgerentry/add/", form)

    assert (entries(), LedgerEntry.objects.filter(kind="ADJUST").count()) == ([], 0)


def test_the_entry_stays_true_when_the_member_has_gone(admin, staff):
    Price.objects.create(key="m", credits=5)
    admin.post("/admin/credits/price/add/", price_form(key="n"))

    User.objects.filter(pk=staff.pk).delete()

    assert (only().actor, only().actor_id) == ("staff", str(staff.pk))


# ---------------------------------------------------------------- secrets
def test_a_new_key_is_told_of_and_never_shown(admin):
    form = {
        "enabled": "on",
        "base_url": "https://queue.fal.run",
        "auth_scheme": "Key",
        "timeout": "300",
        "max_concurrent_tasks": "7",
        "default_model": "fal-ai/flux-1/dev",
        "new_api_key": KEY,
    }
    FluxConfig.objects.all().delete()
    config = FluxConfig.objects.create()

    answer = admin.post(f"/admin/generation/fluxconfig/{config.pk}/change/", form)

    assert answer.status_code == 302
    changes = only(action="change").changes
    assert changes["api_key"] == ["", "•••"]
    assert changes["max_concurrent_tasks"] == [5, 7]
    config.refresh_from_db()
    assert config.get_api_key() == KEY
    for secret in (KEY, KEY[:8], config.api_key):
        assert secret not in everything_written()


def test_a_password_that_staff_set_is_told_of_and_never_shown(admin, alice):
    before = alice.password
    form = {"password1": "something quite new", "password2": "something quite new"}

    admin.post(
        f"/admin/auth/user/{alice.pk}/password/",
        {**form, "usable_password": "true", "set-password": "1"},
    )

    entry = only(action="change")
    alice.refresh_from_db()
    assert (entry.object_label, entry.changes) == ("alice", {"password": ["•••", "•••"]})
    assert alice.check_password("something quite new")
    for secret in ("something quite new", before, alice.password):
        assert secret not in everything_written()


def test_a_password_that_staff_choose_for_themselves_is_told_of(admin, staff):
    new = {"new_password1": "something quite new", "new_password2": "something quite new"}

    admin.post("/account/password", {"old_password": PASSWORD, **new})

    staff.refresh_from_db()
    assert staff.check_password("something quite new")
    entry = only()
    assert (entry.action, entry.actor, entry.object_label) == ("password_change", "staff", "staff")
    assert "something quite new" not in everything_written()
    assert PASSWORD not in everything_written()


def test_a_member_who_chooses_a_password_is_not_told_of(client, alice):
    client.force_login(alice)
    new = {"new_password1": "something quite new", "new_password2": "something quite new"}

    client.post("/account/password", {"old_password": PASSWORD, **new})

    assert entries() == []


def test_a_password_chosen_by_a_link_from_the_mail_is_told_of(client, staff):
    link = f"/password/reset/{urlsafe_base64_encode(str(staff.pk).encode())}"
    client.get(f"{link}/{default_token_generator.make_token(staff)}")
    new = {"new_password1": "something quite new", "new_password2": "something quite new"}

    client.post(f"{link}/set-password", new)

    staff.refresh_from_db()
    assert staff.check_password("something quite new")
    assert (only().action, only().actor, only().object_label) == ("password_change", "", "staff")


def test_a_new_member_is_told_of_without_their_password(admin):
    form = {"username": "carol", "password1": "a word of passage", "password2": "a word of passage"}

    admin.post("/admin/auth/user/add/", {**form, "usable_password": "true"})

    entry = only(action="add")
    assert (entry.object_label, entry.changes["password"]) == ("carol", [None, "•••"])
    assert "a word of passage" not in everything_written()
    assert User.objects.get(username="carol").password not in everything_written()


def test_codes_that_are_made_are_told_of_and_never_shown(admin):
    form = {"count": "3", "credits": "25", "max_uses": "1", "batch": "spring"}

    answer = admin.post("/admin/credits/redeemcode/add/", form)

    made = re.findall(r"(?:\w{4}-){3}\w{4}", answer.content.decode())
    entry = only(action="add")
    assert len(made) == 3
    assert entry.changes["batch"] == [None, "spring"]
    assert entry.changes["digest"] == [None, "•••"]
    assert entry.message == "Made 3 codes in the batch spring."
    for code in RedeemCode.objects.all():
        assert code.digest not in everything_written()
    for code in made:
        assert code[:9] not in everything_written()


def test_a_token_in_a_text_is_taken_out(admin, alice):
    token, secret = ApiToken.objects.issue(user=alice, name="mine")
    ApiToken.objects.filter(pk=token.pk).update(name=f"mine {secret}")

    admin.post("/admin/fluxsite/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})

    assert only().object_label.startswith("mine •••")
    assert secret not in everything_written()
    assert token.digest not in everything_written()


def test_a_token_that_staff_make_for_themselves_is_not_in_the_log(admin):
    answer = admin.post("/tokens", {"name": "mine", "days": "30", "scopes": ["read"]})

    secret = re.search(r"fx_[\w-]{20,}", answer.content.decode())[0]
    token = ApiToken.objects.get()
    admin.post("/admin/fluxsite/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})
    assert only(action="revoke").object_label == f"mine (…{secret[-4:]})"
    assert secret[:12] not in everything_written()
    assert token.digest not in everything_written()


# ---------------------------------------------------------------- actions
def test_an_action_is_told_with_each_row_it_was_run_on(admin, alice):
    tokens = [ApiToken.objects.issue(user=alice, name=f"t{n}")[0] for n in (1, 2)]
    ApiToken.objects.revoke(user=alice, token_id=tokens[0].pk)

    admin.post(
        "/admin/fluxsite/apitoken/",
        {"action": "revoke", "_selected_action": [token.pk for token in tokens]},
    )

    first, second = entries(action="revoke")
    assert (first.object_id, first.changes) == (str(tokens[0].pk), {})
    tokens[1].refresh_from_db()
    assert second.changes == {"revoked_at": [None, tokens[1].revoked_at.isoformat()]}


def test_a_cancelled_task_is_told_with_its_states(admin, alice):
    ledger.grant(user=alice, amount=100, reference="pay", reason="", actor="")
    task = FluxTask.objects.create(user=alice, model="m", endpoint="m", prompt="a secret garden")

    admin.post("/admin/generation/fluxtask/", {"action": "cancel", "_selected_action": [task.pk]})

    entry = only(action="cancel")
    assert (entry.object_type, entry.object_id) == ("generation.fluxtask", task.pk)
    assert entry.changes["status"] == ["PENDING", "CANCELLED"]
    assert "a secret garden" not in everything_written()


def test_an_action_on_very_many_rows_tells_of_the_first_and_counts_the_rest(admin):
    codes.make(amount=1, count=recording.MAX_ROWS + 5, created_by="staff")
    page = {"action": "expire", "select_across": "1", "index": "0"}

    admin.post(
        "/admin/credits/redeemcode/",
        {**page, "_selected_action": [RedeemCode.objects.first().pk]},
    )

    assert RedeemCode.objects.filter(expires_at=None).count() == 0
    told = entries(action="expire")
    assert len(told) == recording.MAX_ROWS + 1
    assert (told[-1].object_id, told[-1].changes) == ("", {"rows": [None, 5]})
    assert {each.object_type for each in told} == {"credits.redeemcode"}


def test_the_end_of_a_batch_is_told_once_for_each_code(admin):
    codes.make(amount=1, count=2, created_by="staff", batch="spring")

    admin.post("/admin/credits/redeemcode/batches/expire/", {"batch": "spring"})

    assert [each.action for each in entries()] == ["expire", "expire"]
    assert all(each.changes["expires_at"][0] is None for each in entries())


@pytest.fixture
def members(monkeypatch):
    """An admin of members, with actions that do more than one thing and may fail."""

    class MemberAdmin(ModelAdmin):
        actions = ["greet", "stumble"]

        def greet(self, request, queryset):
            for user in queryset:
                User.objects.filter(pk=user.pk).update(first_name="hello")
                self.log_change(request, user, "Greeted, because it is Friday.")

        def stumble(self, request, queryset):
            self.greet(request, queryset)
            raise RuntimeError

    monkeypatch.setattr(recording, "MAX_ROWS", 3)
    site = AuditedAdminSite()
    site.register(User, MemberAdmin)
    return site.get_model_admin(User)


def run(model_admin, name, rf, staff, queryset):
    request = rf.post("/")
    request.user = staff
    model_admin.get_actions(request)[name][0](model_admin, request, queryset)


def test_what_an_action_logs_of_a_row_is_told_with_it(members, rf, staff, alice, bob):
    run(members, "greet", rf, staff, User.objects.filter(pk__in=[alice.pk, bob.pk]))

    assert [(each.action, each.object_label, each.message) for each in entries()] == [
        ("greet", "alice", "Greeted, because it is Friday."),
        ("greet", "bob", "Greeted, because it is Friday."),
    ]
    assert entries()[0].changes == {"first_name": ["", "hello"]}
    assert LogEntry.objects.count() == 2


def test_an_action_that_fails_has_done_nothing_and_told_nothing(members, rf, staff, alice):
    with pytest.raises(RuntimeError):
        run(members, "stumble", rf, staff, User.objects.filter(pk=alice.pk))

    alice.refresh_from_db()
    assert (alice.first_name, entries()) == ("", [])


def test_an_action_on_very_many_rows_that_fails_tells_what_it_did(members, rf, staff):
    for number in range(5):
        User.objects.create_user(f"m{number}")

    with pytest.raises(RuntimeError):
        run(members, "stumble", rf, staff, User.objects.exclude(pk=staff.pk))

    assert [each.changes for each in entries(action="stumble")] == [
        *([{"first_name": ["", "hello"]}] * 3),
        {"rows": [None, 2]},
    ]


def test_an_action_without_a_row_is_not_told(admin):
    admin.post("/admin/credits/redeemcode/", {"action": "expire", "index": "0"})

    assert entries() == []


def test_an_action_costs_the_log_the_same_with_one_and_three_rows(admin):
    def cost(count):
        codes.make(amount=1, count=count, created_by="staff", batch=f"of {count}")
        chosen = RedeemCode.objects.filter(batch=f"of {count}").values_list("pk", flat=True)
        with CaptureQueriesContext(connection) as queries:
            admin.post(
                "/admin/credits/redeemcode/",
                {"action": "expire", "_selected_action": list(chosen)},
            )
        return len([each for each in queries if "audit_log" in each["sql"]]), len(queries)

    cost(1)
    assert cost(1)[0] == 1
    assert cost(2) == cost(3)


def test_every_model_of_the_site_is_watched():
    from django.apps import apps
    from django.contrib.admin import site

    from fluxsite.audit_log.admin_site import AuditedAdmin

    admins = [site.get_model_admin(each) for each in apps.get_models() if site.is_registered(each)]

    assert len(admins) > 15
    assert [each for each in admins if not isinstance(each, AuditedAdmin)] == []


@pytest.mark.parametrize(
    ("method", "answer", "is_told"),
    [
        ("post", HttpResponseRedirect("/"), True),
        ("post", HttpResponse("a,b", content_type="text/csv"), True),
        ("post", HttpResponse("<form>"), False),
        ("post", HttpResponse(status=409), False),
        ("get", HttpResponseRedirect("/"), False),
    ],
)
def test_a_page_made_tomorrow_is_told_of_by_its_name(rf, staff, method, answer, is_told):
    request = getattr(rf, method)("/admin/tomorrow/")
    request.user = staff
    request._dont_enforce_csrf_checks = True

    AuditedAdminSite().admin_view(lambda request: answer)(request)

    told = [(each.action, each.actor, each.message) for each in entries()]
    assert told == ([("request", "staff", "POST /admin/tomorrow/")] if is_told else [])


# ---------------------------------------------------------------- log-ins and refusals
def test_a_log_in_of_staff_is_told(client, staff, alice):
    client.post("/login", {"username": "staff", "password": PASSWORD})
    Client().post("/login", {"username": "alice", "password": PASSWORD})

    entry = only(action="login")
    assert (entry.actor, entry.object_label, entry.address) == ("staff", "staff", "127.0.0.1")


def test_a_failed_log_in_with_the_name_of_staff_is_told(client, staff, alice):
    client.post("/login", {"username": "staff", "password": "a wild guess"})
    client.post("/login", {"username": "alice", "password": "a wild guess"})
    client.post("/login", {"username": "nobody", "password": "a wild guess"})

    entry = only()
    assert (entry.action, entry.actor, entry.object_label) == ("login_failed", "", "staff")
    assert "a wild guess" not in everything_written()


def test_a_flood_of_failed_log_ins_does_not_fill_the_log(rf, staff, monkeypatch):
    monkeypatch.setattr(recording, "MAX_REFUSALS", 3)

    for _number in range(5):
        recording.record_refusal(action="login_failed", by="", on=staff, request=rf.get("/"))
    recording.record_refusal(action="denied", by=staff, request=rf.get("/"))

    assert (len(entries(action="login_failed")), len(entries(action="denied"))) == (3, 1)


def test_a_member_refused_by_the_admin_is_told(client, alice):
    client.force_login(alice)

    client.get("/admin/auth/user/")
    client.get("/admin/dashboard/")
    client.post("/admin/logout/")

    assert [(each.actor, each.message) for each in entries(action="denied")] == [
        ("alice", "GET /admin/auth/user/"),
        ("alice", "GET /admin/dashboard/"),
    ]


def test_staff_refused_by_a_page_they_may_not_use_are_told(client, db):
    helper = User.objects.create_user("helper", is_staff=True)
    client.force_login(helper)

    assert client.get("/admin/credits/price/").status_code == 403
    assert client.post("/admin/credits/price/add/", price_form()).status_code == 403

    assert [each.message for each in entries(action="denied", actor="helper")] == [
        "GET /admin/credits/price/",
        "POST /admin/credits/price/add/",
    ]


def test_a_member_who_logs_in_at_the_admins_door_is_told(client, alice):
    client.post("/admin/login/", {"username": "alice", "password": PASSWORD})

    assert only().action == "denied"
    assert only().actor == "alice"


def test_strangers_who_knock_are_not_told(client, db):
    client.get("/admin/")

    assert entries() == []


# ---------------------------------------------------------------- commands
def test_credits_granted_by_command_are_told(alice, capsys):
    call_command("grant_credits", "alice", "30", "--reason", "welcome")

    entry = only()
    assert (entry.action, entry.actor, entry.object_label) == (
        "grant_credits",
        "manage.py",
        "alice",
    )
    assert (entry.changes, entry.message) == ({"credits": [None, 30]}, "welcome")


def test_a_command_that_fails_is_not_told(alice):
    with pytest.raises(CommandError):
        call_command("grant_credits", "alice", "-30")

    assert (entries(), LedgerEntry.objects.count()) == ([], 0)


def test_codes_made_by_command_are_told_without_them(db, capsys):
    call_command("make_redeem_codes", "--credits", "5", "--count", "2", "--batch", "autumn")

    made = re.findall(r"(?:\w{4}-){3}\w{4}", capsys.readouterr().out)
    entry = only()
    assert (entry.action, entry.object_type, len(made)) == (
        "make_redeem_codes",
        "credits.redeemcode",
        2,
    )
    assert entry.changes["count"] == [None, 2]
    assert entry.changes["batch"] == [None, "autumn"]
    assert made[0][:9] not in everything_written()


# ---------------------------------------------------------------- it stays as it was written
def test_nobody_changes_or_deletes_an_entry(staff):
    entry = recording.record(action="change", by=staff)

    for attempt in (
        entry.save,
        entry.delete,
        lambda: AuditEntry.objects.update(actor="bob"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: AuditEntry.objects.bulk_update([entry], ["actor"]),
        lambda: AuditEntry.objects.bulk_create([AuditEntry(action="x")]),
    ):
        with pytest.raises(AppendOnly):
            attempt()

    assert [(each.pk, each.actor) for each in entries()] == [(entry.pk, "staff")]


def test_not_even_a_superuser_does_so_in_the_admin(admin, staff):
    entry = recording.record(action="change", by=staff)
    address = f"/admin/fluxsite/auditentry/{entry.pk}"

    assert admin.get(f"{address}/change/").status_code == 200
    assert admin.post(f"{address}/change/", {"actor": "bob"}).status_code == 403
    assert admin.post(f"{address}/delete/", {"post": "yes"}).status_code == 403
    assert admin.post("/admin/fluxsite/auditentry/add/", {"actor": "bob"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"}
    admin.post("/admin/fluxsite/auditentry/", chosen)

    assert AuditEntry.objects.get(pk=entry.pk).actor == "staff"


def test_only_those_who_may_see_the_log_see_it(client, db):
    helper = User.objects.create_user("helper", is_staff=True)
    client.force_login(helper)
    assert client.get("/admin/fluxsite/auditentry/").status_code == 403

    helper.user_permissions.add(Permission.objects.get(codename="view_auditentry"))

    assert client.get("/admin/fluxsite/auditentry/").status_code == 200


def test_the_log_is_filtered_and_searched(admin, staff, bob):
    price = Price.objects.create(key="findme", credits=1)
    recording.record(action="change", by=staff, on=price, changes={"credits": [4, 77]})
    recording.record(action="recover", by=bob, on=bob)

    def shown(query):
        page = admin.get(f"/admin/fluxsite/auditentry/?{query}")
        return [each.action for each in page.context["cl"].result_list]

    assert shown("actor=bob") == ["recover"]
    assert shown("action=change") == ["change"]
    assert shown("object_type=credits.price") == ["change"]
    assert shown("q=findme") == ["change"]
    assert shown("created_at__year=2001") == []
    page = admin.get("/admin/fluxsite/auditentry/?action=change").content.decode()
    assert "credits: 4 → 77" in page
    assert f"/admin/credits/price/{price.pk}/change/" in page


def test_the_log_costs_the_same_at_one_and_three_rows(admin, staff, django_assert_num_queries):
    recording.record(action="change", by=staff, on=staff)
    admin.get("/admin/fluxsite/auditentry/")
    with CaptureQueriesContext(connection) as first:
        admin.get("/admin/fluxsite/auditentry/")
    for _number in range(2):
        recording.record(action="change", by=staff, on=staff)

    with django_assert_num_queries(len(first)):
        assert admin.get("/admin/fluxsite/auditentry/").status_code == 200


def test_texts_no_database_takes_are_cleaned(staff):
    entry = recording.record(action="change", by=staff, message="a\0b\ud800c" + "x" * 5000)

    entry.refresh_from_db()
    assert entry.message.startswith("a�b?cxxx")
    assert len(entry.message) == 2000


def test_djangos_own_list_of_recent_actions_goes_on(admin):
    admin.post("/admin/credits/price/add/", price_form(key="n"))

    assert LogEntry.objects.get().object_repr == "n"


@pytest.mark.parametrize(
    "address",
    [
        "/admin/fluxsite/auditentry/?actor=%00",
        "/admin/fluxsite/auditentry/?action=a%00b",
        "/admin/generation/fluxtask/?model=%00",
        "/admin/credits/redeemcode/?batch=%00",
        "/admin/generation/offeredmodel/a%00b/change/",
    ],
)
def test_an_address_no_database_looks_for_is_refused(admin, address):
    assert admin.get(address).status_code == 400


def test_rows_no_database_looks_for_are_refused(admin):
    chosen = {"action": "refund", "_selected_action": ["a\0b"], "reason": "a mistake"}

    assert admin.post("/admin/generation/fluxtask/", chosen).status_code == 400
