"""The API asked all that its schema allows, and what it forbids: no fault, no surprise.

The requests are the same every time. Nothing is drawn: workers would, and there are none.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from credits import ledger
from fluxsite.models import ApiToken
from generation.models import FluxTask, Preset
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory
from history import exports
from history.marks import Name

pytestmark = pytest.mark.usefixtures("one_connection")

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def load():
    document = SchemaGenerator().get_schema(request=None, public=True)
    schema = schemathesis.openapi.from_dict(document)
    schema.app = get_wsgi_application()
    return schema


SCHEMA = load()
OPERATIONS = {each.ok().label: each.ok() for each in SCHEMA.get_all_operations()}
#: Those of which something can be asked in a wrong way, and those that take an id.
TAKING = [
    label for label, each in OPERATIONS.items() if each.body or each.query or each.path_parameters
]
NAMING = [label for label, each in OPERATIONS.items() if each.path_parameters]


MODEL = "fal-ai/flux-1/schnell"
#: Bodies that can be done, made of the ids of `alices`.
WORKING = {
    "flux/text-to-image": lambda ids: {"prompt": "猫 a cat", "model": MODEL, "num_images": 2},
    "flux/image-to-image": lambda ids: {
        "prompt": "snow",
        "model": "fal-ai/flux-pro/kontext",
        "image_url": ids["picture"],
    },
    "flux/estimate": lambda ids: {"prompt": "a cat", "model": MODEL},
    "unified-history/marks": lambda ids: {"entries": [ids["entry"]], "favourite": True},
    "unified-history/exports": lambda ids: {"entries": [ids["entry"]]},
    "unified-history/feedback": lambda ids: {**ids["entry"], "vote": "like"},
}


@pytest.fixture
def alices(alice, bob, settings):
    """A few rows of Alice's and of Bob's. Returns her token, and ids of hers by parameter."""
    settings.SANDBOX_URL = "http://127.0.0.1:9"  # Where nobody listens.
    later = timezone.now() + timedelta(days=1)
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task)
    upload = UploadFactory(user=alice)
    FluxTaskFactory(user=alice, at_provider=True, next_action_at=later, deadline_at=later)
    FluxTaskFactory(user=bob, succeeded=True)
    name = Name("flux", task.pk)
    preset = Preset.objects.create(owner=alice, name="one", model=task.model, parameters={})
    export = exports.ask(user=alice, names=[name])
    _token, secret = ApiToken.objects.issue(user=alice, name="fuzz")
    return {
        "token": {"Authorization": f"Bearer {secret}"},
        "task_id": task.pk,
        "preset_id": preset.pk,
        "export_id": export.pk,
        "entry": name._asdict(),
        "picture": upload.url,
    }


def ask(strategy, *, answered=None, count=15):
    @given(strategy)
    @examples(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case):
        answer = case.call_and_validate(checks=CHECKS)
        assert answered is None or answer.status_code in answered

    run()


def assert_books_are_right(alice):
    account = ledger.account_for(user=alice)
    reserved = sum(FluxTask.objects.filter(user=alice).values_list("cost_reserved", flat=True))
    assert 0 <= account.credits_balance == 500 - reserved
    assert ledger.reserved_now(user=alice) == reserved


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_schema_allows_is_answered_as_it_says(alice, alices, label):
    ask(OPERATIONS[label].as_strategy(headers=alices["token"]))

    assert_books_are_right(alice)


@pytest.mark.parametrize("label", TAKING)
def test_what_the_schema_forbids_is_answered_as_it_says(alice, alices, label):
    mode = GenerationMode.NEGATIVE
    ask(OPERATIONS[label].as_strategy(generation_mode=mode, headers=alices["token"]))

    assert_books_are_right(alice)


@pytest.mark.parametrize("label", NAMING)
def test_what_is_there_is_answered_as_the_schema_says(alice, alices, label):
    [name] = [each.name for each in OPERATIONS[label].path_parameters]
    ids = {name: alices[name]}

    ask(OPERATIONS[label].as_strategy(path_parameters=ids, headers=alices["token"]), count=5)

    assert_books_are_right(alice)


@pytest.mark.parametrize("path", WORKING)
def test_what_works_is_answered_as_the_schema_says(alice, alices, path):
    operation = OPERATIONS[f"POST /api/{path}"]
    body = WORKING[path](alices)

    ask(
        operation.as_strategy(body=body, headers=alices["token"]),
        answered={200, 201, 202},
        count=2,
    )

    assert_books_are_right(alice)


@pytest.mark.parametrize("label", OPERATIONS)
def test_whoever_is_not_signed_in_is_told_so(alices, label):
    ask(OPERATIONS[label].as_strategy(headers={"Accept": "*/*"}), answered={401}, count=3)
