"""OpenAI's own client at the web server that `start` runs: what it sends is understood, what it
gets is what it expects."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from urllib.error import HTTPError

import openai
import pytest
from PIL import Image

from fluxsite.tests.test_start_site import PROC, Site, running, wait_for
from generation.sandbox.server import SandboxServer
from generation.tests.factories import image_bytes

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc")

PREPARE = """
from django.contrib.auth.models import User
from credits import ledger
from fluxsite.models import ApiToken
for name, amount in {"alice": 5000, "poor": -500}.items():
    user = User.objects.create(username=name)
    ledger.adjust(user=user, amount=amount, reference=name, reason="", actor="test")
    print(ApiToken.objects.issue(user=user, name="test")[1])
"""


@dataclass(frozen=True, kw_only=True)
class Door:
    site: Site
    alice: str
    poor: str
    clients: ExitStack

    def client(self, token: str = "", **options: object) -> openai.OpenAI:
        base = f"http://127.0.0.1:{self.site.port}/v1"
        client = openai.OpenAI(base_url=base, api_key=token or self.alice, **options)
        return self.clients.enter_context(client)

    def tasks(self, prompt: str) -> list[dict[str, object]]:
        """Return what the database says of the tasks with that prompt."""
        path = f"{self.site.env['DATA_DIR']}/fluxsite.sqlite3"
        with closing(sqlite3.connect(path, timeout=20)) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("SELECT * FROM flux_tasks WHERE prompt = ?", [prompt])
            return [dict(row) for row in found]

    @contextmanager
    def nobody_working(self) -> Iterator[None]:
        """Hold those who draw, so that whoever asks for a picture has to wait."""
        group = self.site.leader("qcluster")
        assert group
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def post(self, path: str, body: object, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Post as no client of OpenAI's does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=60)
        self.clients.callback(connection.close)
        head = {"Authorization": f"Bearer {self.alice}", **headers}
        connection.request("POST", path, body, head, encode_chunked="Transfer-Encoding" in head)
        return connection.getresponse()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A site with one process of two threads that draws in no time, and the tokens of two
    members."""
    directory = tmp_path_factory.mktemp("v1")
    with (
        SandboxServer(port=0, generation_seconds=0.1, queue_seconds=0.02) as fal,
        running(
            directory,
            WEB_THREADS="2",
            WORKERS="4",
            FAL_KEY="sandbox:sandbox",
            FAL_BASE_URL=fal.url,
        ) as site,
        ExitStack() as clients,
    ):
        alice, poor = site.manage("shell", "-v0", "-c", PREPARE).split()
        yield Door(site=site, alice=alice, poor=poor, clients=clients)
        fal.release()


@pytest.fixture
def posts() -> list[str]:
    """The addresses that a client made by `counting` has posted to."""
    return []


@pytest.fixture
def counting(posts) -> openai.DefaultHttpxClient:
    return openai.DefaultHttpxClient(
        event_hooks={"request": [lambda request: posts.append(str(request.url.path))]}
    )


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def picture(colour: str = "teal") -> io.BytesIO:
    return io.BytesIO(image_bytes((128, 96), colour=colour))


# ---------------------------------------------------------------- drawing
def test_a_picture_is_drawn_and_comes_with_the_answer(door):
    answer = door.client().images.generate(model="gpt-image-1", prompt="a lighthouse")

    [drawn] = answer.data
    image = opened(base64.b64decode(drawn.b64_json))
    assert (image.format, image.size) == ("PNG", (1024, 1024))
    assert drawn.url is None
    assert answer.usage.total_tokens == 0
    assert [task["model"] for task in door.tasks("a lighthouse")] == ["fal-ai/flux-1/dev"]


def test_what_openai_has_no_word_for_is_said_in_ours(door):
    answer = door.client().images.generate(
        model="fal-ai/flux-1/schnell",
        prompt="a wide field",
        n=2,
        size="1792x1024",
        quality="hd",
        user="nobody",
        extra_body={"seed": 7, "guidance_scale": 5},
    )

    assert {opened(base64.b64decode(each.b64_json)).size for each in answer.data} == {(1024, 576)}
    [task] = door.tasks("a wide field")
    asked = json.loads(task["parameters"])
    assert (asked["num_images"], asked["seed"], asked["guidance_scale"]) == (2, "7", 5)
    assert len(answer.data) == 2


def test_an_address_of_a_picture_opens_for_whoever_has_it(door):
    answer = door.client().images.generate(prompt="a gate", response_format="url")

    [drawn] = answer.data
    with urllib.request.urlopen(drawn.url) as file:
        assert opened(file.read()).format == "PNG"
    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(drawn.url[:-1] + ("a" if drawn.url[-1] != "a" else "b"))


def test_a_stream_ends_with_the_picture(door):
    events = list(door.client().images.generate(model="gpt-image-1", prompt="a brook", stream=True))

    assert [event.type for event in events] == ["image_generation.completed"]
    assert opened(base64.b64decode(events[0].b64_json)).size == (1024, 1024)
    assert (events[0].size, events[0].output_format) == ("1024x1024", "png")


# ---------------------------------------------------------------- editing
def test_one_picture_is_edited_by_kontext(door):
    answer = door.client().images.edit(model="gpt-image-1", image=picture(), prompt="in the snow")

    assert opened(base64.b64decode(answer.data[0].b64_json)).format == "PNG"
    [task] = door.tasks("in the snow")
    assert (task["endpoint"], task["task_type"]) == ("fal-ai/flux-pro/kontext", "image_to_image")
    assert "/media/" in task["input_image_url"]


def test_several_pictures_go_into_one(door):
    answer = door.client().images.edit(
        model="gpt-image-1", image=[picture("red"), picture("blue")], prompt="side by side"
    )

    assert len(answer.data) == 1
    [task] = door.tasks("side by side")
    assert task["endpoint"] == "fal-ai/flux-pro/kontext/multi"


def test_a_form_in_chunks_is_understood(door):
    # As openai-node sends a stream in a list, and axios any stream.
    part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    head = part.format("prompt", "") + "in chunks\r\n"
    head += part.format("image[]", '; filename="a.png"')
    pieces = [head.encode(), picture().getvalue(), b"\r\n--b--\r\n"]

    answer = door.post(
        "/v1/images/edits",
        iter(pieces),
        {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"},
    )

    assert answer.status == 200
    assert opened(base64.b64decode(json.load(answer)["data"][0]["b64_json"])).format == "PNG"


# ---------------------------------------------------------------- refusals
def test_a_token_that_is_wrong_is_told_so(door):
    with pytest.raises(openai.AuthenticationError) as refusal:
        door.client("fx_wrong").images.generate(prompt="a cat")

    assert refusal.value.code == "invalid_api_key"
    assert "This token is not valid, or was revoked." in str(refusal.value)


def test_a_model_there_is_not_is_told_so(door):
    with pytest.raises(openai.NotFoundError) as refusal:
        door.client().images.generate(model="midjourney-9", prompt="a cat")

    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")
    assert "There is no model midjourney-9 here." in str(refusal.value)


def test_who_cannot_pay_is_told_once_and_how_much_is_missing(door, counting, posts):
    with pytest.raises(openai.APIStatusError) as refusal:
        door.client(door.poor, http_client=counting).images.generate(prompt="too dear")

    assert (refusal.value.status_code, refusal.value.code) == (402, "insufficient_quota")
    # All that Open WebUI shows of it.
    assert refusal.value.response.reason_phrase == "This needs 10 credits and you have 0."
    assert posts == ["/v1/images/generations"]
    assert door.tasks("too dear") == []


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": " "}, "prompt"),
        ({"n": 9}, "n"),
        ({"size": "large"}, "size"),
        ({"response_format": "gif"}, "response_format"),
        ({"extra_body": {"seed": "x"}}, "seed"),
    ],
)
def test_what_cannot_run_is_refused_by_its_name(door, asked, param):
    with pytest.raises(openai.BadRequestError) as refusal:
        door.client().images.generate(**{"model": "dall-e-3", "prompt": "refused", **asked})

    assert refusal.value.param == param
    assert refusal.value.type == "invalid_request_error"
    assert door.tasks("refused") == []


def test_a_mask_is_refused(door):
    with pytest.raises(openai.BadRequestError) as refusal:
        door.client().images.edit(image=picture(), mask=picture(), prompt="masked")

    assert refusal.value.param == "mask"


def test_the_models_are_listed_and_found(door):
    client = door.client()

    names = [model.id for model in client.models.list()]

    assert {"gpt-image-1", "fal-ai/flux-1/dev"} <= set(names)
    assert client.models.retrieve("fal-ai/flux-1/dev").id == "fal-ai/flux-1/dev"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


# ---------------------------------------------------------------- waiting
def test_a_client_that_asks_again_finds_the_task_of_the_first_time(door, counting, posts):
    client = door.client(http_client=counting, timeout=0.5, max_retries=1)

    with door.nobody_working(), pytest.raises(openai.APITimeoutError):
        client.images.generate(prompt="asked twice")

    assert len(posts) == 2
    assert len(door.tasks("asked twice")) == 1


def test_twenty_callers_wait_and_two_threads_answer_everybody_else(door):
    """It takes some seconds, because in the end twenty pictures are drawn."""
    client = door.client(max_retries=0)

    def ask(number: int) -> object:
        return client.images.generate(model="fal-ai/flux-1/schnell", prompt="one of twenty")

    with ThreadPoolExecutor(20) as callers:
        with door.nobody_working():
            answers = [callers.submit(ask, number) for number in range(20)]
            wait_for(lambda: len(door.tasks("one of twenty")) == 20)
            statuses = [page_status(door, path) for path in ("/healthz", "/login") * 5]
            waited = not any(answer.done() for answer in answers)
        pictures = [answer.result().data[0].b64_json for answer in answers]

    assert (waited, statuses) == (True, [200] * 10)
    assert all(opened(base64.b64decode(each)).format == "PNG" for each in pictures)


def page_status(door: Door, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{door.site.port}{path}", timeout=10) as page:
        return page.status


def test_who_hangs_up_finds_the_picture_in_the_history(door):
    client = door.client(timeout=0.5, max_retries=0)
    with door.nobody_working(), pytest.raises(openai.APITimeoutError):
        client.images.generate(model="fal-ai/flux-1/schnell", prompt="left alone")

    [task] = wait_for(lambda: [t for t in door.tasks("left alone") if t["cloud_image_url"]])

    assert task["status"] == "SUCCESS"
