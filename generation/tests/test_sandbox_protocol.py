"""The sandbox's queue protocol, as a client with nothing but HTTP sees it."""

from __future__ import annotations

import base64
import io
import json
import time

import pytest
import requests
from PIL import Image

from generation.sandbox.server import SandboxServer

AUTH = {"Authorization": "Key id:secret"}
DEV = "/fal-ai/flux-1/dev"


@pytest.fixture(scope="module")
def running():
    with SandboxServer(generation_seconds=0.02, queue_seconds=0.0) as server:
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


def submit(http, server, path=DEV, **body):
    return http.post(server.url + path, json=body).json()


def wait(http, reply):
    while (status := http.get(reply["status_url"])).status_code == 202:
        time.sleep(0.005)
    return status


def result(http, server, path=DEV, **body):
    reply = submit(http, server, path, **body)
    wait(http, reply)
    return http.get(reply["response_url"])


def picture(size=(300, 200), colour="crimson", file_format="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, file_format)
    return buffer.getvalue()


def data_uri(data=None):
    return "data:image/png;base64," + base64.b64encode(data or picture()).decode()


# -- submit ------------------------------------------------------------------------------


def test_a_submit_answers_with_an_id_and_addresses_of_owner_and_app(http, server):
    reply = submit(http, server, "/fal-ai/flux-1/dev/image-to-image", prompt="x")

    base = f"{server.url}/fal-ai/flux-1/requests/{reply['request_id']}"
    assert reply == {
        "request_id": reply["request_id"],
        "status": "IN_QUEUE",
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "queue_position": 0,
    }
    assert list(server.jobs) == [reply["request_id"]]


@pytest.mark.parametrize("header", ["Key a:b", "Bearer abc"])
def test_key_and_bearer_are_accepted(server, header):
    reply = requests.post(server.url + DEV, json={}, headers={"Authorization": header})
    assert reply.status_code == 200


@pytest.mark.parametrize("header", [None, "", "Key ", "Bearer", "Basic abc", "abc"])
def test_without_credentials_nothing_is_accepted(server, header):
    headers = {} if header is None else {"Authorization": header}

    reply = requests.post(server.url + DEV, json={"prompt": "x"}, headers=headers)

    assert reply.status_code == 401
    assert "Authentication is required" in reply.json()["detail"]
    assert server.jobs == {}


def test_an_unknown_app_is_not_found(http, server):
    reply = http.post(server.url + "/fal-ai/no-such-app/dev", json={})

    assert reply.status_code == 404
    assert reply.json() == {"detail": "Application 'fal-ai/no-such-app' not found"}


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'{"prompt": 3}'])
def test_nothing_is_validated_at_submit(http, server, body):
    reply = http.post(server.url + DEV, data=body)

    assert reply.status_code == 200
    wait(http, reply.json())
    refused = http.get(reply.json()["response_url"])
    assert refused.status_code == 422
    assert refused.headers["x-fal-billable-units"] == "0"


def test_a_queue_deeper_than_the_caller_wants_is_a_429(http):
    with SandboxServer(generation_seconds=60, queue_seconds=0, concurrency=1) as server:
        for _ in range(3):
            submit(http, server, prompt="x")

        refused = http.post(server.url + DEV + "?fal_max_queue_length=1", json={})

        assert refused.status_code == 429
        assert len(server.jobs) == 3


# -- status, result, cancel --------------------------------------------------------------


def test_status_is_202_until_completed_and_logs_only_when_asked(http):
    with SandboxServer(generation_seconds=60, queue_seconds=0) as server:
        reply = submit(http, server, prompt="x")

        for asked in ("", "?logs=0", "?logs=false"):
            status = http.get(reply["status_url"] + asked)
            assert (status.status_code, status.json()["logs"]) == (202, None)
        for asked in ("?logs=1", "?logs=true"):
            lines = http.get(reply["status_url"] + asked).json()["logs"]
            assert [sorted(line) for line in lines] == [["labels", "message", "timestamp"]] * 2
        assert status.json()["status"] == "IN_PROGRESS"


def test_a_completed_status_is_200_with_metrics_and_no_error(http, server):
    status = wait(http, submit(http, server, prompt="x"))

    document = status.json()
    assert (status.status_code, document["status"]) == (200, "COMPLETED")
    assert document["metrics"] == {"inference_time": 0.02}
    assert "error" not in document


def test_a_trailing_slash_is_tolerated(http, server):
    reply = submit(http, server, prompt="x")
    wait(http, reply)

    assert http.get(reply["status_url"] + "/").status_code == 200
    assert http.get(reply["response_url"] + "/").status_code == 200
    assert http.get(reply["response_url"] + "/response").status_code == 200


@pytest.mark.parametrize(
    ("method", "tail"),
    [("GET", ""), ("GET", "/status"), ("GET", "/status/stream"), ("PUT", "/cancel")],
)
def test_the_sub_path_form_is_a_405_that_allows_post(http, server, method, tail):
    request_id = submit(http, server, prompt="x")["request_id"]

    reply = http.request(method, f"{server.url}{DEV}/requests/{request_id}{tail}")

    assert (reply.status_code, reply.headers["Allow"], reply.content) == (405, "POST", b"")


def test_an_unknown_id_has_a_body_for_every_verb(http, server):
    base = f"{server.url}/fal-ai/flux-1/requests/nobody"

    replies = [http.get(base), http.get(f"{base}/status"), http.put(f"{base}/cancel")]

    assert [(reply.status_code, reply.json()) for reply in replies] == [
        (404, {"detail": "Request not found"}),
        (404, {"status": "NOT_FOUND"}),
        (404, {"status": "NOT_FOUND"}),
    ]


def test_another_apps_id_is_unknown(http, server):
    request_id = submit(http, server, prompt="x")["request_id"]
    reply = http.get(f"{server.url}/fal-ai/flux-pro/requests/{request_id}/status")
    assert reply.status_code == 404


def test_the_result_of_a_pending_request_is_a_400(http):
    with SandboxServer(generation_seconds=60) as server:
        reply = http.get(submit(http, server, prompt="x")["response_url"])

    assert reply.status_code == 400
    assert reply.json() == {"detail": "Request is still in progress"}


def test_a_cancelled_request_completes_with_an_error_and_result_499(http):
    with SandboxServer(generation_seconds=60) as server:
        reply = submit(http, server, prompt="x")

        cancel = http.put(reply["cancel_url"])
        again = http.put(reply["cancel_url"])
        status = http.get(reply["status_url"])
        outcome = http.get(reply["response_url"])

    assert (cancel.status_code, cancel.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert status.json()["error_type"] == "client_cancelled"
    assert (outcome.status_code, outcome.json()["error_type"]) == (499, "client_cancelled")


def test_the_status_stream_tells_every_state_once_and_ends(http):
    with SandboxServer(generation_seconds=0.3, queue_seconds=0.3) as server:
        reply = submit(http, server, prompt="x")

        stream = http.get(reply["status_url"] + "/stream?logs=1")

    events = [json.loads(line[6:]) for line in stream.text.split("\n\n") if line[:6] == "data: "]
    states = [event["status"] for event in events]
    messages = [line["message"] for event in events for line in event["logs"] or []]
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert states == sorted(states, key=["IN_QUEUE", "IN_PROGRESS", "COMPLETED"].index)
    assert states[-1] == "COMPLETED"
    assert messages == ["Mixing the colours", "Painting", "Letting it dry"]


# -- results -----------------------------------------------------------------------------


def test_a_result_describes_files_that_are_exactly_so(http, server):
    reply = result(
        http, server, prompt="a cat", seed=5, num_images=3, image_size="portrait_16_9",
        output_format="png",
    )  # fmt: skip

    document = reply.json()
    assert sorted(document) == ["has_nsfw_concepts", "images", "prompt", "seed", "timings"]
    assert (document["seed"], document["prompt"]) == (5, "a cat")
    assert document["has_nsfw_concepts"] == [False] * 3
    assert reply.headers["x-fal-billable-units"] == "3"
    for image in document["images"]:
        file = requests.get(image["url"])
        assert file.headers["Content-Type"] == image["content_type"] == "image/png"
        assert int(file.headers["Content-Length"]) == image["file_size"] == len(file.content)
        with Image.open(io.BytesIO(file.content)) as opened:
            assert opened.format == "PNG"
            assert opened.size == (image["width"], image["height"]) == (576, 1024)
    assert len({image["url"] for image in document["images"]}) == 3


def test_without_a_seed_one_of_64_bits_is_drawn_and_repeats_the_picture(http, server):
    first = result(http, server, prompt="x", image_size="square").json()
    second = result(http, server, prompt="x", image_size="square", seed=first["seed"]).json()

    assert 0 <= first["seed"] < 2**64
    pictures = [requests.get(reply["images"][0]["url"]).content for reply in (first, second)]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("arguments", "size", "units"),
    [
        ({}, (1024, 768), "1"),
        ({"image_size": "square"}, (512, 512), "1"),
        ({"image_size": {"width": 1920, "height": 1080}}, (1920, 1080), "2"),
        ({"image_size": {"width": 640}}, (640, 512), "1"),
    ],
)
def test_megapixel_endpoints_bill_begun_megapixels(http, server, arguments, size, units):
    reply = result(http, server, prompt="x", **arguments)

    image = reply.json()["images"][0]
    assert (image["width"], image["height"]) == size
    assert reply.headers["x-fal-billable-units"] == units


def test_image_endpoints_bill_images_and_take_about_a_megapixel(http, server):
    path = "/fal-ai/flux-pro/kontext/text-to-image"
    sizes = []
    for ratio in ("21:9", "16:9", "1:1", "3:4", "9:21"):
        reply = result(http, server, path, prompt="x", aspect_ratio=ratio, num_images=2)
        assert reply.headers["x-fal-billable-units"] == "2"
        image = reply.json()["images"][1]
        sizes.append((image["width"], image["height"]))

    for width, height in sizes:
        assert (width % 16, height % 16) == (0, 0)
        assert 0.94 * 2**20 < width * height <= 2**20
    assert sizes[2] == (1024, 1024)


def test_the_pro_family_answers_with_images_and_seed_alone(http, server):
    document = result(http, server, "/fal-ai/flux-2-pro", prompt="x").json()
    assert sorted(document) == ["images", "seed"]


def test_sync_mode_brings_the_picture_inside_the_answer(http, server):
    reply = result(http, server, prompt="x", image_size="square", sync_mode=True)

    head, _, data = reply.json()["images"][0]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (512, 512)


def test_a_wrong_sub_path_is_a_404_at_the_result(http, server):
    reply = result(http, server, "/fal-ai/flux-1/devv", prompt="x")

    assert (reply.status_code, reply.json()) == (404, {"detail": "Path /devv not found"})
    assert reply.headers["x-fal-billable-units"] == "0"


# -- input pictures ----------------------------------------------------------------------


def test_an_edit_follows_the_shape_of_its_input(http, server):
    reply = result(
        http, server, "/fal-ai/flux-1/dev/image-to-image", prompt="x", image_url=data_uri()
    )

    image = reply.json()["images"][0]
    assert (image["width"], image["height"]) == (1248, 832)


def test_inputs_are_fetched_from_addresses_of_this_machine(http, server):
    source = result(http, server, prompt="x", image_size="square").json()["images"][0]["url"]

    reply = result(
        http, server, "/fal-ai/flux-pro/kontext/multi", prompt="x", image_urls=[source, data_uri()]
    )

    assert reply.status_code == 200
    assert (reply.json()["images"][0]["width"], reply.json()["images"][0]["height"]) == (1024, 1024)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/a.png", "http://192.0.2.1/a.png", "file:///etc/passwd", "nonsense"]
)
def test_an_input_that_cannot_be_fetched_is_a_file_download_error(http, server, url):
    reply = result(http, server, "/fal-ai/flux-pro/kontext", prompt="x", image_url=url)

    problem = reply.json()["detail"][0]
    assert (reply.status_code, reply.headers["x-fal-billable-units"]) == (422, "0")
    assert (problem["type"], problem["loc"]) == ("file_download_error", ["body", "image_url"])


@pytest.mark.parametrize("data", [b"no picture", picture()[:90], b"\x89PNG\r\n\x1a\n"])
def test_an_input_that_is_no_picture_is_an_image_load_error(http, server, data):
    reply = result(
        http, server, "/fal-ai/flux-pro/kontext/multi", prompt="x",
        image_urls=[data_uri(), data_uri(data)],
    )  # fmt: skip

    problem = reply.json()["detail"][0]
    assert (problem["type"], problem["loc"]) == ("image_load_error", ["body", "image_urls", 1])


# -- files, log, server ------------------------------------------------------------------


def test_files_need_no_credentials_and_an_unknown_name_is_a_404(http, server):
    reply = result(http, server, prompt="x", image_size="square").json()
    url = reply["images"][0]["url"]

    assert requests.get(url).status_code == 200
    assert requests.head(url).headers["Content-Length"] == str(reply["images"][0]["file_size"])
    assert requests.get(url[:-6] + "x.jpeg").status_code == 404


def test_the_log_keeps_what_was_sent_and_never_the_key(http, server):
    reply = submit(http, server, prompt="秋天", seed=1)
    http.get(reply["status_url"] + "?logs=1")

    first, second = server.requests
    assert (first.method, first.path, first.stage, first.answered) == ("POST", DEV, "submit", 200)
    assert first.body == {"prompt": "秋天", "seed": 1}
    assert first.request_id == reply["request_id"]
    assert first.headers["authorization"] == "Key ***"
    assert (second.stage, second.query, second.request_id) == ("status", {"logs": "1"}, None)
    over_http = requests.get(server.url + "/_sandbox/requests").json()["requests"]
    assert over_http[0]["request_id"] == reply["request_id"]
    assert "secret" not in json.dumps(over_http)


def test_the_log_can_be_emptied_over_http(http, server):
    submit(http, server, prompt="x")
    assert requests.delete(server.url + "/_sandbox/requests").status_code == 204
    assert server.requests == []


def test_addresses_name_the_host_that_was_called(server):
    headers = {**AUTH, "Host": "sandbox.test:8090"}
    reply = requests.post(server.url + DEV, json={}, headers=headers).json()
    assert reply["status_url"].startswith("http://sandbox.test:8090/fal-ai/flux-1/requests/")


def test_a_host_header_that_is_no_host_is_not_repeated(server):
    headers = {**AUTH, "Host": "a/b?c"}
    reply = requests.post(server.url + DEV, json={}, headers=headers).json()
    assert reply["status_url"].startswith(server.url)


def test_finished_jobs_beyond_the_bound_are_forgotten_with_their_files(http):
    with SandboxServer(generation_seconds=0, queue_seconds=0, keep_finished=1) as server:
        first = result(http, server, prompt="x", image_size="square").json()
        submit(http, server, prompt="y")

        assert len(server.jobs) == 1
        assert requests.get(first["images"][0]["url"]).status_code == 404


def test_a_stopped_server_frees_its_port_and_ends_kept_alive_connections(http):
    server = SandboxServer()
    server.start()
    port = server.port
    http.get(server.url)
    server.stop()

    with SandboxServer(port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}"
        assert requests.get(again.url).json()["name"] == "fluxsite sandbox"


def test_a_picture_painted_again_after_eviction_has_the_same_bytes(http, server):
    url = result(http, server, prompt="x", image_size="square").json()["images"][0]["url"]
    before = requests.get(url).content

    server.files.drop_painted()

    assert requests.get(url).content == before


def test_reset_forgets_jobs_rules_and_log(http, server):
    reply = submit(http, server, prompt="x")
    server.add_fault(kind="status_500")

    server.reset()

    assert (server.jobs, server.requests) == ({}, [])
    assert http.get(reply["status_url"]).status_code == 404
