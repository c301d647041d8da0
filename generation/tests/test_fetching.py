"""Fetching from strangers: where from, for how long, how much, and with nothing of ours."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import os
import socket
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import pytest

from generation import fetching
from generation.fetching import CannotFetch, Fetched, Hosts
from generation.tests.strangers import Stranger, certificate_for, ok, redirect, status

MB = 1024 * 1024
HERE = Hosts(trusted=("127.0.0.1",))
BODY = bytes(range(256)) * 2000


def fetch(url, *, hosts=HERE, max_bytes=MB, seconds=10.0, into=None):
    """Fetch, and return the bytes that were written."""
    file = io.BytesIO() if into is None else into
    fetched = fetching.fetch(url=url, into=file, hosts=hosts, max_bytes=max_bytes, seconds=seconds)
    content = file.getvalue()
    assert fetched == Fetched(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    return content


def fetch_once(answer, **options):
    """Fetch from a server that gives this answer to everything."""
    with Stranger(lambda _path: answer) as server:
        return fetch(server.url("/picture.png"), **options)


def failure(answer, **options):
    """Return why this answer is no file."""
    with pytest.raises(CannotFetch) as caught:
        fetch_once(answer, **options)
    return caught.value


# ---------------------------------------------------------------- what arrives
def test_a_file_arrives_as_it_is():
    assert fetch_once(ok(BODY)) == BODY


def test_a_file_may_come_in_chunks_or_end_with_the_connection():
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:70000], BODY[70000:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert fetch_once(head + chunked + b"0\r\n\r\n") == BODY
    assert fetch_once(b"HTTP/1.0 200 OK\r\n\r\n" + BODY) == BODY


def test_a_file_that_comes_packed_is_unpacked():
    assert fetch_once(ok(gzip.compress(BODY), Content_Encoding="gzip")) == BODY


def test_what_comes_after_the_length_that_was_told_is_not_part_of_the_file():
    assert fetch_once(ok(BODY) + b"and more") == BODY


def test_the_memory_does_not_grow_with_the_file():
    with Stranger({"/": ok(bytes(32 * MB))}) as server, Path(os.devnull).open("wb") as nowhere:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        fetching.fetch(url=server.url(), into=nowhere, hosts=HERE, max_bytes=64 * MB)
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()

    assert peak < MB


def test_a_file_that_cannot_be_written_is_a_failure_of_ours():
    with (
        Stranger({"/": ok(BODY)}) as server,
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="No space left"),
    ):
        fetching.fetch(url=server.url(), into=full, hosts=HERE, max_bytes=MB)


# ---------------------------------------------------------------- what does not
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(999),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + bytes(500),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + bytes(1000) + b"\r\n",
        ok(gzip.compress(BODY)[:-9], Content_Encoding="gzip"),
    ],
    ids=["length", "in a chunk", "between chunks", "gzip"],
)
def test_a_body_that_is_cut_short_is_no_file(answer):
    assert str(failure([answer])) in (
        "The download was cut short.",
        "The download failed (IncompleteRead).",
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01\x02\x00",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\nbytes",
        ok(b"not packed at all", Content_Encoding="gzip"),
    ],
)
def test_what_is_not_http_is_no_file(answer):
    assert str(failure([answer])).startswith("The download failed (")


@pytest.mark.parametrize("packing", ["br", "zstd", "deflate", "gzip, gzip"])
def test_other_packings_are_refused(packing):
    assert repr(packing) in str(failure(ok(BODY, Content_Encoding=packing)))


def test_several_packed_files_in_one_are_refused():
    answer = ok(gzip.compress(BODY) + gzip.compress(BODY), Content_Encoding="gzip")
    assert "more than one" in str(failure(answer))


def test_nobody_there_and_a_connection_that_is_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(CannotFetch, match="ConnectionRefusedError"):
        fetch(f"http://127.0.0.1:{port}/")
    with Stranger(lambda _path: None) as server, pytest.raises(CannotFetch, match="Remote"):
        fetch(server.url())


@pytest.mark.parametrize(
    ("number", "gone"),
    [(403, True), (404, True), (410, True), (401, False), (429, False), (500, False)],
)
def test_a_file_that_is_gone_is_told_from_one_that_may_come_yet(number, gone):
    error = failure(status(number))

    assert f"HTTP {number}" in str(error)
    assert error.gone is gone


@pytest.mark.parametrize("number", [201, 204, 206, 300, 304])
def test_only_200_brings_a_file(number):
    assert str(failure(status(number))) == f"The provider answered HTTP {number}."


# ---------------------------------------------------------------- how much
def test_a_length_beyond_the_limit_is_refused_unread():
    file = io.BytesIO()
    error = failure(ok(bytes(MB + 1)), into=file)

    assert str(error) == "The file is larger than 1048576 bytes."
    assert file.getvalue() == b""
    assert len(fetch_once(ok(bytes(MB)))) == MB


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_a_flood_without_a_length_is_cut_at_the_limit(head):
    file = io.BytesIO()
    error = failure(itertools.chain([head], itertools.repeat(bytes(65536))), into=file)

    assert str(error) == "The file is larger than 1048576 bytes."
    assert len(file.getvalue()) <= MB


def test_a_packed_flood_is_cut_at_the_limit_and_never_held():
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(MB)) for _ in range(300)) + packer.flush()
    file = io.BytesIO()
    with Stranger({"/": ok(bomb, Content_Encoding="gzip")}) as server:
        tracemalloc.start()
        with pytest.raises(CannotFetch, match="larger than"):
            fetching.fetch(url=server.url(), into=file, hosts=HERE, max_bytes=MB)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert len(bomb) < MB
    assert len(file.getvalue()) <= MB
    assert peak < 4 * MB


def test_a_packed_flood_of_nothing_is_cut_too():
    packer = zlib.compressobj(0, wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    nothing = b"\x00\x00\x00\xff\xff" * 13000
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + start

    error = failure(itertools.chain([head], itertools.repeat(nothing)))

    assert str(error) == "The file is larger than 1048576 bytes."


# ---------------------------------------------------------------- how long
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def dripping(start, drop=b"x"):
    return itertools.chain([start], itertools.cycle([0.02, drop]))


@pytest.mark.parametrize(
    "answer",
    [
        lambda: dripping(HEAD),
        lambda: dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
        lambda: dripping(CHUNKED, b"1\r\nx\r\n"),
        lambda: dripping(CHUNKED, b"0"),
        lambda: dripping(b""),
        lambda: dripping(b"HTTP/1.1 200 OK\r\n", b"X"),
        lambda: dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda: [HEAD, 3.0],
        lambda: [3.0],
    ],
    ids=[
        *("body", "no length", "chunks", "size of a chunk", "status line", "headers"),
        *("interim answers", "silence in the body", "silence"),
    ],
)
def test_a_server_that_drips_is_left_in_time(answer):
    with Stranger(lambda _path: answer()) as server:
        begun = time.monotonic()
        with pytest.raises(CannotFetch, match=r"^The download took too long\.$"):
            fetch(server.url(), seconds=0.3)
        taken = time.monotonic() - begun

    assert 0.3 <= taken < 1.5


def test_a_server_that_falls_silent_is_left_before_the_time_is_over(monkeypatch):
    monkeypatch.setattr(fetching, "WAIT_SECONDS", 0.2)
    begun = time.monotonic()

    error = failure([HEAD, bytes(100), 1.0])

    assert str(error) == "The download took too long."
    assert time.monotonic() - begun < 5


def test_redirects_share_one_deadline():
    slow = [0.2, redirect("/")]
    with Stranger(lambda _path: slow) as server:
        begun = time.monotonic()
        with pytest.raises(CannotFetch, match="too long"):
            fetch(server.url(), seconds=0.3)

    assert time.monotonic() - begun < 1.5


def test_a_greeting_of_tls_that_drips_is_left_in_time():
    with Stranger({}) as server:
        server.first_words = dripping(b"\x16\x03\x03\x40\x00")
        begun = time.monotonic()
        with pytest.raises(CannotFetch, match="too long"):
            fetch(f"https://127.0.0.1:{server.port}/", seconds=0.3)

    assert time.monotonic() - begun < 1.5


# ---------------------------------------------------------------- where from
@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http:///x",
        "http://127.0.0.1:port/x",
        "http://127.0.0.1:99999/x",
        "http://[127.0.0.1/x",
        "http://127.0.0.1\\@evil.example/x",
        "http://evil.example\\@127.0.0.1/x",
        "http://127.0.0.1@evil.example/x",
        "http://user:password@127.0.0.1/x",
        "http://evil.example#@127.0.0.1/x",
        "http://127。0。0。1/x",
        "http://127.0.0.1\u2100.example/x",
    ],
)
def test_an_address_two_parsers_read_differently_is_not_fetched(url):
    with pytest.raises(CannotFetch, match=r"malformed|RESULT_HOSTS"):
        fetch(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "127%2e0%2e0%2e1", "[::1]"])
def test_another_name_of_an_allowed_address_is_not_allowed(host):
    with pytest.raises(CannotFetch, match=r"is not among RESULT_HOSTS\.|malformed"):
        fetch(f"http://{host}/x")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("fal.media", False),
        ("v3.fal.media", True),
        ("a.b.fal.media", True),
        ("files.example", True),
        ("a.files.example", False),
        ("evilfal.media", False),
        ("v3.fal.media.", False),
        ("v3.fal.media.evil.example", False),
    ],
)
def test_a_leading_dot_allows_all_below_a_name_and_nothing_else(host, allowed):
    assert Hosts(public=(".fal.media", "files.example")).allows(host) is allowed


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "192.0.0.8", "192.0.0.10", "192.0.2.1", "192.88.99.1", "198.18.0.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001:db8::1"),
        *("2001::1", "2001:20::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "fc00::1"),
        *("fd12::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "5f00::1"),
        *("", "localhost", "8.8.8", "8.8.8.8.8", "8.8.8.8/32"),
    ],
)
def test_an_address_that_is_special_is_not_public(address):
    assert not fetching.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "223.5.5.5", "2606:4700::1111", "2400:3200::1", "2a00::1"]
)
def test_an_address_of_the_internet_is_public(address):
    assert fetching.is_public(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_public_name_that_leads_into_this_machine_is_not_even_called(host):
    with Stranger({"/": ok(BODY)}) as server:
        with pytest.raises(CannotFetch, match="is not on the public internet") as caught:
            fetch(f"https://{host}:{server.port}/", hosts=Hosts(public=(host,)))
        time.sleep(0.05)

        assert (server.connections, server.requests) == (0, [])
    assert host in str(caught.value)
    assert not caught.value.gone


def test_a_public_name_is_asked_by_https_only():
    with Stranger({"/": ok(BODY)}) as server:
        with pytest.raises(CannotFetch, match="localhost may be asked by https only"):
            fetch(server.url(host="localhost"), hosts=Hosts(public=("localhost",)))

        assert server.connections == 0


def test_a_host_that_is_no_longer_trusted_is_not_asked_on_the_connection_kept():
    with Stranger({"/": ok(BODY)}) as server:
        fetch(server.url())
        with pytest.raises(CannotFetch, match="by https only"):
            fetch(server.url(), hosts=Hosts(public=("127.0.0.1",)))

        assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_where_any_host_is_allowed_none_leads_into_this_machine(host):
    with Stranger({"/": ok(BODY)}) as server:
        with pytest.raises(CannotFetch, match="is not on the public internet"):
            fetch(server.url(host=host), hosts=Hosts(anywhere=True))

        assert server.connections == 0


def test_where_any_host_is_allowed_a_trusted_one_is_still_no_way_to_another():
    with Stranger({"/secret": ok(BODY)}) as inside:
        answers = {"/": redirect(inside.url("/secret", host="localhost")), "/b": ok(BODY)}
        with Stranger(answers) as server:
            hosts = Hosts(trusted=("127.0.0.1",), anywhere=True)
            assert fetch(server.url("/b"), hosts=hosts) == BODY
            with pytest.raises(CannotFetch, match="localhost is at"):
                fetch(server.url(), hosts=hosts)

        assert inside.connections == 0


def test_hosts_that_are_trusted_for_one_picture_are_not_reached_on_its_connection_for_another():
    with Stranger({"/": ok(BODY)}) as server:
        fetch(server.url())
        with pytest.raises(CannotFetch, match="is not on the public internet"):
            fetch(server.url(), hosts=Hosts(anywhere=True))

        assert len(server.requests) == 1


# ---------------------------------------------------------------- redirects
def test_a_redirect_to_an_allowed_host_is_followed():
    other = Stranger({"/b?c=%20d": ok(BODY)})
    with other, Stranger({"/a": redirect(other.url("/b?c=%20d"))}) as server:
        assert fetch(server.url("/a")) == BODY


def test_three_redirects_are_followed_and_not_a_fourth():
    answers = {f"/{n}": redirect(f"{n + 1}") for n in range(4)} | {"/4": ok(BODY)}
    with Stranger(answers) as server:
        assert fetch(server.url("/1")) == BODY
        with pytest.raises(CannotFetch, match="redirects too often"):
            fetch(server.url("/0"))


def test_a_loop_of_redirects_ends():
    with Stranger(lambda _path: redirect("/", 308)) as server:
        with pytest.raises(CannotFetch, match="redirects too often"):
            fetch(server.url())

        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://evil.example/x", "evil.example is not among RESULT_HOSTS"),
        ("//evil.example/x", "evil.example is not among RESULT_HOSTS"),
        ("http://127.0.0.1\\@evil.example/x", "malformed"),
        ("http://a:b@127.0.0.1/x", "malformed"),
        ("file:///etc/passwd", "malformed"),
        ("gopher://127.0.0.1/x", "malformed"),
        ("http://[1/x", "malformed"),
        ("", "answered HTTP 302"),
    ],
)
def test_a_redirect_to_elsewhere_is_refused(location, reason):
    assert reason in str(failure(redirect(location)))


def test_a_redirect_into_this_machine_is_refused_before_anything_is_said():
    with Stranger({"/": ok(BODY)}) as inside:
        for location, hosts in (
            (inside.url(host="localhost"), HERE),
            (
                f"https://localhost:{inside.port}/",
                Hosts(public=("localhost",), trusted=("127.0.0.1",)),
            ),
        ):
            with pytest.raises(CannotFetch):
                fetch_once(redirect(location), hosts=hosts)

        assert inside.connections == 0


# ---------------------------------------------------------------- TLS
@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A certificate for localhost that we trust."""
    file = certificate_for("localhost", tmp_path)
    fetching._tls.cache_clear()
    monkeypatch.setattr(fetching.certifi, "where", lambda: str(file))
    yield file
    fetching._tls.cache_clear()


LOCALHOST = Hosts(trusted=("localhost", "127.0.0.1"))


def test_a_file_arrives_over_tls_and_the_connection_is_kept(certificate):
    with Stranger({"/": ok(BODY)}, certificate=certificate) as server:
        for _ in range(3):
            assert fetch(server.url(host="localhost"), hosts=LOCALHOST) == BODY

        assert server.connections == 1


def test_nothing_is_said_to_a_server_whose_certificate_is_not_trusted(certificate, tmp_path):
    (tmp_path / "other").mkdir()
    forged = certificate_for("localhost", tmp_path / "other")
    with Stranger({"/": ok(BODY)}, certificate=forged) as server:
        with pytest.raises(CannotFetch, match="SSLCertVerificationError"):
            fetch(server.url(host="localhost"), hosts=LOCALHOST)

        assert server.requests == []


def test_nothing_is_said_to_a_server_with_a_certificate_for_another_name(certificate):
    with Stranger({"/": ok(BODY)}, certificate=certificate) as server:
        with pytest.raises(CannotFetch, match="SSLCertVerificationError"):
            fetch(server.url(), hosts=LOCALHOST)

        assert server.requests == []


def test_a_redirect_from_https_to_http_is_refused(certificate):
    with (
        Stranger({"/": ok(BODY)}) as plain,
        Stranger(lambda _path: redirect(plain.url()), certificate=certificate) as server,
    ):
        with pytest.raises(CannotFetch, match="from https to http"):
            fetch(server.url(host="localhost"), hosts=LOCALHOST)

        assert plain.connections == 0


# ---------------------------------------------------------------- nothing of ours
def test_a_request_carries_neither_credentials_nor_cookies_and_knows_no_proxy(
    monkeypatch, tmp_path
):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Stranger({"/a": redirect("/b"), "/b": ok(BODY)}) as server:
        fetch(server.url("/a"))

    for request in server.requests:
        names = [line.partition(b":")[0] for line in request.split(b"\r\n")[1:-2]]
        assert sorted(names) == [b"Accept", b"Accept-Encoding", b"Host", b"User-Agent"]
        assert b"Accept-Encoding: identity" in request


def test_paths_are_written_as_browsers_do():
    with Stranger(lambda _path: ok(BODY)) as server:
        fetch(server.url("/图 片.png?a=ü%20&b=[c]#fragment"))
        fetch(f"http://127.0.0.1:{server.port}")

    lines = [request.partition(b"\r\n")[0] for request in server.requests]
    assert lines == [
        b"GET /%E5%9B%BE%20%E7%89%87.png?a=%C3%BC%20&b=[c] HTTP/1.1",
        b"GET / HTTP/1.1",
    ]


def test_an_address_of_the_sixth_version_is_spoken_to_by_its_name():
    try:
        server = Stranger({"/": ok(BODY)}, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert fetch(server.url(host="[::1]"), hosts=Hosts(trusted=("::1",))) == BODY

    assert b"Host: [::1]:" in server.requests[0]


# ---------------------------------------------------------------- connections
def test_a_connection_is_kept_for_the_next_file_of_the_same_server():
    with Stranger({"/": ok(BODY)}) as server, Stranger({"/": ok(BODY)}) as other:
        for _ in range(3):
            assert fetch(server.url()) == BODY
        assert server.connections == 1
        fetch(other.url())
        fetch(server.url())

        assert (server.connections, other.connections) == (2, 1)


@pytest.mark.parametrize(
    "answer",
    [
        ok(BODY, Connection="close"),
        [ok(BODY)],
        ok(BODY) + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake",
    ],
    ids=["closed as announced", "closed without a word", "more than was asked for"],
)
def test_a_connection_of_no_more_use_is_not_kept(answer):
    with Stranger(lambda _path: answer) as server:
        assert fetch(server.url()) == BODY
        time.sleep(0.05)
        assert fetch(server.url()) == BODY

        assert server.connections == 2


def test_a_connection_is_not_kept_after_a_failure():
    with Stranger({"/": status(404), "/a": ok(BODY)}) as server:
        with pytest.raises(CannotFetch):
            fetch(server.url())
        fetch(server.url("/a"))

        assert server.connections == 2


def test_a_connection_is_not_kept_for_long(monkeypatch):
    monkeypatch.setattr(fetching, "KEPT_SECONDS", 0.0)
    with Stranger({"/": ok(BODY)}) as server:
        fetch(server.url())
        fetch(server.url())

        assert server.connections == 2


def test_a_child_does_not_speak_on_the_connection_of_its_parent():
    with Stranger({"/": ok(BODY)}) as server:
        fetch(server.url())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            os._exit(fetch(server.url()) != BODY)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        fetch(server.url())

        assert server.connections == 2
