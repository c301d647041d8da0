"""The client against the sandbox, with everything that can go wrong on the way."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from generation.providers import fal, side_by_side
from generation.providers.base import (
    Cancelled,
    OperatorNeeded,
    OutcomeUnknown,
    Progress,
    Refused,
    RequestNotFound,
    Result,
    Submitted,
    Throttled,
    Unavailable,
)

SCHNELL = "fal-ai/flux-1/schnell"
MULTI = "fal-ai/flux-pro/kontext/max/multi"


@pytest.fixture
def client(sandbox):
    client = fal.FalClient(fal.Connection(base_url=sandbox.url, api_key="a:b"))
    yield client
    client.close()


def finish(client, request_id, endpoint=SCHNELL):
    """Poll until completed and return the states seen."""
    states = []
    while not states or states[-1] != "completed":
        states.append(client.poll(endpoint=endpoint, request_id=request_id).state)
    return states


def submit(client, endpoint=SCHNELL, **payload):
    return client.submit(endpoint=endpoint, payload={"prompt": "a cat", **payload}).request_id


def test_a_request_goes_through_the_queue_to_pictures(client):
    request_id = submit(client, num_images=2, seed=7)

    assert finish(client, request_id)[0] in ("queued", "running")
    result = client.result(endpoint=SCHNELL, request_id=request_id)

    assert [(p.width, p.height) for p in result.pictures] == [(1024, 768), (1024, 768)]
    assert result.seed == "7"
    assert result.billable_units == "2"


def test_addresses_after_the_submit_name_owner_and_app_only(client, sandbox):
    image = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    request_id = submit(client, MULTI, image_urls=[image, image])
    client.poll(endpoint=MULTI, request_id=request_id)

    paths = [request.path for request in sandbox.requests]
    assert paths == [f"/{MULTI}", f"/fal-ai/flux-pro/requests/{request_id}/status"]


def test_the_key_travels_in_the_configured_scheme(sandbox):
    for scheme in ("Key", "Bearer"):
        connection = fal.Connection(base_url=sandbox.url, api_key="a:b", auth_scheme=scheme)
        submit(fal.FalClient(connection))

    seen = [request.headers["Authorization"] for request in sandbox.requests]
    assert seen == ["Key ***", "Bearer ***"]


def test_a_base_url_may_carry_a_path_and_a_slash(sandbox):
    client = fal.FalClient(fal.Connection(base_url=f"{sandbox.url}/relay/", api_key="a:b"))

    with pytest.raises(Refused):
        submit(client)

    assert sandbox.requests[-1].path == f"/relay/{SCHNELL}"


def test_the_host_a_reply_names_is_never_called(client, sandbox):
    sandbox.add_fault(kind="foreign_host", host="127.0.0.1:9", where="urls")
    request_id = submit(client)

    assert finish(client, request_id)[-1] == "completed"


def test_the_key_does_not_show_in_the_connections_text():
    connection = fal.Connection(base_url="https://queue.fal.run", api_key="secret")

    assert "secret" not in repr(connection)


# ---------------------------------------------------------------- submit
@pytest.mark.parametrize(
    ("fault", "failure", "code"),
    [
        ({"kind": "status_401"}, OperatorNeeded, "provider_refused_key"),
        ({"kind": "status_402"}, OperatorNeeded, "account_locked"),
        ({"kind": "status_403"}, OperatorNeeded, "account_locked"),
        ({"kind": "status_404"}, Refused, "unknown_model"),
        ({"kind": "status_405"}, Refused, "unknown_model"),
        ({"kind": "status_422"}, Refused, "invalid_input"),
        ({"kind": "status_429"}, Throttled, "provider_unavailable"),
        ({"kind": "status_500"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "status_502"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "status_503"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "reset"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "drop_after_accept"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "non_json"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "wrong_shape"}, OutcomeUnknown, "submit_unknown"),
        ({"kind": "redirect"}, OutcomeUnknown, "submit_unknown"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_a_submit_that_goes_wrong_is_named_and_never_repeated(
    client, sandbox, fault, failure, code
):
    sandbox.add_fault(on="submit", **fault)

    with pytest.raises(failure) as caught:
        submit(client)

    assert type(caught.value) is failure
    assert caught.value.code == code
    assert [request.method for request in sandbox.requests] == ["POST"]


def test_a_server_that_is_not_there_was_certainly_not_reached():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = fal.FalClient(fal.Connection(base_url=address, api_key="a:b"))

        with pytest.raises(Unavailable):
            submit(client)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("queue.fal.run", "a:b"),
        ("http://host:99999999", "a:b"),
        ("http://127.0.0.1:9", "钥匙"),
        ("http://127.0.0.1:9", "a\nb"),
    ],
)
def test_an_address_or_key_that_cannot_be_is_certainly_not_sent(address, key):
    with pytest.raises(Unavailable):
        submit(fal.FalClient(fal.Connection(base_url=address, api_key=key)))


def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown(
    client, sandbox, monkeypatch
):
    monkeypatch.setattr(fal, "SUBMIT_SECONDS", 0.2)
    sandbox.add_fault(kind="hold", on="submit")

    with pytest.raises(OutcomeUnknown):
        submit(client)
    sandbox.release()

    assert len(sandbox.jobs) == 1


def test_the_wait_a_throttle_asks_for_is_capped(client, sandbox):
    sandbox.add_fault(kind="status_429", on="submit", retry_after=86400)

    with pytest.raises(Unavailable) as caught:
        submit(client)

    assert caught.value.retry_after == 300


@pytest.fixture
def cut_off_by_tls(tmp_path, monkeypatch):
    """A server we trust that reads a request and drops the connection without a goodbye."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ours = tmp_path / "key.pem"
    ours.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours)
    received = []

    def serve(listener):
        plain, _address = listener.accept()
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(plain, server_side=True) as secure,
        ):
            received.append(secure.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        monkeypatch.setattr(fal.certifi, "where", lambda: str(ours))
        yield f"https://localhost:{listener.getsockname()[1]}", received
        thread.join(10)


def test_a_connection_cut_off_under_tls_leaves_the_outcome_unknown(cut_off_by_tls):
    address, received = cut_off_by_tls
    client = fal.FalClient(fal.Connection(base_url=address, api_key="a:b"))

    with pytest.raises(OutcomeUnknown):
        submit(client)

    assert received[0].startswith(b"POST /fal-ai/flux-1/schnell")


def test_nothing_is_said_to_a_server_whose_certificate_is_not_trusted(cut_off_by_tls, monkeypatch):
    address, received = cut_off_by_tls
    monkeypatch.undo()
    client = fal.FalClient(fal.Connection(base_url=address, api_key="a:b"))

    with pytest.raises(Unavailable):
        submit(client)

    assert received in ([], [b""])


def test_polls_share_a_connection(client, sandbox):
    request_id = submit(client)
    before = sandbox.connections

    for _poll in range(5):
        client.poll(endpoint=SCHNELL, request_id=request_id)

    assert sandbox.connections - before == 1


def test_a_kept_connection_that_the_server_closed_is_made_anew(client, sandbox):
    request_id = submit(client)
    client.poll(endpoint=SCHNELL, request_id=request_id)
    sandbox.drop_connections()

    assert client.poll(endpoint=SCHNELL, request_id=request_id).state in (
        "queued",
        "running",
        "completed",
    )


def test_two_submits_do_not_share_a_connection_that_may_have_been_closed(client, sandbox):
    assert submit(client) != submit(client)
    assert len(sandbox.jobs) == 2


# ---------------------------------------------------------------- poll
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status_429"},
        {"kind": "status_500"},
        {"kind": "status_502"},
        {"kind": "status_503"},
        {"kind": "reset"},
        {"kind": "non_json"},
        {"kind": "wrong_shape"},
        {"kind": "redirect"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_failed_poll_says_nothing_about_the_task(client, sandbox, fault):
    request_id = submit(client)
    sandbox.add_fault(on="status", **fault)

    with pytest.raises(Unavailable):
        client.poll(endpoint=SCHNELL, request_id=request_id)


def test_an_unknown_state_word_is_no_state(client, sandbox):
    sandbox.add_fault(kind="unknown_status", forever=True)
    request_id = submit(client)

    with pytest.raises(Unavailable):
        client.poll(endpoint=SCHNELL, request_id=request_id)


def test_optional_members_may_be_missing(client, sandbox):
    sandbox.add_fault(kind="missing_members")
    request_id = submit(client)
    finish(client, request_id)

    (picture,) = client.result(endpoint=SCHNELL, request_id=request_id).pictures

    assert (picture.width, picture.content_type, picture.is_nsfw) == (None, "", False)


def test_a_request_fal_does_not_know_is_told_apart(client):
    with pytest.raises(RequestNotFound):
        client.poll(endpoint=SCHNELL, request_id="00000000-0000-0000-0000-000000000000")
    with pytest.raises(RequestNotFound):
        client.result(endpoint=SCHNELL, request_id="unknown-to-them")


def test_a_refused_key_while_polling_is_the_operators(client, sandbox):
    request_id = submit(client)
    sandbox.add_fault(kind="status_401", on="status")

    with pytest.raises(OperatorNeeded):
        client.poll(endpoint=SCHNELL, request_id=request_id)


# ---------------------------------------------------------------- result
@pytest.mark.parametrize(
    ("fault", "failure", "code"),
    [
        ({"kind": "content_policy"}, Refused, "content_policy"),
        ({"kind": "file_download_error"}, Refused, "input_image_unreachable"),
        ({"kind": "image_load_error"}, Refused, "bad_input_image"),
        ({"kind": "completed_with_error"}, Refused, "provider_error"),
        ({"kind": "model_crash"}, Refused, "provider_error"),
        ({"kind": "wrong_path"}, Refused, "unknown_model"),
        ({"kind": "no_images"}, Refused, "no_media_generated"),
        ({"kind": "status_502", "on": "result"}, Unavailable, "provider_unavailable"),
        ({"kind": "non_json", "on": "result"}, Unavailable, "provider_unavailable"),
        ({"kind": "wrong_shape", "on": "result"}, Refused, "no_media_generated"),
        ({"kind": "reset", "on": "result"}, Unavailable, "provider_unavailable"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_the_result_decides_what_completed_means(client, sandbox, fault, failure, code):
    sandbox.add_fault(**fault)
    request_id = submit(client)
    finish(client, request_id)

    with pytest.raises(failure) as caught:
        client.result(endpoint=SCHNELL, request_id=request_id)

    assert type(caught.value) is failure
    assert caught.value.code == code


def test_a_result_that_is_not_there_yet_is_no_failure(client, sandbox):
    sandbox.add_fault(kind="never_completes")
    request_id = submit(client)

    with pytest.raises(Unavailable):
        client.result(endpoint=SCHNELL, request_id=request_id)


def test_validation_at_fal_names_the_field_but_never_the_prompt(client):
    request_id = submit(client, prompt="my secret idea", num_images=99)
    finish(client, request_id)

    with pytest.raises(Refused) as caught:
        client.result(endpoint=SCHNELL, request_id=request_id)

    assert caught.value.code == "invalid_input"
    assert "num_images" in caught.value.detail
    assert "99" not in caught.value.detail
    assert "secret" not in caught.value.detail


def test_a_seed_of_64_bits_comes_back_as_text(client, sandbox):
    sandbox.add_fault(kind="huge_seed")
    request_id = submit(client)
    finish(client, request_id)

    assert client.result(endpoint=SCHNELL, request_id=request_id).seed == "17454220438242315174"


def test_unsafe_pictures_are_marked_one_by_one(client, sandbox):
    sandbox.add_fault(kind="nsfw_first")
    request_id = submit(client, num_images=2)
    finish(client, request_id)

    result = client.result(endpoint=SCHNELL, request_id=request_id)

    assert [picture.is_nsfw for picture in result.pictures] == [True, False]


# ---------------------------------------------------------------- cancel
def test_a_cancelled_request_ends_as_cancelled(client, sandbox):
    sandbox.add_fault(kind="never_completes")
    request_id = submit(client)

    client.cancel(endpoint=SCHNELL, request_id=request_id)
    finish(client, request_id)

    with pytest.raises(Cancelled):
        client.result(endpoint=SCHNELL, request_id=request_id)


def test_cancelling_what_is_done_or_unknown_is_no_error(client):
    request_id = submit(client)
    finish(client, request_id)

    client.cancel(endpoint=SCHNELL, request_id=request_id)
    client.cancel(endpoint=SCHNELL, request_id="unknown-to-them")


def test_a_reply_of_endless_length_is_cut_off(client, sandbox, monkeypatch):
    monkeypatch.setattr(fal, "MAX_REPLY_BYTES", 10)
    request_id_is_lost = OutcomeUnknown

    with pytest.raises(request_id_is_lost):
        submit(client)


def test_a_submit_answered_properly_is_typed(client):
    submitted = client.submit(endpoint=SCHNELL, payload={"prompt": "x"})

    assert isinstance(submitted, Submitted)
    assert submitted.queue_position is not None


# ---------------------------------------------------------------- several looks at once
def look_each(client, *request_ids, endpoint=SCHNELL):
    """Return the outcomes in the order of the questions."""
    answers = dict(client.look_each([(endpoint, each) for each in request_ids]))
    return [answers[place] for place in range(len(request_ids))]


def test_several_requests_are_asked_about_side_by_side(client, sandbox):
    request_ids = [submit(client) for _request in range(8)]
    sandbox.add_fault(kind="hold", on="status", times=8)
    held = []

    def release_when_all_have_asked():
        end = time.monotonic() + 10
        while sandbox.held < 8 and time.monotonic() < end:
            time.sleep(0.01)
        held.append(sandbox.held)
        sandbox.release()

    threading.Thread(target=release_when_all_have_asked).start()

    outcomes = look_each(client, *request_ids)

    assert held == [8]
    assert {type(outcome) for outcome in outcomes} <= {Progress, Result}


def test_what_is_ready_is_fetched_and_what_was_refused_says_why(client, sandbox):
    sandbox.add_fault(kind="content_policy", prompt="refused")
    sandbox.add_fault(kind="never_completes", state="IN_PROGRESS", prompt="running")
    drawn, refused = submit(client, num_images=2, seed=7), submit(client, prompt="refused")
    running = submit(client, prompt="running")
    finish(client, drawn)
    finish(client, refused)

    outcomes = look_each(client, drawn, refused, running)

    assert (len(outcomes[0].pictures), outcomes[0].seed) == (2, "7")
    assert (type(outcomes[1]), outcomes[1].code) == (Refused, "content_policy")
    assert type(outcomes[2]) is Progress


@pytest.mark.parametrize(
    ("base_url", "api_key"),
    [("http://127.0.0.1:9", "a\nb"), ("http://127.0.0.1:9", "密"), ("http://127.0.0.1:x", "a")],
)
def test_what_no_request_can_carry_is_a_failure_of_each_look(base_url, api_key):
    client = fal.FalClient(fal.Connection(base_url=base_url, api_key=api_key))

    outcomes = look_each(client, "a", "b")

    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 2


def test_each_request_gets_its_own_answer(client, sandbox):
    sandbox.add_fault(kind="never_completes", state="IN_QUEUE", prompt="first")
    sandbox.add_fault(kind="never_completes", state="IN_PROGRESS", prompt="second")
    first, second = submit(client, prompt="first"), submit(client, prompt="second")

    outcomes = look_each(client, first, "never-heard-of", second)

    assert outcomes[0].state == "queued"
    assert type(outcomes[1]) is RequestNotFound
    assert outcomes[2].state in ("queued", "running")


def test_an_answer_comes_before_a_slower_one_that_was_asked_for_first(client, sandbox):
    slow, quick = submit(client, prompt="slow"), submit(client, prompt="quick")
    sandbox.add_fault(kind="hold", on="status", path=slow)
    answers = client.look_each([(SCHNELL, slow), (SCHNELL, quick)])

    place, _outcome = next(answers)
    sandbox.release()

    assert place == 1
    assert [place for place, _outcome in answers] == [0]


def test_an_answer_that_never_comes_is_given_up_and_the_others_count(client, sandbox, monkeypatch):
    monkeypatch.setattr(side_by_side, "ANSWER_SECONDS", 0.5)
    silent, loud = submit(client, prompt="silent"), submit(client, prompt="loud")
    sandbox.add_fault(kind="hold", on="status", path=silent)

    outcomes = look_each(client, silent, loud)

    sandbox.release()
    assert type(outcomes[0]) is Unavailable
    assert type(outcomes[1]) in (Progress, Result)


def test_kept_connections_that_the_server_closed_cost_nothing(client, sandbox):
    request_ids = [submit(client) for _request in range(3)]
    look_each(client, *request_ids)
    sandbox.drop_connections()

    outcomes = look_each(client, *request_ids)

    assert {type(outcome) for outcome in outcomes} <= {Progress, Result}


def test_a_server_that_is_not_there_is_tried_once_for_all():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = fal.FalClient(fal.Connection(base_url=address, api_key="a:b"))

        outcomes = look_each(client, "a", "b", "c")

    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3


def test_looks_side_by_side_keep_their_connections(client, sandbox):
    request_ids = [submit(client) for _request in range(4)]
    before = sandbox.connections

    for _round in range(3):
        look_each(client, *request_ids)

    # Fewer where a connection has brought its answer before the last question is asked.
    assert 1 <= sandbox.connections - before <= 4
