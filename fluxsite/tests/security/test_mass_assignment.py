"""Fields nobody may set are refused or passed over, by whatever door they come.

The schema is walked: an operation that takes a body needs an entry in BODIES before this passes.
"""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from credits import ledger
from fluxsite.models import ApiToken
from generation.models import FluxTask, Preset, Upload
from generation.tests.factories import image_bytes
from history.models import Export, Feedback

MODEL = "fal-ai/flux-1/schnell"
#: What the rows behind the API have and no caller may say.
FORBIDDEN = {
    "id": "f" * 32,
    "pk": "f" * 32,
    "user": "bob",
    "user_id": 2,
    "owner": "bob",
    "owner_id": 2,
    "status": "SUCCESS",
    "submission": "ACCEPTED",
    "endpoint": "fal-ai/flux-1/dev",
    "request_id": "hostile",
    "credits": 10**6,
    "credits_balance": 10**6,
    "amount": 10**6,
    "cost": 0,
    "cost_reserved": 0,
    "cost_charged": 0,
    "price": 0,
    "is_staff": True,
    "is_superuser": True,
    "is_shared": True,
    "is_trashed": True,
    "resolved_at": "2026-01-01T00:00:00Z",
    "created_at": "2001-01-01T00:00:00Z",
    "storage_key": "../../etc/passwd",
}
#: A body that can be done for every operation that takes one.
BODIES = {
    "/api/flux/text-to-image": lambda things: {"prompt": "a", "model": MODEL},
    "/api/flux/image-to-image": lambda things: {
        "prompt": "a",
        "model": "fal-ai/flux-pro/kontext",
        "image_url": things["upload"],
    },
    "/api/flux/estimate": lambda things: {"prompt": "a", "model": MODEL},
    "/api/flux/presets": lambda things: {"name": "new", "model": MODEL, "parameters": {}},
    "/api/flux/upload-image": None,
    "/api/credits/redeem": lambda things: {"code": "AAAA-BBBB-CCCC"},
    "/api/unified-history/marks": lambda things: {"entries": things["names"], "favourite": True},
    "/api/unified-history/feedback": lambda things: {**things["names"][0], "vote": "like"},
    "/api/unified-history/exports": lambda things: {"entries": things["names"]},
}


@pytest.fixture
def member(alice):
    client = Client()
    client.force_login(alice)
    return client


def owners(*, of):
    return set(of.objects.values_list("owner" if of is Preset else "user", flat=True))


def assert_nothing_was_set(alice, things):
    assert not User.objects.filter(is_staff=True).exists()
    assert not User.objects.filter(is_superuser=True).exists()
    for model in (FluxTask, Upload, Preset, Export, Feedback, ApiToken):
        assert owners(of=model) <= {alice.pk}
    tasks = FluxTask.objects.exclude(pk__in=[things["task_id"], things["entry_id"]])
    assert set(tasks.values_list("status", "submission")) <= {("PENDING", "UNSENT")}
    assert not tasks.filter(cost_reserved=0).exists()
    balance = ledger.account_for(user=alice).credits_balance
    assert balance == 500 - sum(tasks.values_list("cost_reserved", flat=True))
    assert not Preset.objects.filter(is_shared=True).exists()
    for model in (FluxTask, Preset, Export, Feedback):
        assert not model.objects.filter(pk="f" * 32 if model is not Feedback else 2**31 - 1)
        assert not model.objects.filter(created_at__year=2001).exists()


def test_every_operation_with_a_body_is_known_here(db):
    schema = SchemaGenerator().get_schema(request=None, public=True)
    taking = {
        path
        for path, methods in schema["paths"].items()
        for operation in methods.values()
        if "requestBody" in operation
    }

    assert taking == set(BODIES)


@pytest.mark.parametrize("path", [path for path, body in BODIES.items() if body])
def test_fields_nobody_may_set_together(member, alice, bob, things, path):
    body = BODIES[path](things)

    answer = member.post(path, {**FORBIDDEN, **body}, content_type="application/json")

    assert answer.status_code in (200, 201, 202, 400)
    assert_nothing_was_set(alice, things)


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("path", ["/api/flux/text-to-image", "/api/flux/presets"])
def test_an_order_or_a_preset_with_a_field_it_does_not_have_is_refused(
    member, alice, things, path, name
):
    body = {**BODIES[path](things), name: FORBIDDEN[name]}

    answer = member.post(path, body, content_type="application/json")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [name])
    assert_nothing_was_set(alice, things)


def test_fields_beside_an_upload_set_nothing(member, alice, bob, things):
    from io import BytesIO

    file = BytesIO(image_bytes((80, 80), colour="olive"))
    file.name = "a.png"
    before = set(Upload.objects.values_list("pk", flat=True))

    answer = member.post("/api/flux/upload-image", {**FORBIDDEN, "file": file})

    assert answer.status_code == 201
    made = Upload.objects.exclude(pk__in=before).get()
    assert (made.user, made.pk == FORBIDDEN["id"]) == (alice, False)
    assert made.storage_key.startswith(f"uploads/{alice.pk}/")


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/account", {"name": "Alice", "language": "", "theme": ""}),
        ("/tokens", {"name": "new", "days": "30"}),
        ("/", {"prompt": "a", "model": MODEL}),
        ("/studio/presets/save", {"name": "new", "model": MODEL, "prompt": "a"}),
        ("/presets/{preset_id}/change", {"name": "renamed", "shared": "on"}),
        ("/credits", {"code": "AAAA-BBBB-CCCC"}),
        ("/history/marks", {"action": "favourite", "entry": "flux:{entry_id}"}),
        ("/history/exports", {"entry": "flux:{entry_id}"}),
    ],
)
def test_fields_nobody_may_set_in_a_form(member, alice, bob, things, path, form):
    form = {name: value.format(**things) for name, value in form.items()}
    extra = {name: str(value) for name, value in FORBIDDEN.items()}

    answer = member.post(path.format(**things), {**extra, "password": "x", "digest": "x", **form})

    assert answer.status_code < 500
    alice.refresh_from_db()
    assert alice.check_password("a password for tests")
    assert not ApiToken.objects.filter(digest="x").exists()
    assert_nothing_was_set(alice, things)
