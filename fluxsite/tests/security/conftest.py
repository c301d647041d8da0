"""Alice, who owns one of everything there is, and a look at all rows and files of the site."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils import timezone

from credits import ledger
from fluxsite.models import ApiToken
from generation.models import Preset
from generation.tests.conftest import shelf
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory
from history import exports, feedback, search
from history.marks import Name

__all__ = ["shelf"]

PROMPT = "alice's secret lighthouse"
#: What is written whoever asks: sessions, what was counted, when a token was last used.
NOT_COUNTED = {"sessions.Session", "generation.RateWindow", "credits.RedeemFailure"}


@pytest.fixture
def one_connection():
    """For those who call the site as WSGI does: as with Django's own test client, the end of a
    request does not close the connection to the database, which is the test's."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def things(alice, shelf, settings) -> dict[str, Any]:
    """One of everything, all Alice's: the values of every parameter an address may have."""
    settings.SANDBOX_URL = "http://127.0.0.1:9"  # Where nobody listens.
    later = timezone.now() + timedelta(days=1)
    done = FluxTaskFactory(user=alice, succeeded=True, prompt=PROMPT)
    picture = TaskImageFactory(user=alice, task=done)
    upload = UploadFactory(user=alice)
    running = FluxTaskFactory(
        user=alice, at_provider=True, prompt=PROMPT, next_action_at=later, deadline_at=later
    )
    preset = Preset.objects.create(
        owner=alice, name="alice's preset", model=done.model, parameters={}, prompt=PROMPT
    )
    name = Name("flux", done.pk)
    feedback.report(user=alice, name=name, reason="other", text="alice's report")
    export = exports.ask(user=alice, names=[name])
    token, secret = ApiToken.objects.issue(user=alice, name="alice's token")
    ledger.account_for(user=alice)
    search.fill()
    return {
        "task_id": running.pk,
        "picture_id": picture.pk,
        "preset_id": preset.pk,
        "export_id": export.pk,
        "token_id": str(token.pk),
        "width": "640",
        "source": "flux",
        "entry_id": done.pk,
        "upload": upload.url,
        "picture": picture.url,
        "secret": secret,
        "names": [name._asdict()],
    }


def rows() -> dict[str, list[Any]]:
    """Return all rows of all tables, as they are."""
    found = {}
    for model in apps.get_models():
        if model._meta.label in NOT_COUNTED or not model._meta.managed:
            continue
        columns = [
            field.attname
            for field in model._meta.concrete_fields
            if field.attname not in ("last_login", "last_used_at")
        ]
        found[model._meta.label] = sorted(map(repr, model.objects.values_list(*columns)))
    return found


def files() -> list[tuple[str, int]]:
    place = settings.STORAGES["default"]["OPTIONS"]["location"]
    return sorted((str(path), path.stat().st_size) for path in place.rglob("*.*"))
