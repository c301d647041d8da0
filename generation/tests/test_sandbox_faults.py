"""Every fault the sandbox can be told to show, seen from outside."""

from __future__ import annotations

import io
import threading
import time

import pytest
import requests
from PIL import Image

from generation.sandbox import faults
from generation.sandbox.server import SandboxServer

AUTH = {"Authorization": "Key id:secret"}
DEV = "/fal-ai/flux-1/dev"


@pytest.fixture(scope="module")
def running():
    with SandboxServer(generation_seconds=0.0, queue_seconds=0.0) as server:
        yield server


@pytest.fixture
def server(running):
    running.reset()
    return running


@pytest.fixture
def http():
    with requests.Session() as session:
        session.headers.update(AUTH)
        yield session


def submit(http, server, prompt="x", **body):
    body = {"prompt": prompt, "image_size": "square", **body}
    return http.post(server.url + DEV, json=body)


def result(http, server, prompt="x", **body):
    return http.get(submit(http, server, prompt, **body).json()["response_url"])


def download(http, server, prompt="x"):
    return requests.get(result(http, server, prompt).json()["images"][0]["url"])


# -- rules -------------------------------------------------------------------------------


def test_a_rule_strikes_as_often_as_it_says_after_as_many_as_it_says(http, server):
    rule = server.add_fault(kind="status_500", on="submit", after=1, times=2)

    statuses = [submit(http, server).status_code for _ in range(5)]

    assert statuses == [200, 500, 500, 200, 200]
    assert (rule.matched, rule.struck) == (5, 2)
    assert len(server.jobs) == 3


def test_a_rule_strikes_only_the_stage_path_and_prompt_it_names(http, server):
    server.add_fault(kind="status_500", on="status", path=r"flux-1/requests", prompt="unlucky")
    lucky, unlucky = submit(http, server, "lucky charm"), submit(http, server, "an unlucky day")

    statuses = [http.get(reply.json()["status_url"]).status_code for reply in (lucky, unlucky)]

    assert statuses == [200, 500]


def test_a_rule_without_a_stage_strikes_every_stage(http, server):
    reply = submit(http, server).json()
    server.add_fault(kind="status_401")

    calls = [
        http.post(server.url + DEV, json={}),
        http.get(reply["status_url"]),
        http.get(reply["response_url"]),
        http.put(reply["cancel_url"]),
    ]

    assert [call.status_code for call in calls] == [401] * 4


def test_cleared_rules_strike_no_more(http, server):
    server.add_fault(kind="status_500")
    server.clear_faults()
    assert submit(http, server).status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "no_such_kind"},
        {"kind": "status_9999"},
        {"kind": "status_500", "on": "lunch"},
        {"kind": "delay", "minutes": 3},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(server, rule):
    with pytest.raises(ValueError, match=r"known|must be one of|has no parameter"):
        server.add_fault(**rule)
    over_http = requests.post(server.url + "/_sandbox/faults", json=rule)
    assert over_http.status_code == 422
    assert server.fault_book.rules() == []


def test_rules_are_added_listed_and_removed_over_http(http, server):
    address = server.url + "/_sandbox/faults"

    added = requests.post(address, json={"kind": "delay", "on": "status", "seconds": 2})
    listed = requests.get(address).json()

    assert added.status_code == 201
    assert [(rule["kind"], rule["on"], rule["parameters"]) for rule in listed["faults"]] == [
        ("delay", "status", {"seconds": 2})
    ]
    assert listed["kinds"] == faults.kinds()
    assert requests.delete(address).status_code == 204
    assert requests.get(address).json()["faults"] == []


def test_every_kind_is_in_the_table_of_the_docstring():
    assert [kind for kind in faults.kinds() if f"\n{kind} " not in faults.__doc__] == []


def test_a_prompt_may_carry_its_own_fault(http, server):
    refused = result(http, server, "a cat #fault:content_policy")
    fine = result(http, server, "a cat")

    assert (refused.status_code, fine.status_code) == (422, 200)


def test_a_fault_in_a_prompt_may_name_its_stage_and_parameter(http, server):
    throttled = submit(http, server, "#fault:status_429=7")
    later = submit(http, server, "#fault:status_503@result").json()

    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "7")
    assert http.get(later["status_url"]).status_code == 200
    assert http.get(later["response_url"]).status_code == 503


def test_a_misspelt_fault_in_a_prompt_is_only_prose(http, server):
    assert result(http, server, "#fault:hiccup #fault:status_500@lunch").status_code == 200


# -- answers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (401, "No user found for Key ID and Secret"),
        (
            403,
            (
                "User is locked. Reason: Exhausted balance. "
                "Top up your balance at fal.ai/dashboard/billing."
            ),
        ),
        (404, "Application not found"),
        (429, "Too many requests. Please retry later."),
        (500, "Internal Server Error"),
        (503, "Service temporarily unavailable"),
    ],
)
def test_a_status_comes_with_the_vendors_words_and_nothing_is_accepted(
    http, server, status, detail
):
    server.add_fault(kind=f"status_{status}", on="submit")

    reply = submit(http, server)

    assert (reply.status_code, reply.json()) == (status, {"detail": detail})
    assert "x-fal-request-id" in reply.headers
    assert server.jobs == {}


def test_a_502_is_nginx_and_knows_no_request_id(http, server):
    server.add_fault(kind="status_502")

    reply = submit(http, server)

    assert "<center>nginx</center>" in reply.text
    assert "x-fal-request-id" not in reply.headers


def test_a_503_may_come_from_something_in_between(http, server):
    server.add_fault(kind="status_503", request_id=False)
    assert "x-fal-request-id" not in submit(http, server).headers


def test_a_status_may_bring_a_body_and_headers_of_ones_own(http, server):
    server.add_fault(kind="status_418", body={"tea": True}, headers={"X-Pot": "short"})

    reply = submit(http, server)

    assert (reply.status_code, reply.json(), reply.headers["X-Pot"]) == (
        418,
        {"tea": True},
        "short",
    )


def test_a_reset_leaves_nothing_behind(http, server):
    server.add_fault(kind="reset", on="submit", times=1)

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        submit(http, server)

    assert server.jobs == {}
    assert [(entry.request_id, entry.answered) for entry in server.requests] == [(None, None)]


def test_a_dropped_answer_leaves_an_accepted_job_behind(http, server):
    server.add_fault(kind="drop_after_accept", times=1)

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        submit(http, server)

    assert len(server.jobs) == 1
    assert server.requests[0].request_id in server.jobs


def test_a_delayed_answer_outlasts_an_impatient_caller_and_is_still_accepted(server):
    server.add_fault(kind="delay", seconds=0.6)

    with pytest.raises(requests.ReadTimeout):
        requests.post(server.url + DEV, json={}, headers=AUTH, timeout=0.2)

    assert len(server.jobs) == 1


def test_a_held_answer_comes_when_it_is_released(server):
    server.add_fault(kind="hold", on="submit")
    replies = []
    caller = threading.Thread(
        target=lambda: replies.append(requests.post(server.url + DEV, json={}, headers=AUTH))
    )
    caller.start()
    while server.held == 0:
        time.sleep(0.002)

    before = (len(replies), len(server.jobs))
    assert requests.post(server.url + "/_sandbox/release").status_code == 204
    caller.join(timeout=5)

    assert before == (0, 1)
    assert replies[0].json()["request_id"] in server.jobs


def test_stopping_the_server_lets_held_callers_go():
    server = SandboxServer()
    server.start()
    server.add_fault(kind="hold")
    caller = threading.Thread(target=lambda: _ignore(server.url))
    caller.start()
    while server.held == 0:
        time.sleep(0.002)

    server.stop()
    caller.join(timeout=5)

    assert not caller.is_alive()


def _ignore(url):
    try:
        requests.post(url + DEV, json={}, headers=AUTH, timeout=5)
    except requests.ConnectionError:
        return


def test_an_answer_may_be_no_json(http, server):
    server.add_fault(kind="non_json")
    reply = submit(http, server)
    assert (reply.status_code, reply.text) == (200, "Thank you, all is well.")


@pytest.mark.parametrize(("given", "body"), [({}, []), ({"body": {"ok": 1}}, {"ok": 1})])
def test_an_answer_may_be_json_of_another_shape(http, server, given, body):
    server.add_fault(kind="wrong_shape", **given)
    assert submit(http, server).json() == body


def test_an_answer_may_be_a_redirect(http, server):
    server.add_fault(kind="redirect", to="http://192.0.2.1/trap")

    reply = http.post(server.url + DEV, json={}, allow_redirects=False)

    assert (reply.status_code, reply.headers["Location"]) == (307, "http://192.0.2.1/trap")


# -- jobs --------------------------------------------------------------------------------


def test_a_job_may_never_complete(http, server):
    server.add_fault(kind="never_completes")
    status = http.get(submit(http, server).json()["status_url"])
    assert (status.status_code, status.json()["status"]) == (202, "IN_PROGRESS")


def test_a_job_may_complete_with_an_error(http, server):
    server.add_fault(
        kind="completed_with_error", error="Timed out", error_type="generation_timeout", status=504
    )
    reply = submit(http, server).json()

    status, outcome = http.get(reply["status_url"]), http.get(reply["response_url"])

    document = status.json()
    assert (document["status"], document["error"]) == ("COMPLETED", "Timed out")
    assert document["error_type"] == "generation_timeout"
    assert (outcome.status_code, outcome.headers["X-Fal-Error-Type"]) == (504, "generation_timeout")


@pytest.mark.parametrize(
    ("kind", "status", "detail"),
    [
        ("model_crash", 500, "Internal Server Error"),
        ("wrong_path", 404, "Path /dev not found"),
    ],
)
def test_a_job_may_complete_in_silence_and_fail_at_the_result(http, server, kind, status, detail):
    server.add_fault(kind=kind)
    reply = submit(http, server).json()

    assert "error" not in http.get(reply["status_url"]).json()
    outcome = http.get(reply["response_url"])
    assert (outcome.status_code, outcome.json()) == (status, {"detail": detail})


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("content_policy", "content_policy_violation"),
        ("file_download_error", "file_download_error"),
        ("image_load_error", "image_load_error"),
    ],
)
def test_a_job_may_be_refused_and_stays_refused(http, server, kind, error_type):
    server.add_fault(kind=kind, times=1)
    reply = submit(http, server, "a secret wish").json()

    outcomes = [http.get(reply["response_url"]) for _ in range(2)]

    for outcome in outcomes:
        assert outcome.status_code == 422
        assert outcome.json()["detail"][0]["type"] == error_type
    assert result(http, server).status_code == 200


def test_unsafe_pictures_are_flagged_and_black(http, server):
    server.add_fault(kind="nsfw_black", times=1)
    server.add_fault(kind="nsfw_first", prompt="half")

    whole = result(http, server, num_images=2).json()
    half = result(http, server, "half", num_images=2).json()

    assert whole["has_nsfw_concepts"] == [True, True]
    assert half["has_nsfw_concepts"] == [True, False]
    blackness = []
    for image in [*whole["images"], *half["images"]]:
        opened = Image.open(io.BytesIO(requests.get(image["url"]).content))
        blackness.append(opened.convert("L").getextrema()[1] == 0)
    assert blackness == [True, True, True, False]


def test_pictures_may_be_black_without_being_flagged(http, server):
    server.add_fault(kind="plain_black")

    answer = result(http, server).json()

    picture = Image.open(io.BytesIO(requests.get(answer["images"][0]["url"]).content))
    assert answer["has_nsfw_concepts"] == [False]
    assert picture.convert("L").getextrema() == (0, 0)


def test_files_may_have_moved_until_the_result_is_asked_for_again(http, server):
    server.add_fault(kind="moved_files", times=1)
    reply = submit(http, server).json()

    first, second, third = (
        http.get(reply["response_url"]).json()["images"][0]["url"] for _ in range(3)
    )

    assert requests.get(first).status_code == 404
    assert requests.get(second).status_code == 200
    assert requests.get(third).status_code == 200


def test_a_result_may_hold_no_pictures(http, server):
    server.add_fault(kind="no_images")
    outcome = result(http, server)
    assert (outcome.json()["images"], outcome.headers["x-fal-billable-units"]) == ([], "0")


def test_a_seed_may_need_64_bits(http, server):
    server.add_fault(kind="huge_seed")
    assert result(http, server, seed=1).json()["seed"] == 17454220438242315174


def test_optional_members_may_be_missing_everywhere(http, server):
    server.add_fault(kind="missing_members")

    reply = submit(http, server).json()
    address = f"{server.url}/fal-ai/flux-1/requests/{reply['request_id']}"

    assert list(reply) == ["request_id"]
    assert http.get(f"{address}/status").json() == {"status": "COMPLETED"}
    document = http.get(address).json()
    assert [list(image) for image in document["images"]] == [["url"]]
    assert document["timings"] == {}


def test_a_status_may_be_a_word_nobody_knows(http):
    with SandboxServer(generation_seconds=60) as server:
        server.add_fault(kind="unknown_status", word="FAILED")
        status = http.get(submit(http, server).json()["status_url"])

    assert (status.status_code, status.json()["status"]) == (202, "FAILED")


def test_an_unknown_word_may_stand_for_completed_too(http, server):
    server.add_fault(kind="unknown_status", prompt="ever", forever=True)
    server.add_fault(kind="unknown_status", prompt="once")

    words = [
        http.get(submit(http, server, prompt).json()["status_url"]).json()["status"]
        for prompt in ("ever", "once")
    ]

    assert words == ["PAUSED", "COMPLETED"]


@pytest.mark.parametrize(
    ("where", "addresses", "images"),
    [("both", True, True), ("urls", True, False), ("images", False, True)],
)
def test_returned_addresses_may_name_a_foreign_host(http, server, where, addresses, images):
    server.add_fault(kind="foreign_host", host="evil.example", where=where)

    reply = submit(http, server).json()
    address = f"{server.url}/fal-ai/flux-1/requests/{reply['request_id']}"
    image = http.get(address).json()["images"][0]["url"]

    assert reply["status_url"].startswith("https://evil.example/") is addresses
    assert image.startswith("https://evil.example/files/") is images


def test_a_cancel_may_be_ignored_or_come_too_late(http):
    with SandboxServer(generation_seconds=60) as server:
        server.add_fault(kind="ignores_cancel", times=1)
        server.add_fault(kind="late_cancel", prompt="late")
        ignored, late = submit(http, server, "x").json(), submit(http, server, "late").json()

        answers = [http.put(reply["cancel_url"]).status_code for reply in (ignored, late)]
        states = [http.get(reply["status_url"]).json()["status"] for reply in (ignored, late)]

    assert answers == [202, 400]
    assert "COMPLETED" not in states


# -- files -------------------------------------------------------------------------------


def test_a_file_may_have_expired(http, server):
    server.add_fault(kind="expired_file")
    assert download(http, server).status_code == 404


def test_a_file_fault_strikes_once_and_the_next_download_is_whole(http, server):
    server.add_fault(kind="truncated_download", times=1)
    image = result(http, server).json()["images"][0]

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        requests.get(image["url"])

    assert len(requests.get(image["url"]).content) == image["file_size"]


def test_a_download_may_drip(http, server):
    server.add_fault(kind="drip_download", seconds=0.001, bytes=4096)
    image = result(http, server).json()["images"][0]

    with requests.get(image["url"], stream=True) as reply:
        data = b"".join(reply.iter_content(None))

    assert len(data) == image["file_size"]
    assert Image.open(io.BytesIO(data)).size == (512, 512)


def test_a_file_may_be_a_page(http, server):
    server.add_fault(kind="html_instead_of_image")
    reply = download(http, server)
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert reply.text.startswith("<!doctype html>")


def test_a_file_may_be_far_too_large(http, server):
    server.add_fault(kind="oversized_file", bytes=3_000_000)
    reply = download(http, server)
    assert len(reply.content) == int(reply.headers["Content-Length"]) == 3_000_000


def test_a_file_far_too_large_may_keep_its_length_to_itself(http, server):
    server.add_fault(kind="oversized_file", bytes=3_000_000, told=False)
    reply = download(http, server)
    assert "Content-Length" not in reply.headers
    assert len(reply.content) == 3_000_000


def test_a_download_may_drip_for_ever(http, server):
    server.add_fault(kind="endless_drip", seconds=0.001, bytes=2)
    image = result(http, server).json()["images"][0]

    with requests.get(image["url"], stream=True) as reply:
        pieces = [reply.raw.read(1) for _ in range(50)]

    assert "Content-Length" not in reply.headers
    assert pieces == [b"\xff"] * 50


def test_a_file_may_come_packed(http, server):
    server.add_fault(kind="gzipped_file")
    reply = download(http, server)
    assert reply.headers["Content-Encoding"] == "gzip"
    assert Image.open(io.BytesIO(reply.content)).size == (512, 512)


def test_a_packed_file_may_be_a_bomb(http, server):
    server.add_fault(kind="gzip_bomb", bytes=20_000_001)
    reply = download(http, server)
    assert int(reply.headers["Content-Length"]) < 30_000
    assert len(reply.content) == 20_000_001


def test_a_download_may_be_redirected(http, server):
    image = result(http, server).json()["images"][0]
    server.add_fault(kind="redirect", on="file", to=image["url"], status=302, times=1)

    reply = requests.get(image["url"])

    assert [step.status_code for step in reply.history] == [302]
    assert len(reply.content) == image["file_size"]


def test_a_file_may_be_a_decompression_bomb(http, server, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000 * 10_000)
    server.add_fault(kind="bomb_file", side=20_000)

    data = download(http, server).content

    assert len(data) < 100_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_a_file_fault_in_the_prompt_strikes_that_jobs_files(http, server):
    assert download(http, server, "x #fault:expired_file").status_code == 404
    assert download(http, server, "x").status_code == 200


def test_an_answer_fault_can_strike_downloads(http, server):
    server.add_fault(kind="status_503", on="file", times=1)
    url = result(http, server).json()["images"][0]["url"]
    assert [requests.get(url).status_code for _ in range(2)] == [503, 200]
