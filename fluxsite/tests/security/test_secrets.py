"""What is marked as a secret is in no page, no answer and no line of the log, whoever reads."""

from __future__ import annotations

import html
import json
import logging

import pytest
from django.conf import settings as site_settings
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from conftest import PASSWORD
from fluxsite import logs
from fluxsite.tests.security.conftest import PROMPT
from fluxsite.tests.security.urlconf import addresses
from generation.models import FluxConfig

KEY = "marked-fal-key-0123456789:abcdefghijklmnop"
OF_THE_SITE = {
    "COS_SECRET_ID": "marked-cos-id-0123456789",
    "COS_SECRET_KEY": "marked-cos-key-0123456789",
    "COS_TOKEN": "marked-cos-token-0123456789",
    "METRICS_TOKEN": "marked-metrics-token-0123456789",
}


@pytest.fixture
def secrets(things, settings):
    """Everything that must not be shown, marked. The prompt is Alice's to see."""
    for name, value in OF_THE_SITE.items():
        setattr(settings, name, value)
    config = FluxConfig.objects.get_or_create(pk=FluxConfig.PK)[0]
    config.set_api_key(KEY)
    config.save()
    config.refresh_from_db()
    return [
        KEY,
        config.api_key,
        PASSWORD,
        things["secret"],
        *OF_THE_SITE.values(),
        site_settings.SECRET_KEY,
        *site_settings.FIELD_ENCRYPTION_KEYS,
    ]


def crawl(client, things):
    """Ask every address, and the admin pages of every row. Yields path and what came."""
    for path in [*paths(things), *admin_paths()]:
        answer = client.get(path)
        assert answer.status_code < 500 or path == "/readyz", path
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        for close in answer._resource_closers:
            close()
        head = "\n".join(f"{name}: {value}" for name, value in answer.items())
        yield path, head + html.unescape(content.decode(errors="replace"))


def paths(things):
    return [
        each.path(**dict.fromkeys(each.parameters, "1") | things)
        for each in addresses()
        if each.name != "generation:events"
    ]


def admin_paths():
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for row in model._default_manager.all()[:3]:
            yield reverse(f"{name}_change", args=[row.pk])
            yield reverse(f"{name}_history", args=[row.pk])


def spoken(caplog):
    """Everything that was logged at INFO or above, in both formats."""
    said = []
    for record in caplog.records:
        logs.RequestIdFilter().filter(record)
        said += [logs.Line().format(record), logs.Json().format(record)]
    return "\n".join(said)


# ---------------------------------------------------------------- pages and answers
@pytest.mark.parametrize("reader", ["alice", "bob", "staff", "nobody"])
def test_no_secret_is_in_any_answer(secrets, things, alice, bob, staff, reader):
    client = Client(raise_request_exception=False)
    who = {"alice": alice, "bob": bob, "staff": staff}.get(reader)
    if who:
        client.force_login(who)
    hidden = secrets if reader in ("alice", "staff") else [*secrets, PROMPT]

    shown = {
        path: secret
        for path, content in crawl(client, things)
        for secret in hidden
        if secret in content
    }

    assert shown == {}


def test_the_page_of_the_configuration_shows_the_end_of_the_key_and_no_more(secrets, staff):
    client = Client()
    client.force_login(staff)

    page = client.get("/admin/generation/fluxconfig/default/change/").content.decode()

    assert f"••••{KEY[-4:]}" in page
    assert KEY[-5:] not in page


def test_a_password_is_not_shown_not_even_its_digest(secrets, alice, staff):
    client = Client()
    client.force_login(staff)

    page = client.get(f"/admin/auth/user/{alice.pk}/change/").content.decode()

    assert alice.password not in page


# ---------------------------------------------------------------- logs
def test_no_secret_and_no_prompt_is_in_the_logs(secrets, things, alice, caplog):
    caplog.set_level(logging.INFO)
    client = Client(raise_request_exception=False)
    bearer = {"Authorization": f"Bearer {things['secret']}"}

    client.post("/login", {"username": "alice", "password": "marked wrong password"})
    client.post("/login", {"username": "alice", "password": PASSWORD})
    client.get(f"/api/flux/history?token={things['secret']}", headers=bearer)
    client.get(f"/api/nothing?prompt={PROMPT}", headers=bearer)
    client.get(f"/nothing/{things['secret']}")
    client.get("/metrics", headers={"Authorization": f"Bearer {OF_THE_SITE['METRICS_TOKEN']}"})
    for path, body in {
        "/api/flux/text-to-image": {"prompt": PROMPT, "model": "fal-ai/flux-1/schnell"},
        "/api/flux/estimate": {"prompt": PROMPT, "model": PROMPT},
        "/api/flux/presets": {"name": PROMPT, "model": "x", "prompt": PROMPT},
        "/api/credits/redeem": {"code": "MARKED-CODE"},
    }.items():
        client.post(path, json.dumps(body), content_type="application/json", headers=bearer)
    client.post("/api/flux/text-to-image", f'{{"prompt": "{PROMPT}', "application/json",
                headers=bearer)  # fmt: skip

    said = spoken(caplog)
    hidden = [*secrets, PROMPT, "marked wrong password", "MARKED-CODE"]
    assert caplog.records
    assert [secret for secret in hidden if secret in said] == []
