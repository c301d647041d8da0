"""What a token may do: as much as was chosen when it was made, at every address of the API."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.urls import URLPattern, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework.views import APIView

from fluxsite.authentication import TokenScope
from fluxsite.models import SCOPES, ApiToken

#: An address of each scope, with a method and the status that tells the door is open.
ADDRESSES = [
    ("read", "GET", "/api/flux/history", 200),
    ("read", "HEAD", "/api/flux/history", 200),
    ("read", "GET", "/api/unified-history", 200),
    ("read", "GET", "/api/credits", 200),
    ("read", "POST", "/api/flux/estimate", 200),
    ("generate", "POST", "/api/flux/text-to-image", 400),
    ("generate", "POST", "/api/flux/upload-image", 415),
    ("generate", "POST", "/api/flux/task/none/cancel", 404),
    ("generate", "POST", "/api/flux/task/none/retry", 404),
    ("manage", "POST", "/api/unified-history/marks", 400),
    ("manage", "POST", "/api/credits/redeem", 400),
    ("manage", "POST", "/api/flux/presets", 400),
    ("manage", "DELETE", "/api/flux/presets/none", 404),
]


def ask(user, scopes, method, path):
    _token, secret = ApiToken.objects.issue(user=user, name="test", scopes=scopes)
    return APIClient().generic(
        method, path, "{}", "application/json", headers={"Authorization": f"Bearer {secret}"}
    )


@pytest.mark.parametrize(("scope", "method", "path", "status"), ADDRESSES)
def test_a_token_with_the_scope_comes_in(alice, scope, method, path, status):
    assert ask(alice, [scope], method, path).status_code == status


@pytest.mark.parametrize(("scope", "method", "path", "status"), ADDRESSES)
def test_a_token_with_all_others_is_refused_and_told_which_is_missing(
    alice, scope, method, path, status
):
    answer = ask(alice, SCOPES.keys() - {scope}, method, path)

    assert answer.status_code == 403
    assert f'error="insufficient_scope", scope="{scope}"' in answer["WWW-Authenticate"]
    if method != "HEAD":
        assert answer.data["code"] == "insufficient_scope"
        assert answer.data["detail"] == (
            f"This token lacks the scope {scope}. Make one that has it."
        )


def test_what_there_is_no_method_for_is_answered_so(alice):
    assert ask(alice, ["read"], "DELETE", "/api/flux/history").status_code == 405


def test_a_session_may_do_what_the_member_may(client, alice):
    client.force_login(alice)

    assert client.post("/api/flux/text-to-image", "{}", "application/json").status_code == 400


def test_a_token_of_staff_is_bound_by_its_scopes_as_well(staff):
    assert ask(staff, ["read"], "POST", "/api/credits/redeem").status_code == 403
    assert ask(staff, ["read"], "GET", "/api/unified-history?member=all").status_code == 200


# ---------------------------------------------------------------- every address there is
def views(patterns=None) -> Iterator[tuple[str, type]]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLPattern):
            yield str(pattern.pattern), getattr(pattern.callback, "cls", None)
        else:
            yield from views(pattern.url_patterns)


def methods_of(view: type) -> set[str]:
    names = ("get", "post", "put", "patch", "delete")
    return {name.upper() for name in names if hasattr(view, name)}


def test_every_view_of_the_api_names_a_scope_for_each_of_its_methods():
    # The schema tells nothing of anybody.
    ours = [
        view
        for _path, view in views()
        if view and issubclass(view, APIView) and view.__module__ != "fluxsite.api_docs"
    ]
    open_to_all = [view for view in ours if not view.authentication_classes]

    assert len(ours) > 15
    assert [view.__name__ for view in open_to_all] == ["FalWebhook"]
    for view in ours:
        if view in open_to_all:
            continue
        assert TokenScope in view.permission_classes, view
        assert view.token_scopes.keys() == methods_of(view), view
        assert set(view.token_scopes.values()) <= SCOPES.keys(), view


# ---------------------------------------------------------------- made with them
def test_on_the_page_a_token_is_made_with_what_was_ticked(client, alice):
    client.force_login(alice)

    client.post("/tokens", {"name": "CI", "days": "", "scopes": ["manage", "read"]})

    assert ApiToken.objects.get().scopes == "read manage"
    page = client.get("/tokens").content.decode()
    assert "Read: history, tasks, credits · Change: marks, feedback" in page


@pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "admin"]])
def test_without_a_scope_or_with_one_that_does_not_exist_none_is_made(client, alice, scopes):
    client.force_login(alice)

    answer = client.post("/tokens", {"name": "CI", "days": "", "scopes": scopes})

    assert answer.status_code == 422
    assert answer.context["form"].errors.keys() == {"scopes"}
    assert ApiToken.objects.count() == 0


def test_the_command_makes_tokens_with_scopes_and_an_end(alice):
    arguments = ("--scope", "read", "--scope", "generate", "--days", "30")
    call_command("create_token", "alice", *arguments, stdout=io.StringIO())

    token = ApiToken.objects.get()
    assert token.scopes == "read generate"
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)


@pytest.mark.parametrize("arguments", [("--scope", "admin"), ("--days", "0"), ("--days", "9999")])
def test_the_command_refuses_what_makes_no_sense(alice, arguments):
    with pytest.raises(CommandError):
        call_command("create_token", "alice", *arguments)

    assert ApiToken.objects.count() == 0


def test_what_was_made_without_choosing_may_do_everything(alice):
    call_command("create_token", "alice", stdout=io.StringIO())

    assert ApiToken.objects.get().scopes.split() == list(SCOPES)


def test_a_token_that_has_expired_is_refused(alice):
    end = timezone.now() - timedelta(seconds=1)
    _token, secret = ApiToken.objects.issue(user=alice, name="old", expires_at=end)

    answer = APIClient().get("/api/flux/history", headers={"Authorization": f"Bearer {secret}"})

    assert (answer.status_code, answer.data["code"]) == (401, "authentication_failed")
