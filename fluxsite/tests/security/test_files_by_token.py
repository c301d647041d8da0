"""What the API gives the address of can be fetched by the token that asked for it."""

from __future__ import annotations

import pytest
from django.test import Client

from fluxsite.models import ApiToken


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def kind(answer):
    answer.getvalue()
    for close in answer._resource_closers:
        close()
    return answer.status_code, answer["Content-Type"]


@pytest.fixture
def addresses_of_files(things):
    return [f"/media/{things['picture_id']}", f"/media/{things['picture_id']}/640"]


def test_a_token_fetches_its_members_pictures(client, things, addresses_of_files):
    answers = [client.get(path, headers=bearer(things["secret"])) for path in addresses_of_files]

    assert [kind(answer) for answer in answers] == [(200, "image/png"), (200, "image/webp")]
    assert ApiToken.objects.get().last_used_at is not None


def test_the_token_of_another_member_finds_nothing(client, bob, addresses_of_files):
    _token, secret = ApiToken.objects.issue(user=bob, name="bob's")

    for path in addresses_of_files:
        assert client.get(path, headers=bearer(secret)).status_code == 404


def test_a_token_that_is_wrong_is_told_so(client, addresses_of_files):
    for path in addresses_of_files:
        answer = client.get(path, headers=bearer("fx_wrong"))

        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")
        assert answer["WWW-Authenticate"] == 'Bearer realm="Fluxsite"'


def test_a_token_that_may_only_draw_reads_no_files(client, alice, addresses_of_files):
    _token, secret = ApiToken.objects.issue(user=alice, name="draws", scopes=["generate"])

    for path in addresses_of_files:
        answer = client.get(path, headers=bearer(secret))

        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert 'scope="read"' in answer["WWW-Authenticate"]


def test_a_token_goes_before_a_session(alice, bob, addresses_of_files):
    client = Client()
    client.force_login(alice)
    _token, secret = ApiToken.objects.issue(user=bob, name="bob's")

    assert client.get(addresses_of_files[0], headers=bearer(secret)).status_code == 404


def test_an_export_is_found_by_the_token_and_not_ready_yet(client, things, bob):
    _token, secret = ApiToken.objects.issue(user=bob, name="bob's")
    path = f"/history/exports/{things['export_id']}/file"

    mine = client.get(path, headers=bearer(things["secret"]))
    others = client.get(path, headers=bearer(secret))

    assert (mine.status_code, others.status_code) == (404, 404)
    assert "Location" not in mine


@pytest.mark.parametrize(
    "path", ["/", "/tokens", "/account", "/history", "/credits", "/admin/", "/studio/cards"]
)
def test_a_token_opens_no_page(client, things, path):
    answer = client.get(path, headers=bearer(things["secret"]))

    assert answer.status_code == 302


def test_a_token_changes_nothing_by_a_page(client, things):
    answer = client.post("/history/exports", headers=bearer(things["secret"]))

    assert answer.status_code in (302, 403)
