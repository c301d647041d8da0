"""The emulator is what it claims: it checks signatures, and the vendor's SDK works with it."""

from __future__ import annotations

import base64
import hashlib
import re
import signal
import subprocess
import sys
import time
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import requests
from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosServiceError

from fluxsite.cos import COSStorage
from fluxsite.tests.cos_emulator import CosEmulator
from fluxsite.tests.cos_emulator.bucket import crc64
from fluxsite.tests.cos_emulator.errors import Refusal
from fluxsite.tests.cos_emulator.signatures import verify

ROOT = Path(__file__).resolve().parents[2]


def make_client(cos: CosEmulator, **changes: Any) -> CosS3Client:
    """The vendor's client as anybody would set it up."""
    options = {
        "SecretId": cos.secret_id,
        "SecretKey": cos.secret_key,
        "Domain": cos.host,
        "Scheme": "http",
        **changes,
    }
    return CosS3Client(CosConfig(**options), retry=0)


@pytest.fixture
def client(cos):
    return make_client(cos)


@pytest.fixture
def bucket(cos):
    return cos.bucket_name


# ---------------------------------------------------------------- who comes in
def test_the_signature_of_the_vendors_sdk_for_go_is_right():
    headers = Message()
    headers["Host"] = "testbucket-125000000.cos.ap-guangzhou.myqcloud.com"
    headers["x-cos-content-sha1"] = "db8ac1c259eb89d4a131b253bacfca5f319d54f2"
    headers["x-cos-stroage-class"] = "nearline"
    headers["Authorization"] = (
        "q-sign-algorithm=sha1&q-ak=QmFzZTY0IGlzIGEgZ2VuZXJp"
        "&q-sign-time=1480932292;1481012292&q-key-time=1480932292;1481012292"
        "&q-header-list=host;x-cos-content-sha1;x-cos-stroage-class&q-url-param-list="
        "&q-signature=ce4ac0ecbcdb30538b3fee0a97cc6389694ce53a"
    )
    request = {
        "method": "PUT",
        "path": "/testfile2",
        "query": {},
        "headers": headers,
        "secret_id": "QmFzZTY0IGlzIGEgZ2VuZXJp",
        "secret_key": "AKIDZfbOA78asKUYBcXFrJD0a1ICvR98JM",
        "token": "",
        "now": 1480932300,
    }

    verify(**request)

    for change in (
        {"method": "GET"},
        {"path": "/testfile3"},
        {"secret_key": "another"},
        {"secret_id": "another"},
        {"now": 1480932291},
        {"now": 1481012293},
        {"token": "needed"},
    ):
        with pytest.raises(Refusal) as caught:
            verify(**{**request, **change})
        assert caught.value.status == 403


@pytest.mark.parametrize(
    "key", ["a.png", "a b%20?#&+.png", "图片/🎨.png", 'it\'s "q".png', "dot./x", "a//b"]
)
def test_requests_of_the_sdk_come_in_whatever_the_key(client, bucket, cos, key):
    client.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={"x-cos-meta-a": "b c"})

    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    assert client.head_object(Bucket=bucket, Key=key)["x-cos-meta-a"] == "b c"
    assert [each["Key"] for each in client.list_objects(bucket)["Contents"]] == [key]
    assert requests.get(client.get_presigned_url(bucket, key, "GET"), timeout=5).content == b"x"
    client.delete_object(Bucket=bucket, Key=key)
    assert cos.objects() == {}


def test_the_hosts_name_may_be_signed_with_its_port_or_without(cos, client, bucket):
    """The SDK for Python leaves it out, browsers and the SDK for Node don't."""
    client.put_object(Bucket=bucket, Key="a.png", Body=b"x")
    by_name = make_client(cos, Domain=None, Region=cos.region, IP="127.0.0.1", Port=cos.port)

    assert by_name.get_object(Bucket=bucket, Key="a.png")["Body"].read() == b"x"
    with pytest.raises(CosServiceError) as caught:
        by_name.get_object(Bucket="another-1250000000", Key="a.png")
    assert (caught.value.get_status_code(), caught.value.get_error_code()) == (404, "NoSuchBucket")
    assert requests.get(COSStorage(**cos.options()).url("a.png"), timeout=5).content == b"x"


@pytest.mark.parametrize("changes", [{"SecretKey": "wrong"}, {"SecretId": "wrong"}])
def test_strangers_are_refused(cos, bucket, changes):
    with pytest.raises(CosServiceError) as caught:
        make_client(cos, **changes).put_object(Bucket=bucket, Key="a.png", Body=b"x")

    assert caught.value.get_status_code() == 403
    assert cos.objects() == {}


def test_a_request_without_a_signature_is_refused(cos):
    cos.bucket.put("a.png", b"x", {})

    for answer in (
        requests.get(f"{cos.url}/a.png", timeout=5),
        requests.put(f"{cos.url}/a.png", data=b"y", timeout=5),
        requests.get(f"{cos.url}/?prefix=", timeout=5),
    ):
        assert answer.status_code == 403
        assert "<Code>AccessDenied</Code>" in answer.text


@pytest.mark.parametrize(
    "tamper",
    [
        lambda request: request.headers.update({"x-cos-meta-a": "other"}),
        lambda request: request.headers.pop("x-cos-meta-a"),
        lambda request: request.headers.update({"Content-Type": "text/html"}),
        lambda request: setattr(request, "url", request.url.replace("a.png", "b.png")),
        lambda request: setattr(request, "method", "POST"),
        lambda request: request.headers.update({"Host": "elsewhere.example.org"}),
    ],
    ids=["header changed", "header gone", "type", "path", "method", "host"],
)
def test_a_signed_request_that_was_changed_is_refused(cos, client, bucket, tamper):
    headers = {"x-cos-meta-a": "b", "Content-Type": "image/png", "Host": cos.host}
    headers["Authorization"] = client.get_auth("PUT", bucket, "a.png", Headers={**headers})
    request = requests.Request("PUT", f"{cos.url}/a.png", headers=headers, data=b"x").prepare()
    with requests.Session() as session:
        tamper(request)
        assert session.send(request, timeout=5).status_code == 403
    assert cos.objects() == {}


def test_a_presigned_put_holds_the_sender_to_what_was_signed(cos, client, bucket):
    headers = {"Content-Type": "image/png", "Content-Length": "3", "Host": cos.host}
    url = client.get_presigned_url(bucket, "up.png", "PUT", Headers=headers)

    right = requests.put(url, data=b"abc", headers={"Content-Type": "image/png"}, timeout=5)
    longer = requests.put(url, data=b"abcd", headers={"Content-Type": "image/png"}, timeout=5)
    other = requests.put(url, data=b"abc", headers={"Content-Type": "text/html"}, timeout=5)

    assert [right.status_code, longer.status_code, other.status_code] == [200, 403, 403]
    assert cos.objects() == {"up.png": b"abc"}


# ---------------------------------------------------------------- what the SDK does
def test_an_upload_in_parts(cos, client, bucket):
    content = bytes(range(256)) * 16_384  # 4 MiB
    upload = client.create_multipart_upload(bucket, "parts.bin", ContentType="image/png")
    upload_id = upload["UploadId"]
    tags = []
    for number in (2, 1, 3):
        start = (number - 1) * 2**20 * 3 // 2
        body = content[start : start + 2**20 * 3 // 2]
        answer = client.upload_part(bucket, "parts.bin", body, number, upload_id, EnableMD5=True)
        tags.append({"PartNumber": number, "ETag": answer["ETag"]})
    listed = client.list_parts(bucket, "parts.bin", upload_id)
    running = client.list_multipart_uploads(bucket)
    parts = {"Part": sorted(tags, key=lambda tag: tag["PartNumber"])}
    done = client.complete_multipart_upload(bucket, "parts.bin", upload_id, parts)

    assert [part["PartNumber"] for part in listed["Part"]] == ["1", "2", "3"]
    assert [each["Key"] for each in running["Upload"]] == ["parts.bin"]
    assert re.fullmatch(r'"[0-9a-f]{32}-3"', done["ETag"])
    assert cos.objects() == {"parts.bin": content}
    assert client.head_object(bucket, "parts.bin")["Content-Type"] == "image/png"
    assert "Upload" not in client.list_multipart_uploads(bucket)


def test_the_sdks_own_way_to_upload_much(cos, client, bucket, tmp_path):
    content = bytes(range(256)) * 20_000  # 5 MB
    (tmp_path / "source").write_bytes(content)
    with (tmp_path / "source").open("rb") as file:
        client.upload_file_from_buffer(
            bucket, "much.bin", Body=file, MaxBufferSize=1, PartSize=1, MAXThread=3
        )

    assert cos.objects() == {"much.bin": content}


def test_an_upload_in_parts_can_be_given_up_and_checks_its_parts(cos, client, bucket):
    upload_id = client.create_multipart_upload(bucket, "a.bin")["UploadId"]
    tag = client.upload_part(bucket, "a.bin", b"small", 1, upload_id)["ETag"]
    client.upload_part(bucket, "a.bin", b"last", 2, upload_id)
    last = f'"{hashlib.md5(b"last").hexdigest()}"'

    def complete(*parts: tuple[int, str]) -> str:
        document = {"Part": [{"PartNumber": n, "ETag": etag} for n, etag in parts]}
        with pytest.raises(CosServiceError) as caught:
            client.complete_multipart_upload(bucket, "a.bin", upload_id, document)
        return caught.value.get_error_code()

    assert complete((1, tag), (2, last)) == "EntityTooSmall"
    assert complete((1, '"other"')) == "InvalidPart"
    client.abort_multipart_upload(bucket, "a.bin", upload_id)
    assert complete((1, tag)) == "NoSuchUpload"
    assert cos.objects() == {}


def test_a_copy_keeps_or_replaces_what_is_said_of_it(client, bucket):
    client.put_object(bucket, b"original", "一 a.png", ContentType="image/png")
    source = {"Bucket": bucket, "Key": "一 a.png", "Region": "ap-guangzhou"}

    client.copy_object(bucket, "kept.png", source)
    client.copy_object(bucket, "replaced.png", source, "Replaced", ContentType="text/plain")

    assert client.get_object(bucket, "kept.png")["Body"].read() == b"original"
    assert client.head_object(bucket, "kept.png")["Content-Type"] == "image/png"
    assert client.head_object(bucket, "replaced.png")["Content-Type"] == "text/plain"
    with pytest.raises(CosServiceError) as caught:
        client.copy_object(bucket, "none.png", {**source, "Key": "missing"})
    assert caught.value.get_error_code() == "NoSuchKey"


def test_lists_have_pages_prefixes_and_delimiters(cos, client, bucket):
    for name in ("a/1", "a/2", "b/1", "c", "d/1/2", "d/2", "e", "日/本"):
        cos.bucket.put(name, name.encode(), {})

    def pages(**options: Any) -> list[list[str]]:
        found, marker = [], ""
        while True:
            page = client.list_objects(bucket, Marker=marker, **options)
            contents = [each["Key"] for each in page.get("Contents", [])]
            prefixes = [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            found.append(sorted(contents + prefixes))
            if page["IsTruncated"] == "false":
                return found
            marker = page["NextMarker"]

    assert pages(MaxKeys=3) == [["a/1", "a/2", "b/1"], ["c", "d/1/2", "d/2"], ["e", "日/本"]]
    assert pages(MaxKeys=2, Delimiter="/") == [["a/", "b/"], ["c", "d/"], ["e", "日/"]]
    assert pages(Prefix="d/", Delimiter="/") == [["d/1/", "d/2"]]
    assert pages(Prefix="nothing") == [[]]
    assert client.list_objects(bucket, Prefix="c")["Contents"][0]["Size"] == "1"


def test_many_are_deleted_at_once(cos, client, bucket):
    for name in ("a", "b c", "中"):
        cos.bucket.put(name, b"x", {})

    done = client.delete_objects(bucket, {"Object": [{"Key": "a"}, {"Key": "中"}, {"Key": "no"}]})

    assert [each["Key"] for each in done["Deleted"]] == ["a", "中", "no"]
    assert list(cos.objects()) == ["b c"]


def test_a_part_of_an_object_can_be_asked_for(client, bucket):
    client.put_object(bucket, b"0123456789", "a")

    def part(wanted: str) -> tuple[bytes, str]:
        answer = client.get_object(bucket, "a", Range=wanted)
        return answer["Body"].read(), answer["Content-Range"]

    assert part("bytes=2-4") == (b"234", "bytes 2-4/10")
    assert part("bytes=8-") == (b"89", "bytes 8-9/10")
    assert part("bytes=-3") == (b"789", "bytes 7-9/10")
    assert part("bytes=5-99") == (b"56789", "bytes 5-9/10")
    with pytest.raises(CosServiceError) as caught:
        client.get_object(bucket, "a", Range="bytes=10-")
    assert caught.value.get_status_code() == 416


def test_what_a_reader_has_already_is_not_sent_again(cos, client, bucket):
    etag = client.put_object(bucket, b"x", "a")["ETag"]
    url = COSStorage(**cos.options()).url("a")
    first = requests.get(url, timeout=5)

    def status(**headers: str) -> int:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(url, headers=names, timeout=5).status_code

    assert status(If_None_Match=etag) == 304
    assert status(If_None_Match='"other"') == 200
    assert status(If_Modified_Since=first.headers["Last-Modified"]) == 304
    assert status(If_Match='"other"') == 412


def test_the_answer_can_be_given_other_headers(client, bucket):
    client.put_object(bucket, b"x", "a.png", ContentType="image/png", CacheControl="no-store")

    answer = client.get_object(
        bucket, "a.png", ResponseContentType="text/plain", ResponseCacheControl="max-age=1"
    )

    assert (answer["Content-Type"], answer["Cache-Control"]) == ("text/plain", "max-age=1")


# ---------------------------------------------------------------- what is refused, and how
def test_an_error_is_told_as_cos_tells_it(client, bucket, cos):
    with pytest.raises(CosServiceError) as caught:
        client.get_object(bucket, "missing & gone")

    error = caught.value
    assert (error.get_status_code(), error.get_error_code()) == (404, "NoSuchKey")
    assert error.get_resource_location() == f"{cos.host}/missing & gone"
    assert len(error.get_request_id()) == 32
    assert error.get_trace_id() != "Unknown"


def test_the_head_of_an_error_has_no_body(cos, client, bucket):
    cos.add_fault("status_403")
    with pytest.raises(CosServiceError) as caught:
        client.head_object(bucket, "a")

    assert caught.value.get_error_code() == "Unknown"
    assert len(caught.value.get_digest_msg()["x-cos-request-id"]) == 32


def test_a_checksum_that_does_not_fit_is_refused(cos, client, bucket):
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for given, code in ((wrong, "BadDigest"), ("nonsense", "InvalidDigest")):
        with pytest.raises(CosServiceError) as caught:
            client.put_object(bucket, b"x", "a", ContentMD5=given)
        assert caught.value.get_error_code() == code
    assert cos.objects() == {}


def test_a_name_can_be_protected(cos, client, bucket):
    once = {"Metadata": {"x-cos-forbid-overwrite": "true"}}
    client.put_object(bucket, b"first", "a", **once)
    with pytest.raises(CosServiceError) as caught:
        client.put_object(bucket, b"second", "a", **once)

    assert (caught.value.get_status_code(), caught.value.get_error_code()) == (
        *(409, "FileAlreadyExists"),
    )
    assert cos.objects() == {"a": b"first"}
    client.put_object(bucket, b"third", "a")
    assert cos.objects() == {"a": b"third"}


def test_a_body_without_a_length_is_taken(cos, client, bucket):
    client.put_object(bucket, iter([b"one, ", b"two"]), "a")

    assert cos.requests[0].headers["transfer-encoding"] == "chunked"
    assert cos.objects() == {"a": b"one, two"}


def test_the_bucket_itself_is_not_deleted(cos, client, bucket):
    cos.bucket.put("a", b"x", {})
    with pytest.raises(CosServiceError) as caught:
        client.delete_bucket(bucket)

    assert caught.value.get_error_code() == "BucketNotEmpty"
    assert client.head_bucket(bucket)


def test_the_checksum_is_the_one_of_the_standard(client, bucket):
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA
    answer = client.put_object(bucket, b"123456789", "a")
    assert answer["x-cos-hash-crc64ecma"] == str(0x995DC9BBDF1939FA)


# ---------------------------------------------------------------- browsers
def test_a_default_domain_sends_attachments():
    with CosEmulator(force_download=True) as cos:
        cos.bucket.put("a.png", b"x", {})
        answer = requests.get(COSStorage(**cos.options()).url("a.png"), timeout=5)

    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["x-cos-force-download"] == "true"


def test_another_origin_may_read_if_it_is_listed():
    with CosEmulator(cors_origins=("https://studio.example.org",)) as cos:
        cos.bucket.put("a.png", b"x", {})
        url = COSStorage(**cos.options()).url("a.png")
        listed = {"Origin": "https://studio.example.org"}
        answers = [
            requests.options(url, headers=listed, timeout=5),
            requests.get(url, headers=listed, timeout=5),
            requests.options(url, headers={"Origin": "https://other.example.org"}, timeout=5),
            requests.get(url, headers={"Origin": "https://other.example.org"}, timeout=5),
        ]

    name = "Access-Control-Allow-Origin"
    assert [answer.headers.get(name) for answer in answers] == [
        *("https://studio.example.org", "https://studio.example.org", None, None),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 200]


# ---------------------------------------------------------------- faults, log, process
def test_a_rule_strikes_whom_it_names_as_often_as_it_says(cos):
    storage = COSStorage(**cos.options(retries=0))
    rule = cos.add_fault("status_503", method="HEAD", path=r"^a/.*\.png$", times=2, after=1)

    def fails(name: str) -> bool:
        try:
            storage.exists(name)
        except OSError:
            return True
        return False

    names = ["a/1.png", "b/1.png", "a/1.png", "a/1.txt", "a/2.png", "a/3.png"]
    assert [fails(name) for name in names] == [False, False, True, False, True, False]
    assert (rule.matched, rule.struck) == (4, 2)


def test_a_rule_that_nobody_knows_is_refused(cos):
    with pytest.raises(ValueError, match="unknown fault 'earthquake'"):
        cos.add_fault("earthquake")
    with pytest.raises(ValueError, match="delay has no parameter minutes"):
        cos.add_fault("delay", minutes=1)


def test_the_log_holds_no_credential(cos, client, bucket):
    client.put_object(bucket, b"x", "a")
    requests.get(client.get_presigned_url(bucket, "a", "GET", Params={"b": "c"}), timeout=5)

    put, get = cos.requests
    assert (put.method, put.key, put.signed, put.answered) == ("PUT", "a", "header", 200)
    assert (get.method, get.query, get.signed, get.answered) == ("GET", {"b": "c"}, "query", 200)
    assert "q-signature" not in repr(cos.requests)


def test_objects_can_outlive_the_process(tmp_path):
    with CosEmulator(directory=tmp_path) as cos:
        storage = COSStorage(**cos.options())
        for name in ("中 a.png", "b.png"):
            make_client(cos).put_object(cos.bucket_name, name.encode(), name)
        storage.delete("b.png")
        changed = storage.get_modified_time("中 a.png")
    with CosEmulator(directory=tmp_path) as cos:
        storage = COSStorage(**cos.options())

        assert cos.objects() == {"中 a.png": "中 a.png".encode()}
        assert storage.get_modified_time("中 a.png") == changed


def test_an_emulator_of_its_own_serves_many_processes():
    command = [sys.executable, "-m", "fluxsite.tests.cos_emulator", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1]
            lines = [process.stdout.readline() for _ in range(7)]
            told = dict(line.strip().split("=", 1) for line in lines)
            storage = COSStorage(
                bucket_name=told["COS_BUCKET"],
                domain=told["COS_DOMAIN"],
                scheme=told["COS_SCHEME"],
                secret_id=told["COS_SECRET_ID"],
                secret_key=told["COS_SECRET_KEY"],
                retries=0,
            )
            with storage.open("a.png", "wb") as file:
                file.write(b"x")
            rule = {"kind": "status_503", "times": 1}
            added = requests.post(f"{url}/_emulator/faults", json=rule, timeout=5)
            refused = requests.post(f"{url}/_emulator/faults", json={"kind": "no"}, timeout=5)
            with pytest.raises(OSError, match="503"):
                storage.exists("a.png")

            log = requests.get(f"{url}/_emulator/requests", timeout=5).json()
            objects = requests.get(f"{url}/_emulator/objects", timeout=5).json()
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            assert process.wait(10) == 0
        finally:
            process.kill()

    assert told["STORAGE"] == "cos"
    assert (added.status_code, refused.status_code) == (200, 422)
    assert [(each["method"], each["answered"]) for each in log] == [("PUT", 200), ("HEAD", 503)]
    assert objects == {"a.png": 1}
    assert time.monotonic() - started < 5
