"""Testing the connection from the admin: free, told apart, and the key stays in."""

from __future__ import annotations

import re
import socket
import time

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.utils import timezone

from generation import channel
from generation.models import FluxConfig, FluxTask
from generation.providers import fal
from generation.tests import strangers

URL = "/admin/generation/fluxconfig/default/test/"
PAGE = "/admin/generation/fluxconfig/default/change/"


@pytest.fixture
def configure(db):
    """Return a function that saves an address and a key."""

    def save(base_url, key="key-id:key-secret", **changes):
        config = channel.load_config()
        config.base_url = base_url
        config.set_api_key(key)
        for name, value in changes.items():
            setattr(config, name, value)
        config.save()

    return save


@pytest.fixture
def press(client, staff):
    client.force_login(staff)

    def click():
        answer = client.post(URL)
        assert (answer.status_code, answer["Location"]) == (302, PAGE)
        (message,) = get_messages(answer.wsgi_request)
        page = client.get(PAGE).content.decode()
        assert "key-secret" not in page + str(message)
        return message.level_tag, str(message)

    return click


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_good_key_is_told_and_nothing_is_ordered(press, configure, sandbox):
    configure(sandbox.url)

    level, text = press()

    assert level == "success"
    assert "accepts the key" in text
    assert [(r.method, r.stage) for r in sandbox.requests] == [("GET", "status")]
    assert (sandbox.jobs, FluxTask.objects.count()) == ({}, 0)


@pytest.mark.parametrize(
    ("fault", "level", "words"),
    [
        ({"kind": "status_401"}, "error", "refuses the key"),
        ({"kind": "status_403", "body": {"detail": "Forbidden"}}, "error", "refuses the key"),
        ({"kind": "status_403"}, "error", "the account is locked"),
        ({"kind": "status_429"}, "warning", "no time to say more"),
        ({"kind": "status_503"}, "warning", "no time to say more"),
        ({"kind": "reset"}, "error", "Nothing answered"),
        ({"kind": "non_json"}, "error", "not as fal does"),
        ({"kind": "wrong_shape"}, "error", "not as fal does"),
        ({"kind": "redirect"}, "error", "not as fal does"),
        ({"kind": "status_404"}, "error", "not as fal does"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_every_other_answer_says_what_to_do(press, configure, sandbox, fault, level, words):
    configure(sandbox.url)
    sandbox.add_fault(on="status", **fault)

    answered, text = press()

    assert answered == level
    assert words in text
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "http://no-such-host.invalid"])
def test_where_nobody_is_nothing_answers(press, configure, address):
    configure(address.format(port=closed_port()))

    level, text = press()

    assert level == "error"
    assert "Nothing answered at this address" in text


def test_a_server_of_another_protocol_is_a_stranger(press, configure):
    with strangers.Stranger(lambda _path: b"SSH-2.0-OpenSSH_9.2\r\nContent-Length: 0\r\n") as other:
        configure(other.url(""))

        level, text = press()

    assert level == "error"
    assert "not as fal does" in text


def test_a_reply_without_end_is_cut(press, configure, monkeypatch):
    monkeypatch.setattr(fal, "MAX_REPLY_BYTES", 1000)
    with strangers.Stranger(lambda _path: strangers.ok(b"x" * 100_000)) as other:
        configure(other.url(""))

        assert "not as fal does" in press()[1]


def test_headers_that_drip_hold_nobody_up():
    def drip(_path):
        return [b"HTTP/1.1 200 OK\r\n", *(piece for n in range(40) for piece in (0.1, b"a: b\r\n"))]

    with strangers.Stranger(drip) as other:
        client = fal.FalClient(fal.Connection(base_url=other.url(""), api_key="a:b"))
        began = time.monotonic()
        trial = client.try_out(seconds=0.3)

    assert trial.verdict in ("unreachable", "stranger")
    # Not after the four seconds that all of it takes.
    assert time.monotonic() - began < 3


def test_without_a_key_the_sandbox_is_tested(press, drawing):
    assert press() == (
        "success",
        "The built-in sandbox answers. There is no key of a provider to test.",
    )


def test_without_key_and_sandbox_there_is_nothing_to_test(press, db):
    level, text = press()

    assert level == "error"
    assert "enter one, save" in text


def test_a_key_that_cannot_be_decrypted_is_to_be_entered_again(press, configure):
    configure("http://127.0.0.1:9")
    FluxConfig.objects.update(api_key="not encrypted by us")

    assert "enter it again" in press()[1]


def test_a_pause_after_a_refusal_is_not_ended_by_a_test_and_is_told(press, configure, sandbox):
    configure(sandbox.url, refused_at=timezone.now(), refusal_code="account_locked")

    assert "Sending is still paused" in press()[1]
    assert FluxConfig.objects.get().refused_at is not None


def test_the_button_is_on_the_page_as_a_form_of_its_own(client, staff):
    client.force_login(staff)

    page = client.get(PAGE).content.decode()

    assert re.search(rf'<form method="post" action="{URL}"', page)
    assert "Test the connection" in page


def test_only_who_may_change_the_configuration_tests_it(client, configure, sandbox):
    configure(sandbox.url)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_fluxconfig"))
    client.force_login(viewer)

    assert client.post(URL).status_code == 403
    assert "Test the connection" not in client.get(PAGE).content.decode()
    assert sandbox.requests == []


def test_looking_at_the_address_tests_nothing(client, staff, configure, sandbox):
    configure(sandbox.url)
    client.force_login(staff)

    assert client.get(URL).status_code == 405
    assert sandbox.requests == []
