"""OpenAI's images API from inside: what a body means, what a caller is told, and when."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import time
from datetime import timedelta

import pytest
import time_machine
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image

from credits import ledger
from fluxsite.models import ApiToken
from fluxsite.tests.security.conftest import one_connection
from fluxsite.wsgi import application
from generation import aliases, catalogue, intake
from generation.models import FluxTask, ModelAlias, OfferedModel, TaskImage, Upload
from generation.openai_api import answers, errors, orders, waiting
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, image_bytes

__all__ = ["one_connection"]

pytestmark = pytest.mark.usefixtures("drawing")

DRAW, EDIT = "/v1/images/generations", "/v1/images/edits"
KONTEXT = "fal-ai/flux-pro/kontext"


@pytest.fixture(autouse=True)
def impatient(settings):
    """Whoever asks is answered at once: with the picture, if it is there."""
    settings.OPENAI_WAIT_SECONDS = 0


class Caller:
    """A program with a token of a member."""

    def __init__(self, user, scopes=("read", "generate")):
        _token, secret = ApiToken.objects.issue(user=user, name="test", scopes=scopes)
        self.client = Client(raise_request_exception=False)
        self.head = {"Authorization": f"Bearer {secret}"}

    def draw(self, *, again=0, key=None, **body):
        head = {**self.head, "X-Stainless-Retry-Count": str(again)}
        if key:
            head["Idempotency-Key"] = key
        body = {"prompt": "a cat", **body}
        return self.client.post(DRAW, body, content_type="application/json", headers=head)

    def edit(self, *colours, again=0, name="image[]", **body):
        files = [
            SimpleUploadedFile(f"{colour}.png", image_bytes(colour=colour)) for colour in colours
        ]
        head = {**self.head, "X-Stainless-Retry-Count": str(again)}
        return self.client.post(EDIT, {"prompt": "a cat", name: files, **body}, headers=head)


@pytest.fixture
def caller(alice):
    return Caller(alice)


def error(answer):
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"]


def status_of(answer):
    answer.getvalue()
    for close in answer._resource_closers:
        close()
    return answer.status_code


# ---------------------------------------------------------------- what a body means
@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ("1024x1024", "1:1"),
        ("1792x1024", "16:9"),
        ("1024x1792", "9:16"),
        ("1536x1024", "3:2"),
        ("1024x1536", "2:3"),
        ("512x512", "1:1"),
        ("3000x100", "21:9"),
        ("auto", "1:1"),
        ("", "1:1"),
        (None, "1:1"),
    ],
)
def test_a_size_becomes_the_nearest_shape(caller, size, ratio):
    caller.draw(size=size)

    assert FluxTask.objects.get().aspect_ratio == ratio


@pytest.mark.parametrize("size", ["large", "1024", "0x10", "1024x1024x3", 1024, ["1024x1024"]])
def test_a_size_that_is_none_is_refused(caller, size):
    assert error(caller.draw(size=size)) == (400, "invalid", "size")
    assert not FluxTask.objects.exists()


def test_a_shape_said_in_our_words_goes_before_the_size(caller):
    caller.draw(size="1024x1024", aspect_ratio="4:3")

    assert FluxTask.objects.get().aspect_ratio == "4:3"


def test_what_nobody_here_needs_is_passed_over(caller):
    answer = caller.draw(
        quality="hd", style="vivid", background="auto", moderation="low", user="u", partial_images=2
    )

    assert answer.status_code == 504
    assert FluxTask.objects.get().prompt == "a cat"


def test_a_picture_is_png_unless_the_caller_says_otherwise(caller):
    caller.draw(prompt="usual")
    caller.draw(prompt="jpeg", output_format="jpeg")

    formats = FluxTask.objects.order_by("pk").values_list("parameters__output_format", flat=True)
    assert list(formats) == ["png", "jpeg"]


def test_a_model_that_draws_one_at_a_time_refuses_two(caller):
    assert error(caller.draw(model="fal-ai/flux-2-pro", n=2)) == (400, "out_of_range", "n")
    assert caller.draw(model="fal-ai/flux-2-pro", n=1).status_code == 504


@pytest.mark.parametrize("body", ["[]", '"text"', "{", "null", "1"])
def test_a_body_that_is_no_object_is_refused(caller, body):
    answer = caller.client.post(DRAW, body, content_type="application/json", headers=caller.head)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_order_is_known_by_what_was_asked_alone():
    asked = orders.read({"prompt": "a", "model": " gpt-image-1 ", "stream": "true", "x": 1})

    assert (asked.model, asked.streams, asked.as_url) == ("gpt-image-1", True, False)
    assert asked.rest == {"x": 1}
    for wrong in ({"model": 1}, {"stream": "perhaps"}, {"mask": "x"}, {"response_format": 1}):
        with pytest.raises(catalogue.InvalidRequest) as refusal:
            orders.read({"prompt": "a", **wrong})
        assert [problem.field for problem in refusal.value.problems] == list(wrong)


@pytest.mark.parametrize("field", ["model", "prompt", "n", "size", "seed", "stream", "mask"])
@pytest.mark.parametrize(
    "value", ["a\0b", "a\ud800b", {"a": {"b": 1}}, [[1]], 2**70, 1e300, "x" * 20_000], ids=repr
)
def test_whatever_comes_in_a_field_is_an_error_of_the_caller(caller, field, value):
    answer = caller.draw(**{field: value})

    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == field
    assert not FluxTask.objects.exists()


def test_a_name_that_is_no_text_finds_no_model(caller):
    for name in ("a%00b", "%FF%FE", "a" * 4000, "../models"):
        assert caller.client.get(f"/v1/models/{name}", headers=caller.head).status_code == 404


# ---------------------------------------------------------------- names of models
def test_openais_names_mean_the_sites_defaults(caller):
    for name in aliases.KNOWN:
        caller.draw(model=name)
        caller.edit("red", model=name)
    caller.draw()

    drawn = FluxTask.objects.filter(task_type="text_to_image")
    edited = FluxTask.objects.filter(task_type="image_to_image")
    assert set(drawn.values_list("model", flat=True)) == {catalogue.DEFAULT_MODEL}
    assert set(edited.values_list("model", flat=True)) == {KONTEXT}


def test_staff_decide_what_a_name_means(caller, staff, client):
    client.force_login(staff)
    page = "/admin/generation/modelalias/"
    client.post(f"{page}add/", {"name": "ours", "draws": "fal-ai/flux-1/schnell", "edits": ""})
    client.post(
        f"{page}dall-e-3/change/", {"draws": "fal-ai/flux-pro/kontext/max", "edits": KONTEXT}
    )

    caller.draw(model="ours")
    caller.draw(model="dall-e-3")

    models = FluxTask.objects.order_by("pk").values_list("model", flat=True)
    assert list(models) == ["fal-ai/flux-1/schnell", "fal-ai/flux-pro/kontext/max"]


def test_a_model_is_not_called_what_another_is(staff, client):
    client.force_login(staff)

    page = client.post("/admin/generation/modelalias/add/", {"name": KONTEXT})

    assert "A model of this site is called so itself." in page.content.decode()
    assert not ModelAlias.objects.filter(pk=KONTEXT).exists()


def test_a_default_that_is_not_offered_gives_way_to_one_that_is(caller, staff, client):
    client.force_login(staff)
    for name in (KONTEXT, catalogue.DEFAULT_MODEL):
        client.post(f"/admin/generation/offeredmodel/{name.replace('/', '_2F')}/change/", {})
    assert OfferedModel.objects.filter(enabled=False).count() == 2

    caller.draw(model="gpt-image-1")
    caller.edit("red", model="gpt-image-1")

    models = FluxTask.objects.order_by("pk").values_list("model", flat=True)
    assert list(models) == ["fal-ai/flux-1/schnell", "fal-ai/flux-pro/kontext/max"]
    assert error(caller.draw(model=KONTEXT)) == (403, "model_not_offered", "model")


@pytest.mark.parametrize("rows", [1, 3])
def test_the_list_of_models_takes_as_many_queries_however_many(
    caller, rows, django_assert_num_queries
):
    ModelAlias.objects.bulk_create(ModelAlias(name=f"ours-{n}") for n in range(rows))
    caller.client.get("/v1/models", headers=caller.head)

    with django_assert_num_queries(3):
        answer = caller.client.get("/v1/models", headers=caller.head)

    assert {each["object"] for each in answer.json()["data"]} == {"model"}
    assert f"ours-{rows - 1}" in {each["id"] for each in answer.json()["data"]}


# ---------------------------------------------------------------- pictures that come
@pytest.mark.parametrize("name", ["image", "image[]"])
def test_pictures_are_taken_under_either_name(caller, name):
    assert caller.edit("red", "blue", name=name).status_code == 504

    task = FluxTask.objects.get()
    assert (task.endpoint, task.inputs.count()) == (f"{KONTEXT}/multi", 2)


def test_no_picture_is_kept_of_an_edit_that_cannot_run(caller):
    assert error(caller.edit("red", prompt="")) == (400, "required", "prompt")
    assert error(caller.edit("red", model="fal-ai/flux-1/schnell"))[2] == "image"
    assert error(caller.edit())[2] == "image"
    assert not Upload.objects.exists()


def test_a_file_that_is_no_picture_is_refused(caller):
    form = {"prompt": "a", "image": SimpleUploadedFile("a.png", b"no picture")}

    answer = caller.client.post(EDIT, form, headers=caller.head)

    assert error(answer) == (400, "unsupported_format", "image")


class Body:
    """A body in pieces, as the web server hands it on."""

    def __init__(self, *pieces):
        self.rest = io.BytesIO(b"".join(pieces))
        self.given = 0

    def read(self, size):
        piece = self.rest.read(size)
        self.given += len(piece)
        return piece

    def readline(self, size):
        return self.rest.readline(size)


def call(path, body, **environ):
    """Call the site as a web server does that has a body in chunks, and return its status."""
    statuses = []
    environ = {
        **RequestFactory().post(path).environ,
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        **environ,
    }
    answer = application(environ, lambda status, _headers: statuses.append(status))
    b"".join(answer)
    # Not close(), which would end the connection of the test to its database as well.
    for close in answer._resource_closers:
        close()
    return int(statuses[0].split()[0])


PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
FORM = {"CONTENT_TYPE": "multipart/form-data; boundary=b"}


@pytest.mark.usefixtures("one_connection")
def test_a_body_in_chunks_is_read_to_its_end(caller):
    text = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n'
    body = Body(text, PART, image_bytes(), b"\r\n--b--\r\n")

    status = call(EDIT, body, **FORM, HTTP_AUTHORIZATION=caller.head["Authorization"])

    assert (status, FluxTask.objects.get().prompt) == (504, "a cat")


@pytest.mark.usefixtures("one_connection")
def test_a_body_in_chunks_that_goes_on_is_cut_off(caller, settings):
    settings.MAX_FORM_BYTES = 1_000_000
    body = Body(PART, b"x" * 3_000_000)

    status = call(EDIT, body, **FORM, HTTP_AUTHORIZATION=caller.head["Authorization"])

    assert (status, body.given <= 1_000_000) == (413, True)


@pytest.mark.usefixtures("one_connection")
def test_a_body_in_chunks_of_a_stranger_is_not_read(db):
    body = Body(PART, b"x" * 100_000)

    assert call(EDIT, body, **FORM, HTTP_AUTHORIZATION="Bearer fx_wrong") == 401
    assert body.given == 0


@pytest.mark.usefixtures("one_connection")
def test_where_the_end_is_not_marked_a_body_in_chunks_is_left_alone(caller):
    body = Body(PART, b"x")

    status = call(
        EDIT,
        body,
        **FORM,
        HTTP_AUTHORIZATION=caller.head["Authorization"],
        **{"wsgi.input_terminated": False},
    )

    assert (status, body.given) == (400, 0)


# ---------------------------------------------------------------- once and no more
def test_a_request_that_is_sent_again_finds_its_task(caller, alice):
    first = caller.draw(again=0)
    second = caller.draw(again=1)

    assert first["X-Fluxsite-Task"] == second["X-Fluxsite-Task"] == FluxTask.objects.get().pk


def test_the_same_asked_for_anew_is_another_task(caller):
    caller.draw(again=0)
    caller.draw(again=0)

    assert FluxTask.objects.count() == 2


@pytest.mark.parametrize("other", [{"prompt": "a dog"}, {"n": 2}, {"model": "fal-ai/flux-2"}])
def test_another_request_that_is_sent_again_is_another_task(caller, other):
    caller.draw(again=0)
    caller.draw(again=1, **other)

    assert FluxTask.objects.count() == 2


def test_another_token_finds_nothing(caller, alice, bob):
    caller.draw()
    Caller(alice).draw(again=1)
    Caller(bob).draw(again=1)

    assert FluxTask.objects.count() == 3


def test_the_first_is_looked_for_among_the_members_own_tasks(caller, alice):
    order = intake.Order(model_id="m", prompt="p", addresses=[], parameters={})
    with CaptureQueriesContext(connection) as asked:
        intake.find_recent(user=alice, order=order, caller="v1 1", since=timezone.now())
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {asked[0]['sql']}")
            plan = " ".join(row[3] for row in cursor.fetchall())
        assert "idx_flux_tasks_user_id (user_id=? AND created_at>?)" in plan


def test_after_ten_minutes_nothing_is_found(caller):
    with time_machine.travel(timezone.now() - timedelta(minutes=11), tick=False):
        caller.draw()
    caller.draw(again=1)

    assert FluxTask.objects.count() == 2


def test_the_same_pictures_sent_again_find_their_task(caller):
    caller.edit("red", "blue")
    caller.edit("red", "blue", again=1)
    caller.edit("blue", "red", again=1)

    assert FluxTask.objects.count() == 2


def test_an_idempotency_key_is_honoured(caller):
    first, second = caller.draw(key="k1"), caller.draw(key="k1")
    other = caller.draw(key="k1", prompt="a dog")

    assert first["X-Fluxsite-Task"] == second["X-Fluxsite-Task"]
    assert error(other) == (409, "idempotency_conflict", None)
    assert other["x-should-retry"] == "false"


# ---------------------------------------------------------------- what comes back
def test_who_has_waited_enough_is_told_where_the_picture_will_be(caller, work, alice):
    late = caller.draw()
    task = FluxTask.objects.get()
    work()

    body = late.json()["error"]
    assert (late.status_code, late["x-should-retry"]) == (504, "false")
    assert task.pk in body["message"]
    assert body["code"] == "timeout"
    again = caller.draw(again=1)
    assert again.status_code == 200
    content = base64.b64decode(again.json()["data"][0]["b64_json"])
    assert Image.open(io.BytesIO(content)).format == "PNG"


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("content_policy", 400, "content_policy_violation"),
        ("invalid_input", 400, "invalid_input"),
        ("provider_error", 502, "provider_error"),
        ("submit_unknown", 502, "submit_unknown"),
        ("internal", 502, "internal"),
        ("timeout", 504, "timeout"),
    ],
)
def test_every_end_without_a_picture_has_a_status(alice, code, status, told):
    task = FluxTaskFactory(user=alice, failed=True, error_code=code)

    packed = answers.pack(answers.look([task.pk])[task.pk], wanted())

    assert (packed.status, json.load(packed.body)["error"]["code"]) == (status, told)
    assert packed.headers.get("x-should-retry") == (None if status == 400 else "false")
    assert packed.reason.endswith(".")


def test_a_cancelled_task_is_not_begun_again(alice):
    task = FluxTaskFactory(user=alice, status="CANCELLED", completed_at=timezone.now())

    packed = answers.pack(answers.look([task.pk])[task.pk], wanted())

    assert (packed.status, packed.headers["x-should-retry"]) == (409, "false")


def test_pictures_that_were_painted_black_are_not_handed_over(alice):
    task = FluxTaskFactory(user=alice, succeeded=True, num_images=2)
    TaskImageFactory(user=alice, task=task, position=0, is_nsfw=True)
    shown = TaskImageFactory(user=alice, task=task, position=1)

    [ended] = answers.look([task.pk]).values()
    assert [picture.pk for picture in ended.pictures] == [shown.pk]
    TaskImage.objects.update(is_nsfw=True)
    packed = answers.pack(answers.look([task.pk])[task.pk], wanted())
    assert (packed.status, json.load(packed.body)["error"]["code"]) == (
        400,
        "content_policy_violation",
    )


def test_a_picture_that_is_being_saved_is_waited_for(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    image = TaskImageFactory(user=alice, task=task)
    stored_at = image.stored_at
    TaskImage.objects.update(stored_at=None)
    assert answers.look([task.pk]) == {}

    TaskImage.objects.update(stored_at=stored_at)
    assert answers.look([task.pk]).keys() == {task.pk}


def test_a_picture_that_cannot_be_read_is_an_error_of_ours(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    image = TaskImageFactory(user=alice, task=task)
    TaskImage.objects.filter(pk=image.pk).update(storage_key="generated/nowhere.png")

    packed = answers.pack(answers.look([task.pk])[task.pk], wanted())

    assert (packed.status, packed.headers["x-should-retry"]) == (502, "false")


@pytest.mark.parametrize("rows", [1, 3])
def test_looking_takes_two_queries_however_many_wait(alice, rows, django_assert_num_queries):
    tasks = [FluxTaskFactory(user=alice, succeeded=True) for _row in range(rows)]
    for task in tasks:
        TaskImageFactory(user=alice, task=task)

    with django_assert_num_queries(2):
        assert len(answers.look([task.pk for task in tasks])) == rows


def test_a_signed_address_is_good_for_an_hour(client, alice):
    image = TaskImageFactory(user=alice, task=FluxTaskFactory(user=alice, succeeded=True))
    other = TaskImageFactory(user=alice, task=FluxTaskFactory(user=alice, succeeded=True))
    path = answers.signed_path(image)

    assert status_of(client.get(path)) == 200
    assert client.get(path.replace(image.pk, other.pk)).status_code == 404
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert client.get(path).status_code == 404


def test_an_error_travels_in_the_status_line_where_it_can():
    assert errors.reason("Need 10\r\ncredits") == "Need 10 credits"
    assert errors.reason("需要 10 点") == ""
    assert len(errors.reason("x" * 1000)) == 200


def test_a_shortfall_is_told_in_the_callers_language_and_in_english_where_nothing_else_travels(
    caller, alice
):
    ledger.adjust(user=alice, amount=-495, reference="poor", reason="", actor="test")
    caller.head["Accept-Language"] = "zh-hans"

    answer = caller.draw()

    assert (answer.status_code, answer.reason_phrase) == (
        402,
        "This needs 10 credits and you have 5.",
    )
    assert "积分" in answer.json()["error"]["message"]


def test_an_address_there_is_not_is_told_in_openais_words(client):
    answer = client.post("/v1/images/variations")

    assert error(answer) == (404, "not_found", None)


def test_maintenance_is_told_in_openais_words(caller, settings):
    settings.MAINTENANCE = True

    answer = caller.draw()

    assert error(answer) == (503, "maintenance", None)
    assert answer["x-should-retry"] == "false"


def test_a_session_opens_nothing(client, alice):
    client.force_login(alice)

    assert client.get("/v1/models").status_code == 401
    assert client.post(DRAW, {}, content_type="application/json").status_code == 401


# ---------------------------------------------------------------- the room
def wanted(**changes):
    usual = {"as_url": False, "event": "", "site": "http://test", "language": "en", "seconds": 60}
    return answers.Wanted(**{**usual, **changes})


@pytest.fixture
def room(db):
    room = waiting.Room()
    yield room
    room.close()


@pytest.fixture
def wait(room):
    """Return a function that lets a caller wait for a task, and returns the caller's end."""
    with contextlib.ExitStack() as stack:

        def enter(task, **changes):
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            ours.setblocking(False)
            theirs.settimeout(5)
            room.expect(
                waiting.Caller(
                    ours,
                    user_id=task.user_id,
                    task_id=task.pk,
                    wanted=wanted(**changes),
                    response=StreamingHttpResponse(headers={"X-Request-ID": "abc"}),
                )
            )
            return theirs

        yield enter


def turn_until(room, is_over):
    end = time.monotonic() + 10
    while not is_over() and time.monotonic() < end:
        room.turn()


def read(theirs):
    received = b""
    while chunk := theirs.recv(65536):
        received += chunk
    head, _blank, body = received.partition(b"\r\n\r\n")
    return head.decode(), json.loads(body)


def test_a_caller_is_answered_when_the_picture_is_there(room, wait, alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    theirs = wait(task)
    room.turn()
    assert room.count == 1

    TaskImageFactory(user=alice, task=task)
    FluxTask.objects.update(status="SUCCESS", completed_at=timezone.now())
    turn_until(room, lambda: room.count == 0)

    head, body = read(theirs)
    assert head.startswith("HTTP/1.1 200 OK")
    assert "X-Request-ID: abc" in head
    assert "Connection: close" in head
    assert len(body["data"]) == 1


def test_a_caller_whose_time_is_up_is_told_so(room, wait, alice):
    theirs = wait(FluxTaskFactory(user=alice, at_provider=True), seconds=0)

    turn_until(room, lambda: room.count == 0)

    head, body = read(theirs)
    assert head.startswith("HTTP/1.1 504 The picture is not ready after 0 seconds.")
    assert body["error"]["code"] == "timeout"


def test_a_caller_who_hangs_up_is_forgotten_and_the_task_goes_on(room, wait, alice):
    task = FluxTaskFactory(user=alice, at_provider=True)
    wait(task).close()

    turn_until(room, lambda: room.count == 0)

    assert room.has_place(user_id=alice.pk)
    task.refresh_from_db()
    assert task.status == "IN_QUEUE"


def test_a_caller_who_reads_slowly_holds_up_nobody(room, wait, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    image = TaskImageFactory(user=alice, task=task)
    default_storage.save(image.storage_key, ContentFile(b"more than any buffer holds" * 200_000))
    slow = wait(task)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    late = wait(FluxTaskFactory(user=alice, at_provider=True), seconds=0)

    turn_until(room, lambda: room.count == 1)

    assert read(late)[1]["error"]["code"] == "timeout"


def test_a_member_and_a_process_have_so_many_places(room, wait, alice, bob, settings, monkeypatch):
    task = FluxTaskFactory(user=alice, at_provider=True)
    monkeypatch.setattr(waiting, "MAX_PER_MEMBER", 1)
    wait(task)
    assert (room.has_place(user_id=alice.pk), room.has_place(user_id=bob.pk)) == (False, True)

    settings.OPENAI_WAITING = 1
    assert not room.has_place(user_id=bob.pk)


def test_who_finds_no_place_is_told_before_anything_is_begun(caller, monkeypatch):
    monkeypatch.setattr(waiting, "_threads", waiting.threading.BoundedSemaphore(1))
    with waiting.a_thread() as is_held:
        answer = caller.draw()

    assert is_held
    assert error(answer) == (429, "too_many_waiting", None)
    assert answer["x-should-retry"] == "false"
    assert not FluxTask.objects.exists()
    assert caller.draw().status_code == 504
