"""Errors have one shape, and every reply a name and a content security policy."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient


def test_an_unknown_address_below_api_is_answered_in_json(client):
    answer = client.get("/api/nothing")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_unknown_page_is_answered_with_a_page(client, db):
    answer = client.get("/nothing")

    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


def test_the_error_names_the_request(db):
    answer = APIClient().get("/api/flux/history")

    assert answer.data["request_id"] == answer["X-Request-ID"]
    assert set(answer.data) == {"code", "detail", "request_id"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abcdef-12.34_5", True), ("short", False), ("x" * 65, False), ("bad name\r\nX: y", False)],
)
def test_a_proxys_name_for_the_request_is_kept_when_it_looks_like_one(client, given, kept):
    answer = client.get("/api/nothing", headers={"X-Request-ID": given})

    assert (answer["X-Request-ID"] == given) is kept


def test_every_page_has_the_security_headers(client, db):
    answer = client.get("/login")

    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"


def test_what_django_itself_refuses_below_api_is_answered_in_json(client, settings):
    settings.ALLOWED_HOSTS = ["studio.example.org"]

    answer = client.get("/api/nothing", headers={"Host": "elsewhere"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_what_django_itself_refuses_elsewhere_is_answered_with_a_page(client, settings):
    settings.ALLOWED_HOSTS = ["studio.example.org"]

    answer = client.get("/nothing", headers={"Host": "elsewhere"})

    assert answer.status_code == 400
    assert b"This address cannot be understood" in answer.content


def test_a_form_with_too_many_fields_is_an_error_of_the_caller(client):
    client.handler.enforce_csrf_checks = True
    client.cookies["csrftoken"] = "a" * 32

    answer = client.post("/language", {f"field{n}": "" for n in range(300)})

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("feedback", '{"source": "flux", "id": "a", "vote": "a\\ud800b"}', "vote"),
        ("exports", '{"entries": [{"source": "\\udfff", "id": "a"}]}', "entries"),
    ],
)
def test_an_error_that_quotes_half_a_surrogate_can_be_sent(client, alice, path, body, field):
    client.force_login(alice)

    answer = client.post(f"/api/unified-history/{path}", body, "application/json")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


@pytest.mark.parametrize(
    "body", ['{"code": "a", "code": "b"}', '{"code": "a", "more": [{"b": 1, "b": 2}]}']
)
def test_a_body_that_gives_a_name_twice_is_refused(client, alice, body):
    client.force_login(alice)

    answer = client.post("/api/credits/redeem", body, "application/json")

    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/api/unified-history/feedback",
            r'{"source": "flux", "id": "x", "vote": "\ud800"}',
            "vote",
        ),
        ("/api/unified-history/feedback", r'{"source": "\ud800", "id": "x"}', "source"),
        ("/api/flux/presets", r'{"\ud800": 1}', "?"),
    ],
)
def test_half_a_character_is_an_error_of_the_caller(alice, path, body, field):
    caller = APIClient()
    caller.force_authenticate(alice)

    answer = caller.generic("POST", path, body, "application/json")

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
