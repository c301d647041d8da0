"""Every address of the site, asked by those who have no business there.

The URLconf is walked: an address that is new is asked as well, and one that takes an id needs an
entry in OWNED before this passes.
"""

from __future__ import annotations

import pytest
from django.test import Client

from fluxsite.tests.security.conftest import PROMPT, files, rows
from fluxsite.tests.security.urlconf import addresses

ALL = addresses()

#: Addresses that answer whoever asks, each with the reason.
OPEN = {
    "healthz": "tells a load balancer that the process lives, and nothing else",
    "readyz": "tells a load balancer which part is not well, in a word each",
    "login": "the way in",
    "admin:login": "the way in for staff",
    "logout": "leaves a session there may be none of",
    "set_language": "a choice of this browser",
    "theme": "a choice of this browser",
    "password_reset": "for those who cannot get in; 404 where there is no mail",
    "password_reset_sent": "says that a mail is under way, whether it is or not",
    "password_reset_confirm": "opened by the token of a mail",
    "generation:webhook": "the provider, by the token in the address and its signature",
    "openai:picture": "by the signature in the address, for an hour",
    "regex": "styles and scripts of an earlier release",
}
#: Addresses that take an id, with the answer to somebody whose it is not.
OWNED = {
    "revoke_token": 404,
    "flux_api:task": 404,
    "flux_api:cancel": 404,
    "flux_api:retry": 404,
    "flux_api:recover": 404,
    "flux_api:preset": 404,
    "history:api-export": 404,
    "history:export-file": 404,
    "history:entry": 404,
    "generation:preset_change": 404,
    "generation:preset_delete": 404,
    "generation:preset_restore": 404,
    "generation:cancel": 404,
    "generation:retry": 404,
    "generation:recover": 404,
    "generation:media": 404,
    "generation:thumbnail": 404,
}
#: Those whose ids are no member's things.
NOBODYS = {"password_reset_confirm", "generation:webhook", "openai:model", "openai:picture"}
#: What a page of another site can neither send nor make use of, and gets another refusal for.
WITHOUT_SESSION = {
    "generation:webhook": "counts by its signature",
    "openai:generations": "counts by its token",
    "openai:edits": "counts by its token",
    "openai:models": "counts by its token",
    "openai:model": "counts by its token",
    "openai:picture": "changes nothing, and is read by the signature in its address",
}
METHODS = ("get", "post", "put", "patch", "delete")


def ask(client, method, path):
    accept = {"Accept": "text/html,application/json"}
    if method == "post" and path == "/api/flux/upload-image":
        return client.post(path, {"file": ""}, headers=accept)
    if method == "post" and path.startswith("/api/"):
        return client.post(path, {}, content_type="application/json", headers=accept)
    return getattr(client, method)(path, headers=accept)


def body(answer):
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    # Not close(), which would end the connection of the test to its database as well.
    for close in answer._resource_closers:
        close()
    return content.decode(errors="replace")


# ---------------------------------------------------------------- nobody
def test_nobody_gets_anything_without_signing_in(things):
    nobody, before = Client(raise_request_exception=False), rows()
    strange = {}
    for each in ALL:
        path = each.path(**dict.fromkeys(each.parameters, "1") | things)
        for method in METHODS if each.route.startswith("api/") else ("get", "post"):
            answer = ask(nobody, method, path)
            assert PROMPT not in body(answer)
            if each.name not in OPEN and not is_refusal(answer, path):
                strange[f"{method} {path}"] = answer.status_code

    assert strange == {}
    assert rows() == before


def is_refusal(answer, path):
    if path.startswith("/v1/"):
        return answer.status_code == 401 and set(answer.json()) == {"error"}
    if path.startswith("/api/") and path != "/api/docs":
        return answer.status_code == 401 and set(answer.json()) == {"code", "detail", "request_id"}
    if answer.status_code == 302:
        return answer["Location"].split("?")[0] in ("/login", "/admin/login/", "/admin/")
    return answer.status_code in (401, 403, 405)


def test_what_is_open_is_known_by_its_name():
    assert set(OPEN) <= {each.name for each in ALL}


# ---------------------------------------------------------------- another member
def test_every_address_with_an_id_is_known_here():
    taking = {
        each.name for each in ALL if each.parameters and not each.route.startswith("admin/")
    } - NOBODYS

    assert taking == set(OWNED)


@pytest.mark.parametrize("name", OWNED)
def test_what_belongs_to_alice_is_not_there_for_bob(things, bob, name):
    [address] = [each for each in ALL if each.name == name]
    path = address.path(**things)
    client = Client(raise_request_exception=False)
    client.force_login(bob)
    before = rows(), files()

    answers = {method: ask(client, method, path) for method in METHODS}

    if name == "generation:preset_change":
        assert answers.pop("get")["Location"] == "/presets"  # Whatever the id.
    assert {answer.status_code for answer in answers.values()} <= {OWNED[name], 405}
    assert OWNED[name] in {answer.status_code for answer in answers.values()}
    assert not [method for method, answer in answers.items() if PROMPT in body(answer)]
    assert (rows(), files()) == before


@pytest.mark.parametrize("name", OWNED)
def test_what_belongs_to_alice_is_there_for_her(things, alice, name):
    """Else the 404 above would prove nothing."""
    [address] = [each for each in ALL if each.name == name]
    client = Client()
    client.force_login(alice)

    answers = [ask(client, method, address.path(**things)) for method in METHODS]
    statuses = {answer.status_code for answer in answers if body(answer) is not None}

    # Asking for an export that is not packed yet, and for the late result of a running task.
    if name not in ("history:export-file", "generation:preset_restore"):
        assert statuses - {404, 405}


def by_body(things):
    names, entry = things["names"], things["names"][0]
    flux = {"prompt": "a", "model": "fal-ai/flux-pro/kontext"}
    return {
        "marks": ("/api/unified-history/marks", {"entries": names, "trashed": True}, 404),
        "favourite": ("/api/unified-history/marks", {"entries": names, "favourite": True}, 404),
        "feedback": ("/api/unified-history/feedback", {**entry, "vote": "like"}, 404),
        "export": ("/api/unified-history/exports", {"entries": names}, 404),
        "upload": ("/api/flux/image-to-image", {**flux, "image_url": things["upload"]}, 400),
        "picture": ("/api/flux/image-to-image", {**flux, "image_urls": [things["picture"]]}, 400),
    }


@pytest.mark.parametrize("named", ["marks", "favourite", "feedback", "export", "upload", "picture"])
def test_what_is_alices_cannot_be_named_by_bob_in_a_body(things, bob, named):
    path, asked, status = by_body(things)[named]
    client = Client()
    client.force_login(bob)
    client.get("/api/credits")  # His account is made.
    before = rows(), files()

    answer = client.post(path, asked, content_type="application/json")

    assert answer.status_code == status
    assert (rows(), files()) == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/unified-history?member=alice", 403),
        ("/api/unified-history?member=all", 403),
        ("/studio/cards?ids={task_id}", 200),
        ("/studio/cards?task={task_id}", 200),
        ("/?from={task_id}", 200),
        ("/?retry={task_id}", 200),
        ("/?preset={preset_id}", 200),
        ("/?reference={picture_id}", 200),
        ("/history?member=alice", 200),
        ("/history?text=lighthouse", 200),
        ("/studio/prompts", 200),
        ("/studio/pictures", 200),
        ("/credits", 200),
    ],
)
def test_what_is_alices_cannot_be_asked_for_by_bob_in_a_query(things, bob, path, status):
    client = Client()
    client.force_login(bob)

    answer = client.get(path.format(**things))

    assert answer.status_code in (status, 404)
    assert PROMPT not in body(answer).replace("&#x27;", "'")
    assert things["picture_id"] not in body(answer).replace(path.format(**things), "")


# ---------------------------------------------------------------- another site
def test_no_address_changes_anything_for_a_page_of_another_site(things, staff):
    """All of them, with the session of an administrator and without a CSRF token."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(staff)
    before = rows()
    strange = {}
    for each in ALL:
        path = each.path(**dict.fromkeys(each.parameters, "1") | things)
        for method in METHODS[1:] if each.route.startswith("api/") else ("post", "delete"):
            answer = ask(client, method, path)
            is_refused = answer.status_code in (
                (401, 403, 404, 405) if each.name in WITHOUT_SESSION else (403,)
            )
            if not is_refused:
                strange[f"{method} {path}"] = answer.status_code

    assert strange == {}
    assert rows() == before


def test_no_address_changes_anything_by_being_read(things, alice):
    """So that a link, or a picture in a page, can do no harm."""
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    reading = [each for each in ALL if each.name != "generation:events"]
    client.get("/api/credits")
    before = rows()
    for each in reading:
        body(ask(client, "get", each.path(**dict.fromkeys(each.parameters, "1") | things)))

    after = rows()
    # Watching a task, and asking for an export, wake those who work on them; who knocks at the
    # doors of staff is written down.
    noted = {"django_q.OrmQ", "generation.SweepLease", "fluxsite.AuditEntry"}
    assert {name for name in after if after[name] != before[name]} <= noted


# ---------------------------------------------------------------- every method
@pytest.mark.parametrize("method", ["options", "head", "put", "patch", "trace"])
def test_no_address_breaks_by_a_method_few_use(things, staff, method):
    client = Client(raise_request_exception=False)
    client.force_login(staff)
    broken = {}
    for each in ALL:
        path = each.path(**dict.fromkeys(each.parameters, "1") | things)
        answer = getattr(client, method)(path)
        if answer.status_code >= 500 and each.name != "readyz":
            broken[path] = answer.status_code
        for close in answer._resource_closers:
            close()

    assert broken == {}
