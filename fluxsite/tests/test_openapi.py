"""The schema of the API says all that the API does, and nothing else."""

from __future__ import annotations

import jsonschema
import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from fluxsite.tests.security.urlconf import addresses
from generation.tests.factories import FluxTaskFactory

METHODS = {"get", "post", "put", "patch", "delete"}
#: Addresses below /api/ that are no operations: what describes them.
NOT_OPERATIONS = {"/api/schema", "/api/docs"}


@pytest.fixture
def schema(client, alice):
    client.force_login(alice)
    return client.get("/api/schema?format=json").json()


@pytest.fixture
def api(alice):
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(alice)
    return client


def operations(schema):
    return {
        (method, path): operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def resolve(schema, part):
    while "$ref" in part:
        for name in part["$ref"].removeprefix("#/").split("/"):
            part = schema if name == "components" else part
            part = part[name]
    return part


# ---------------------------------------------------------------- complete
def test_the_schema_is_valid_and_made_without_a_warning(tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema"))


def test_every_address_below_api_is_in_the_schema_and_no_other(schema):
    below = {each.template for each in addresses() if each.route.startswith("api/")}

    assert set(schema["paths"]) == below - NOT_OPERATIONS


def test_probes_metrics_and_hooks_are_no_part_of_it(schema):
    assert not [path for path in schema["paths"] if not path.startswith("/api/")]


def test_every_method_of_a_view_is_in_the_schema(schema):
    answered = {
        (method, each.template)
        for each in addresses()
        if each.template in schema["paths"]
        for method in METHODS
        if hasattr(each.view.cls, method)
    }

    assert set(operations(schema)) == answered


def test_every_operation_documents_what_any_can_answer(schema):
    for name, operation in operations(schema).items():
        expected = {"400", "401", "403", "429", "503"}
        if "requestBody" in operation:
            expected |= {"413", "415"}
        if "{" in name[1]:
            expected |= {"404"}
        assert (name, expected - set(operation["responses"])) == (name, set())
        assert operation["summary"]
        assert operation["tags"][0] in {tag["name"] for tag in schema["tags"]}


def test_every_answer_has_a_description_and_names_its_request(schema):
    for name, operation in operations(schema).items():
        for code, answer in operation["responses"].items():
            found = resolve(schema, answer)
            assert (name, code, bool(found["description"])) == (name, code, True)
            assert "X-Request-ID" in found["headers"]
            if code in ("429", "503"):
                assert "Retry-After" in found["headers"]
            if code >= "400":
                content = found["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Error"}


def test_what_costs_takes_an_idempotency_key_and_says_what_may_refuse_it(schema):
    costly = {
        path
        for (_method, path), operation in operations(schema).items()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
        and {"402", "409", "503"} <= set(operation["responses"])
    }

    assert costly == {
        "/api/flux/text-to-image",
        "/api/flux/image-to-image",
        "/api/flux/task/{task_id}/retry",
    }


def test_a_session_needs_a_csrf_token_for_all_but_reading(schema):
    for (method, _path), operation in operations(schema).items():
        session = {"session": []} if method == "get" else {"session": [], "csrf": []}
        assert operation["security"] == [{"token": []}, session]


# ---------------------------------------------------------------- true
def test_the_examples_of_errors_are_errors(schema):
    for answer in schema["components"]["responses"].values():
        example = answer["content"]["application/json"]["example"]
        jsonschema.validate(example, schema["components"]["schemas"]["Error"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/flux/history?limit=0", 400),
        ("get", "/api/flux/history?cursor=%00", 400),
        ("get", "/api/flux/task/nothing", 404),
        ("get", "/api/nothing", 404),
        ("put", "/api/flux/history", 405),
        ("post", "/api/flux/estimate", 415),
    ],
)
def test_errors_are_as_the_schema_says(schema, api, method, path, status):
    answer = getattr(api, method)(
        path,
        data=b"x" if method != "get" else None,
        **({"content_type": "text/plain"} if method != "get" else {}),
    )

    assert answer.status_code == status
    jsonschema.validate(answer.json(), schema["components"]["schemas"]["Error"])


def test_an_error_of_fields_in_a_list_is_as_the_schema_says(schema, api):
    answer = api.post(
        "/api/unified-history/marks",
        {"entries": [{"source": "nothing"}], "favourite": 1},
        format="json",
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    jsonschema.validate(answer.json(), schema["components"]["schemas"]["Error"])


def test_an_error_without_a_login_is_as_the_schema_says(schema, db):
    answer = APIClient().get("/api/flux/history")

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="Fluxsite"')
    jsonschema.validate(answer.json(), schema["components"]["schemas"]["Error"])


@pytest.mark.parametrize("path", ["/api/flux/estimate", "/api/credits/redeem"])
def test_a_body_that_is_too_large_is_told_so(schema, api, path, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    answer = api.post(path, {"prompt": "a" * 1000, "code": "a"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    jsonschema.validate(answer.json(), schema["components"]["schemas"]["Error"])


def test_the_request_examples_are_what_the_operations_take(schema):
    for operation in operations(schema).values():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for example in content.get("examples", {}).values():
                document = {**content["schema"], "components": schema["components"]}
                jsonschema.validate(example["value"], document)


def test_a_task_is_as_the_schema_says(schema, api, alice):
    for state in ("at_provider", "succeeded", "failed"):
        FluxTaskFactory(user=alice, **{state: True})

    body = api.get("/api/flux/history").json()

    document = {"$ref": "#/components/schemas/TaskList", "components": schema["components"]}
    assert len(body["results"]) == 3
    jsonschema.validate(body, _without_nullable(document))


def _without_nullable(part):
    """OpenAPI 3.0 says `nullable` where JSON Schema has a type more."""
    if isinstance(part, dict):
        new = {name: _without_nullable(each) for name, each in part.items() if name != "nullable"}
        return {"anyOf": [new, {"type": "null"}]} if part.get("nullable") is True else new
    return [_without_nullable(each) for each in part] if isinstance(part, list) else part


# ---------------------------------------------------------------- to be read
def test_the_page_leads_those_who_are_not_signed_in_to_where_they_can_be(client, db):
    answer = client.get("/api/docs")

    assert (answer.status_code, answer["Location"]) == (302, "/login?next=/api/docs")


def test_the_page_tells_its_methods(client, alice):
    client.force_login(alice)

    answer = client.options("/api/docs")

    assert (answer.status_code, answer["Allow"]) == (200, "GET, HEAD, OPTIONS")


def test_the_schema_comes_as_json_or_as_yaml(client, alice):
    client.force_login(alice)

    as_yaml = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi"})

    assert client.get("/api/schema").json()["openapi"].startswith("3.0.")
    assert as_yaml.content.startswith(b"openapi: 3.0.")


def test_a_version_in_the_address_reaches_no_header(client, alice):
    client.force_login(alice)

    answer = client.get("/api/schema?version=1%0d%0aX-Bad:%20y")

    assert answer.status_code == 200
    assert "X-Bad" not in answer["Content-Disposition"]
