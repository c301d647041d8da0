"""API tokens: shown once, hashed at rest, valid until revoked."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from fluxsite.models import ApiToken

PATH = "/api/flux/history"


def call(secret, scheme="Bearer"):
    return APIClient().get(PATH, headers={"Authorization": f"{scheme} {secret}"})


@pytest.fixture
def secret(alice):
    _token, secret = ApiToken.objects.issue(user=alice, name="test")
    return secret


def test_a_token_speaks_for_its_member(secret, alice):
    answer = call(secret)

    assert answer.status_code == 200
    assert answer.renderer_context["request"].user == alice


def test_the_command_prints_one_token_and_nothing_else(alice):
    stdout = io.StringIO()

    call_command("create_token", "alice", stdout=stdout)

    (line,) = stdout.getvalue().splitlines()
    assert call(line).status_code == 200


def test_the_command_names_a_member_it_does_not_know(db):
    with pytest.raises(CommandError, match="no user named 'nobody'"):
        call_command("create_token", "nobody")


def test_the_secret_is_not_in_the_database(secret):
    token = ApiToken.objects.get()

    assert secret not in (token.digest, token.name)
    assert token.hint == secret[-4:]


def test_using_a_token_notes_when(secret):
    call(secret)

    assert ApiToken.objects.get().last_used_at is not None


@pytest.mark.parametrize("wrong", ["", "fx_nope", "fx_é", "a b", "\x00"])
def test_a_wrong_token_is_told_apart_from_none(db, wrong):
    answer = call(wrong)

    assert (answer.status_code, answer.data["code"]) == (401, "authentication_failed")
    assert answer["WWW-Authenticate"] == 'Bearer realm="Fluxsite"'


def test_a_revoked_token_is_refused(secret):
    ApiToken.objects.update(revoked_at=timezone.now())

    assert call(secret).status_code == 401


def test_the_token_of_a_member_who_left_is_refused(secret, alice):
    alice.is_active = False
    alice.save()

    assert call(secret).status_code == 401


def test_another_scheme_is_not_ours(secret):
    assert call(secret, scheme="Basic").data["code"] == "not_authenticated"


def test_staff_who_may_only_look_revoke_nothing(client, bob, secret):
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(Permission.objects.get(codename="view_apitoken"))
    client.force_login(bob)
    token = ApiToken.objects.get()

    client.post("/admin/fluxsite/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})

    assert ApiToken.objects.get().revoked_at is None


def test_staff_see_when_a_token_ends_and_cannot_put_it_off(client, staff, secret):
    end = timezone.now() + timedelta(days=40)
    ApiToken.objects.update(expires_at=end)
    token = ApiToken.objects.get()
    client.force_login(staff)

    listed = client.get("/admin/fluxsite/apitoken/").content.decode()
    page = client.get(f"/admin/fluxsite/apitoken/{token.pk}/change/").content.decode()
    client.post(
        f"/admin/fluxsite/apitoken/{token.pk}/change/",
        {"expires_at_0": "2099-01-01", "expires_at_1": "00:00:00"},
    )

    assert "column-expires_at" in listed
    assert "field-expires_at" in page
    assert "expires_at_0" not in page
    assert ApiToken.objects.get().expires_at == end
