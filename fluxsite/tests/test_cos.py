"""What only Tencent COS has: signed addresses, and a network and an SDK that can mislead."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.core.files.base import ContentFile
from django.http import FileResponse

from fluxsite.cos import CosError, COSStorage, signing

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3600
WINDOW = 6 * HOUR


@pytest.fixture
def storage(cos):
    """A storage that does not try again, so that each test sees its one fault."""
    return COSStorage(**cos.options(retries=0))


def save(storage: COSStorage, name: str = "a.png", content: bytes = b"picture") -> str:
    return storage.save(name, ContentFile(content))


def read(storage: COSStorage, name: str = "a.png") -> bytes:
    with storage.open(name) as file:
        return file.read()


def fetch(url: str, **options: object) -> requests.Response:
    """Get an address as a browser does, knowing nothing of keys."""
    return requests.get(url, timeout=5, allow_redirects=False, **options)


def run(*arguments: str, env: Mapping[str, str]) -> str:
    """Return what a Python of its own prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


# ---------------------------------------------------------------- the signature
def test_the_signature_is_the_one_of_tencents_own_sdks():
    """The vector of their SDK for Go."""
    signed = signing.sign(
        method="PUT",
        path="/testfile2",
        parameters={},
        headers={
            "Host": "testbucket-125000000.cos.ap-guangzhou.myqcloud.com",
            "x-cos-content-sha1": "db8ac1c259eb89d4a131b253bacfca5f319d54f2",
            "x-cos-stroage-class": "nearline",
        },
        secret_id="QmFzZTY0IGlzIGEgZ2VuZXJp",
        secret_key="AKIDZfbOA78asKUYBcXFrJD0a1ICvR98JM",
        start=1480932292,
        end=1481012292,
    )

    assert signed == {
        "q-sign-algorithm": "sha1",
        "q-ak": "QmFzZTY0IGlzIGEgZ2VuZXJp",
        "q-sign-time": "1480932292;1481012292",
        "q-key-time": "1480932292;1481012292",
        "q-header-list": "host;x-cos-content-sha1;x-cos-stroage-class",
        "q-url-param-list": "",
        "q-signature": "ce4ac0ecbcdb30538b3fee0a97cc6389694ce53a",
    }


def test_the_signature_is_the_one_of_the_python_sdk():
    from qcloud_cos import CosConfig, CosS3Client

    client = CosS3Client(CosConfig(Domain="img.example.org", SecretId="id", SecretKey="key"))
    chance = random.Random(1)
    letters = "ab/ %?#&=+中文🎨'\"~._-;,"

    def text() -> str:
        return "k" + "".join(chance.choices(letters, k=12))

    for _ in range(200):
        key, parameters = text(), {text(): text() for _ in range(chance.randrange(4))}
        headers = {"Host": "img.example.org", "x-cos-meta-a": text()}
        # It adds to what it is given.
        theirs = client.get_auth("GET", "b-1", key, Headers={**headers}, Params={**parameters})
        members = dict(pair.split("=", 1) for pair in theirs.split("&"))
        start, end = members["q-sign-time"].split(";")

        ours = signing.sign(
            method="GET",
            path=f"/{key}",
            parameters=parameters,
            headers=headers,
            secret_id="id",
            secret_key="key",
            start=int(start),
            end=int(end),
        )

        assert ours == members


# ---------------------------------------------------------------- addresses
def test_an_address_opens_the_picture_and_lets_browsers_keep_it(storage):
    save(storage, "图片/a b%.png", b"\x89PNG")

    answer = fetch(storage.url("图片/a b%.png"))

    assert (answer.status_code, answer.content) == (200, b"\x89PNG")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Cache-Control"] == "private, max-age=604800, immutable"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda url: url.replace("/a.png", "/b.png"),
        lambda url: url.replace("inline", "attachment"),
        lambda url: url.replace("q-sign-time=1", "q-sign-time=2"),
        lambda url: url.replace("q-signature=", "q-signature=0"),
        lambda url: url.partition("?")[0],
        lambda url: url.replace("127.0.0.1", "localhost"),
    ],
    ids=["path", "parameter", "time", "signature", "none", "host"],
)
def test_an_address_that_was_changed_opens_nothing(storage, tamper):
    save(storage, "a.png")
    save(storage, "b.png")
    url = storage.url("a.png", parameters={"response-content-disposition": "inline"})

    assert fetch(url).status_code == 200
    assert fetch(tamper(url)).status_code == 403


def test_an_address_is_for_reading_alone(storage):
    save(storage)
    url = storage.url("a.png")

    assert requests.put(url, data=b"other", timeout=5).status_code == 403
    assert requests.delete(url, timeout=5).status_code == 403
    # The method is signed as well: nobody may ask for the head with it.
    assert requests.head(url, timeout=5).status_code == 403
    assert read(storage) == b"picture"


def test_a_download_gets_the_name_it_is_signed_for(storage):
    save(storage)
    disposition = "attachment; filename*=UTF-8''%E7%8C%AB%20on%20a%20bridge.png"

    answer = fetch(storage.url("a.png", {"response-content-disposition": disposition}))

    assert answer.headers["Content-Disposition"] == disposition


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the clock of this process."""
    return lambda moment: monkeypatch.setattr(time, "time", lambda: moment)


def test_an_address_stays_the_same_within_its_window_and_is_good_for_one_more(storage, at):
    seen: dict[str, list[tuple[int, int]]] = {}
    start = 1_800_000_000
    for moment in range(start, start + 4 * WINDOW, 600):
        at(moment)
        url, left = storage.signed_url("a.png")
        assert storage.url("a.png") == url
        seen.setdefault(url, []).append((moment, left))

    whole = list(seen.values())[1:-1]
    assert len(whole) == 3
    for moments in whole:
        assert len(moments) == WINDOW // 600
        assert WINDOW < moments[-1][1] <= WINDOW + 600
        assert 2 * WINDOW - 600 < moments[0][1] <= 2 * WINDOW
        assert all(moment + left == moments[0][0] + moments[0][1] for moment, left in moments)


def test_addresses_do_not_all_change_at_once(storage, at):
    at(1_800_000_000)

    ends = {storage.signed_url(f"generated/{number}.png")[1] for number in range(200)}

    assert len(ends) > 190
    assert min(ends) > WINDOW
    assert max(ends) <= 2 * WINDOW
    # Spread over the window, not bunched.
    assert max(ends) - min(ends) > 0.9 * WINDOW


def test_an_address_is_good_for_as_long_as_it_says(storage, cos):
    save(storage)
    url, left = storage.signed_url("a.png")

    cos.clock = lambda: time.time() + left - 5
    assert fetch(url).status_code == 200
    cos.clock = lambda: time.time() + left + 5
    assert fetch(url).status_code == 403
    assert "<Code>RequestTimeTooSkewed</Code>" in fetch(url).text
    # Clocks differ.
    cos.clock = lambda: time.time() - 50
    assert fetch(storage.url("a.png")).status_code == 200


def test_an_address_can_be_made_for_an_exact_time(storage, cos):
    save(storage)
    url = storage.url("a.png", expire=24 * HOUR)
    start, end = parse_qs(urlsplit(url).query)["q-sign-time"][0].split(";")

    cos.clock = lambda: time.time() + 24 * HOUR - 5
    assert fetch(url).status_code == 200
    cos.clock = lambda: time.time() + 24 * HOUR + 5
    assert fetch(url).status_code == 403
    assert int(end) - int(start) == 24 * HOUR + 60


def test_the_address_is_at_the_bucket_or_at_its_own_domain():
    options = {"secret_id": "id", "secret_key": "key", "bucket_name": "p-1250000000"}
    plain = COSStorage(**options, region="ap-guangzhou", location="studio/")
    own = COSStorage(**options, domain="img.example.org")

    assert plain.url("a.png").startswith(
        "https://p-1250000000.cos.ap-guangzhou.myqcloud.com/studio/a.png?q-sign-algorithm=sha1&"
    )
    assert own.url("a.png").startswith("https://img.example.org/a.png?")


# ---------------------------------------------------------------- what is asked of COS
def asked(cos) -> list[tuple[str, str]]:
    return [(request.method, request.key) for request in cos.requests]


def test_each_act_is_one_request(storage, cos):
    acts: list[tuple[Callable[[], object], str]] = [
        (lambda: save(storage), "PUT"),
        (lambda: read(storage), "GET"),
        (lambda: storage.exists("a.png"), "HEAD"),
        (lambda: storage.size("a.png"), "HEAD"),
        (lambda: storage.delete("a.png"), "DELETE"),
    ]
    for act, method in acts:
        cos.forget_requests()
        act()
        assert asked(cos) == [(method, "a.png")]
    cos.forget_requests()
    storage.url("a.png")
    assert asked(cos) == []


def test_a_walk_asks_once_for_each_thousand(storage, cos):
    for number in range(2500):
        cos.bucket.put(f"{number:04}.png", b"x", {})

    assert len(list(storage.walk())) == 2500

    assert [request.query["marker"] for request in cos.requests] == ["", "0999.png", "1999.png"]


def test_an_object_carries_its_type_its_checksum_and_how_long_it_may_be_kept(storage, cos):
    for name in ("a.png", "b.webp", "c.jpg", "d.tar.gz", "e"):
        save(storage, name)

    put = {request.key: request.headers for request in cos.requests}
    assert [put[name]["content-type"] for name in sorted(put)] == [
        *("image/png", "image/webp", "image/jpeg"),
        *("application/octet-stream", "application/octet-stream"),
    ]
    digest = hashlib.md5(b"picture").digest()
    assert put["a.png"]["content-md5"] == base64.b64encode(digest).decode()
    assert put["a.png"]["content-length"] == "7"
    assert put["a.png"]["cache-control"] == "private, max-age=604800, immutable"
    assert "x-cos-forbid-overwrite" not in put["a.png"]


def test_more_can_be_said_of_every_object(cos):
    parameters = {"StorageClass": "STANDARD_IA", "CacheControl": "no-store"}
    storage = COSStorage(**cos.options(object_parameters=parameters))

    save(storage)

    assert cos.requests[0].headers["x-cos-storage-class"] == "STANDARD_IA"
    assert cos.requests[0].headers["cache-control"] == "no-store"


def test_an_empty_picture_travels_with_its_length(storage, cos):
    save(storage, content=b"")

    assert cos.requests[0].headers["content-length"] == "0"
    assert "transfer-encoding" not in cos.requests[0].headers


def test_temporary_credentials_send_their_token_everywhere():
    from fluxsite.tests.cos_emulator import CosEmulator

    with CosEmulator(token="of-the-security-token-service") as cos:
        storage = COSStorage(**cos.options(retries=0))
        without = COSStorage(**cos.options(retries=0, token=""))

        save(storage)

        assert read(storage) == b"picture"
        assert [name for name, *_ in storage.walk()] == ["a.png"]
        assert fetch(storage.url("a.png")).content == b"picture"
        assert fetch(without.url("a.png")).status_code == 403
        with pytest.raises(CosError) as caught:
            without.exists("a.png")
        assert caught.value.status == 403


def test_proxies_of_the_environment_are_ignored(storage, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    save(storage)

    assert read(storage) == b"picture"


def test_threads_share_one_storage(storage):
    def work(number: int) -> list[bytes]:
        names = [f"{number}/{turn}.png" for turn in range(10)]
        for name in names:
            save(storage, name, name.encode())
        return [read(storage, name) for name in names]

    with ThreadPoolExecutor(8) as pool:
        contents = [content for each in pool.map(work, range(8)) for content in each]

    assert contents == [f"{n}/{turn}.png".encode() for n in range(8) for turn in range(10)]
    assert len(list(storage.walk())) == 80


def test_the_sdk_is_imported_with_the_first_call_and_not_before():
    script = """
import sys, django
django.setup()
from fluxsite.cos import COSStorage
storage = COSStorage(secret_id="a", secret_key="b", bucket_name="c-1", region="d")
storage.url("x.png")
print("qcloud_cos" in sys.modules)
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "fluxsite.testing_settings"}

    assert run("-c", script, env=environment) == "False\n"


# ---------------------------------------------------------------- reading
def test_what_is_opened_and_not_read_costs_nothing_more(storage, cos):
    save(storage, content=b"x" * 5_000_000)
    for _ in range(20):
        storage.open("a.png").close()

    assert len(read(storage)) == 5_000_000


def test_a_large_object_is_kept_in_a_file_and_not_in_memory(cos):
    storage = COSStorage(**cos.options(retries=0, max_memory_size=1000))
    content = os.urandom(300_000)
    save(storage, content=content)

    with storage.open("a.png") as file:
        assert file.read(10) == content[:10]
        assert file.fileno() > 2
        assert file.read() == content[10:]


def test_a_view_can_send_an_open_object(storage):
    save(storage, content=b"0123456789" * 1000)

    response = FileResponse(storage.open("a.png"), content_type="image/png")

    assert response.headers["Content-Length"] == "10000"
    assert b"".join(response.streaming_content) == b"0123456789" * 1000
    # Not response.close(): that ends the request for Django, and its connection with it.
    for close in response._resource_closers:
        close()
    assert response.file_to_stream is None or response.file_to_stream.closed


def test_half_of_what_somebody_meant_to_write_replaces_nothing(storage):
    save(storage)

    def write_half() -> None:
        with storage.open("a.png", "wb") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()

    assert read(storage) == b"picture"


@pytest.mark.parametrize("mode", ["r", "ab", "r+b"])
def test_other_ways_to_open_are_refused_by_name(storage, mode):
    with pytest.raises(ValueError, match=r"to read \('rb'\) or to write anew \('wb'\)"):
        storage.open("a.png", mode)


def test_a_transfer_that_breaks_off_is_done_again(cos):
    storage = COSStorage(**cos.options(retries=1))
    content = os.urandom(100_000)
    save(storage, content=content)
    for kind in ("truncated", "corrupt"):
        cos.faults.clear()
        cos.add_fault(kind, method="GET", times=1)
        assert read(storage) == content


@pytest.mark.parametrize("kind", ["truncated", "corrupt"])
def test_a_transfer_that_keeps_breaking_off_is_an_error_and_not_half_a_picture(storage, cos, kind):
    save(storage, content=b"x" * 100_000)
    cos.add_fault(kind, method="GET")

    with storage.open("a.png") as file:
        for _ in range(2):
            with pytest.raises(CosError):
                file.read()


def test_a_slow_transfer_is_waited_for(storage, cos):
    save(storage, content=b"x" * 10_000)
    cos.add_fault("slow", method="GET", seconds=0.01, bytes=2000)

    assert len(read(storage)) == 10_000


# ---------------------------------------------------------------- answers that mislead
ACTS: dict[str, Callable[[COSStorage], object]] = {
    "save": save,
    "open": read,
    "exists": lambda storage: storage.exists("a.png"),
    "size": lambda storage: storage.size("a.png"),
    "time": lambda storage: storage.get_modified_time("a.png"),
    "delete": lambda storage: storage.delete("a.png"),
    "list": lambda storage: storage.listdir(""),
    "walk": lambda storage: list(storage.walk()),
}


@pytest.mark.parametrize("kind", ["redirect_301", "redirect_307", "status_403", "status_503"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_answer_but_a_good_one_is_taken_for_one(storage, cos, kind, act):
    save(storage)
    cos.add_fault(kind)

    with pytest.raises(CosError) as caught:
        act(storage)

    assert caught.value.status == int(kind[-3:])
    assert len(caught.value.request_id) == 32
    assert caught.value.request_id in str(caught.value)
    assert "a.png" in cos.objects()


@pytest.mark.parametrize("kind", ["reset", "drop"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_answer_at_all_is_an_error(storage, cos, kind, act):
    save(storage)
    cos.add_fault(kind)

    with pytest.raises(CosError, match="could not be asked") as caught:
        act(storage)

    assert caught.value.status is None


@pytest.mark.parametrize("act", [v for k, v in ACTS.items() if k != "delete"])
def test_a_page_of_somebody_in_between_is_no_answer(storage, cos, act):
    save(storage)
    cos.add_fault("page")

    with pytest.raises(CosError):
        act(storage)


def test_a_missing_object_and_a_missing_bucket_are_told_apart(storage, cos):
    with pytest.raises(FileNotFoundError, match=r"404 NoSuchKey.*x-cos-request-id"):
        storage.open("a.png")

    cos.add_fault("status_404", method="PUT", times=1)
    with pytest.raises(CosError, match=r"^COS answered 404"):
        save(storage)
    cos.add_fault("status_404", code="NoSuchBucket")
    for act in ("open", "save", "delete", "list"):
        with pytest.raises(CosError) as caught:
            ACTS[act](storage)
        assert caught.value.status == 404


def test_a_server_that_is_not_there_is_an_error_within_its_time():
    options = {"secret_id": "a", "secret_key": "b", "bucket_name": "c-1", "scheme": "http"}
    storage = COSStorage(**options, domain="127.0.0.1:9", retries=0)

    with pytest.raises(CosError, match=r"could not be asked to head_object 'a\.png': "):
        storage.exists("a.png")


def test_an_answer_is_not_waited_for_forever(cos):
    storage = COSStorage(**cos.options(retries=0, timeout=(1, 0.1)))
    cos.add_fault("delay", seconds=5)
    before = time.monotonic()

    with pytest.raises(CosError, match="could not be asked"):
        storage.exists("a.png")

    assert time.monotonic() - before < 2


@pytest.mark.parametrize("kind", ["wrong_etag", "no_etag"])
def test_a_save_that_cannot_be_proved_has_failed(storage, cos, kind):
    cos.add_fault(kind, method="PUT")

    with pytest.raises(CosError, match=r"(another|no) checksum for 'a\.png'"):
        save(storage)


def test_the_checksum_of_encrypted_objects_is_of_another_kind(cos):
    parameters = {"ServerSideEncryption": "AES256"}
    storage = COSStorage(**cos.options(retries=0, object_parameters=parameters))
    cos.add_fault("wrong_etag")

    save(storage)

    assert read(storage) == b"picture"


def test_a_server_that_lies_is_found_out_by_the_first_reader(storage, cos):
    """It told the right checksum and stored nothing: asking again would cost every save a call."""
    cos.add_fault("lie", method="PUT")

    save(storage)

    assert not storage.exists("a.png")
    with pytest.raises(FileNotFoundError):
        storage.open("a.png")


# ---------------------------------------------------------------- trying again
@pytest.mark.parametrize(
    ("kind", "overwrite"), [("drop", True), ("drop", False), ("status_503", True)]
)
def test_a_save_is_tried_again_and_done_once(cos, overwrite, kind):
    """Content too large for memory, so that a file has to be rewound."""
    storage = COSStorage(**cos.options(file_overwrite=overwrite, max_memory_size=1000))
    content = os.urandom(50_000)
    cos.add_fault(kind, method="PUT", times=1)

    assert save(storage, content=content) == "a.png"

    assert cos.objects() == {"a.png": content}
    put = [request for request in cos.requests if request.method == "PUT"]
    assert [request.headers.get("x-cos-sdk-retry") for request in put] == [None, "true"]


def test_the_same_content_under_a_taken_name_is_another_file(cos):
    """Its checksum alone would not tell our own lost answer from somebody else's copy."""
    storage = COSStorage(**cos.options(file_overwrite=False))

    first, second = save(storage), save(storage)

    assert first != second
    storage.delete(second)
    assert read(storage, first) == b"picture"


# ---------------------------------------------------------------- secrets
def test_no_log_line_and_no_error_holds_a_secret(caplog):
    from fluxsite.tests.cos_emulator import CosEmulator

    caplog.set_level(logging.DEBUG)
    told = []
    with CosEmulator(token="token-of-the-service") as cos:
        storage = COSStorage(**cos.options(retries=0))
        save(storage)
        read(storage)
        storage.url("a.png")
        for kind in ("status_403", "status_503", "redirect_301", "reset", "wrong_etag"):
            cos.faults.clear()
            cos.add_fault(kind)
            for act in ACTS.values():
                try:
                    act(storage)
                except OSError as error:
                    told += [repr(error), *traceback.format_exception(error)]
    text = caplog.text + "".join(told) + repr(storage)

    assert len(told) > 100
    for secret in (cos.secret_key, cos.token, "q-signature", "sign_key", "Authorization"):
        assert secret not in text


def test_an_error_survives_the_way_through_a_queue(storage, cos):
    cos.add_fault("status_403")
    with pytest.raises(CosError) as caught:
        storage.open("a.png")

    copy = pickle.loads(pickle.dumps(caught.value))

    assert str(copy) == str(caught.value)
    assert (copy.status, copy.code) == (403, "AccessDenied")
    assert copy.request_id == caught.value.request_id


# ---------------------------------------------------------------- settings
def test_the_environment_chooses_the_storage(cos, tmp_path):
    """The site in another process, with everything as an operator sets it."""
    script = """
import json
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
default_storage.save("a/b.png", ContentFile(b"of another process"))
print(json.dumps({
    "storage": settings.STORAGE,
    "default": type(storages["default"]).__name__,
    "aliases": sorted(settings.STORAGES),
    "images": settings.SECURE_CSP["img-src"],
    "window": storages["cos"].url_window,
    "local": list(storages["local"].walk()),
}))
"""
    environment = {
        **os.environ,
        **cos.environment(),
        "DJANGO_SETTINGS_MODULE": "fluxsite.settings",
        "DATA_DIR": str(tmp_path),
        "COS_LOCATION": "studio",
        "COS_URL_HOURS": "12",
    }

    said = json.loads(run("manage.py", "shell", "-v0", "-c", script, env=environment))

    assert (said["storage"], said["default"]) == ("cos", "COSStorage")
    assert said["aliases"] == ["cos", "default", "local", "staticfiles"]
    assert f"http://{cos.host}" in said["images"]
    assert said["window"] == 12 * HOUR
    assert said["local"] == []
    assert cos.objects() == {"studio/a/b.png": b"of another process"}


# ---------------------------------------------------------------- a real bucket
@pytest.mark.real_bucket
@pytest.mark.enable_socket
class TestRealBucket:
    """What the emulator only claims; see docs/storage.md."""

    @pytest.fixture
    def storage(self, real_bucket):
        location = f"fluxsite-test/{uuid.uuid4().hex}"
        storage = COSStorage(**real_bucket, location=location, file_overwrite=False)
        yield storage
        for name, *_ in list(storage.walk()):
            storage.delete(name)

    def test_an_address_opens_the_picture_until_it_is_changed(self, storage):
        save(storage)
        url = storage.url("a.png")

        assert fetch(url).content == b"picture"
        assert fetch(url.replace("/a.png", "/b.png")).status_code == 403
        assert requests.head(url, timeout=5).status_code == 403

    def test_an_address_from_hours_ago_is_good(self, storage, at):
        save(storage)
        now = time.time()
        at(now - WINDOW + 60)
        url = storage.url("a.png", expire=2 * WINDOW)

        assert fetch(url).content == b"picture"

    def test_a_download_gets_its_name(self, storage):
        save(storage)
        answer = fetch(storage.url("a.png", {"response-content-disposition": "attachment"}))

        assert answer.headers["Content-Disposition"] == "attachment"

    def test_a_taken_name_is_left_alone(self, storage):
        assert save(storage) == "a.png"
        assert save(storage) != "a.png"

    def test_a_wrong_key_is_refused(self, real_bucket):
        storage = COSStorage(**{**real_bucket, "secret_key": "wrong"}, retries=0)
        with pytest.raises(CosError) as caught:
            storage.exists("a.png")
        assert caught.value.status == 403
