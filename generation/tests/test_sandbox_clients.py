"""The vendor's own Python client, driven against the sandbox unchanged but for its URLs."""

from __future__ import annotations

import io
import re

import fal_client
import pytest
import requests
from PIL import Image

from generation.sandbox.server import SandboxServer

DEV = "fal-ai/flux-1/dev"
KONTEXT = "fal-ai/flux-pro/kontext"


@pytest.fixture(scope="module")
def running():
    with SandboxServer(generation_seconds=0.15, queue_seconds=0.15) as server:
        yield server


@pytest.fixture
def server(running):
    running.reset()
    return running


@pytest.fixture
def client(server, monkeypatch):
    # The client has no setting for plain http.
    monkeypatch.setattr("fal_client.client.QUEUE_URL_FORMAT", f"{server.url}/")
    monkeypatch.setattr("fal_client.client.RUN_URL_FORMAT", f"{server.url}/")
    monkeypatch.setattr("fal_client.client.REST_URL", server.url)
    monkeypatch.setattr("fal_client.client.CDN_URL", server.url)
    # It leaves the connections of its uploads open.
    opened = []
    connect = fal_client.SyncClient._get_cdn_client

    def connect_and_remember(self):
        opened.append(connect(self))
        return opened[-1]

    monkeypatch.setattr(fal_client.SyncClient, "_get_cdn_client", connect_and_remember)
    client = fal_client.SyncClient(key="kid:ksecret", default_timeout=10)
    yield client
    for connection in [client._client, *opened]:
        connection.close()


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def test_submit_and_wait_through_the_handle(client, server):
    handle = client.submit(DEV, arguments={"prompt": "a cat", "seed": 3})

    first = handle.status()
    result = handle.get()

    assert isinstance(first, fal_client.Queued)
    assert isinstance(handle.status(with_logs=True), fal_client.Completed)
    assert (result["seed"], result["prompt"]) == (3, "a cat")
    assert list(server.jobs) == [handle.request_id]


def test_every_event_is_understood_with_logs(client):
    handle = client.submit(KONTEXT + "/text-to-image", arguments={"prompt": "x"})

    events = list(handle.iter_events(with_logs=True, interval=0.02))

    kinds = [type(event) for event in events]
    assert kinds == sorted(
        kinds, key=[fal_client.Queued, fal_client.InProgress, fal_client.Completed].index
    )
    assert set(kinds) == {fal_client.Queued, fal_client.InProgress, fal_client.Completed}
    assert events[-1].metrics == {"inference_time": 0.15}
    assert [line["message"] for line in events[-1].logs][-1] == "Letting it dry"


def test_status_result_and_cancel_by_id_drop_the_sub_path(client, server):
    endpoint = KONTEXT + "/max/text-to-image"
    request_id = client.submit(endpoint, arguments={"prompt": "x"}).request_id

    client.cancel(endpoint, request_id)
    status = client.status(endpoint, request_id)

    assert status.error_type == "client_cancelled"
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.result(endpoint, request_id)
    assert caught.value.status_code == 499
    paths = [request.path for request in server.requests[1:]]
    base = f"/fal-ai/flux-pro/requests/{request_id}"
    # Asked for a result, the client looks at the status first.
    assert paths == [f"{base}/cancel", f"{base}/status", f"{base}/status", base]


def test_subscribe_reports_on_the_way_and_brings_the_pictures(client):
    updates = []

    result = client.subscribe(
        DEV,
        arguments={"prompt": "x", "num_images": 2},
        with_logs=True,
        on_queue_update=updates.append,
    )

    assert isinstance(updates[-1], fal_client.Completed)
    sizes = [
        Image.open(io.BytesIO(requests.get(image["url"]).content)).size
        for image in result["images"]
    ]
    assert sizes == [(1024, 768)] * 2


def test_a_validation_error_reaches_the_caller_with_its_detail(client):
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.subscribe("fal-ai/flux-1/schnell", arguments={"prompt": "x", "num_images": 5})

    assert caught.value.status_code == 422
    assert caught.value.response.json()["detail"][0]["loc"] == ["body", "num_images"]


def test_an_upload_becomes_an_input(client, server):
    url = client.upload(png(), "image/png", file_name="teal.png")

    assert re.fullmatch(re.escape(server.url) + r"/files/[\w-]{22}\.png", url)
    file = requests.get(url)
    assert (file.content, file.headers["Content-Type"]) == (png(), "image/png")
    result = client.subscribe(KONTEXT, arguments={"prompt": "x", "image_url": url})
    assert (result["images"][0]["width"], result["images"][0]["height"]) == (1248, 832)


def test_an_initiated_upload_is_put_to_the_address_it_was_given(server):
    auth = {"Authorization": "Key kid:ksecret"}
    wanted = {"file_name": "teal.png", "content_type": "image/png"}
    addresses = requests.post(
        server.url + "/storage/upload/initiate", json=wanted, headers=auth
    ).json()

    assert requests.get(addresses["file_url"]).status_code == 404
    assert requests.put(addresses["upload_url"], data=png()).status_code == 200
    assert requests.get(addresses["file_url"]).content == png()


def test_an_encoded_picture_becomes_an_input(client):
    image = fal_client.encode(png(), "image/png")
    result = client.subscribe(KONTEXT, arguments={"prompt": "x", "image_url": image})
    assert result["images"][0]["width"] == 1248


def test_the_client_sends_a_dropped_submit_twice_and_the_sandbox_shows_it(client, server):
    server.add_fault(kind="drop_after_accept", on="submit", times=1)

    client.submit(DEV, arguments={"prompt": "x"})

    assert len(server.jobs) == 2
