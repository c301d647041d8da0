"""The virus scanner, as a server on loopback that speaks INSTREAM and can misbehave."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import struct
import threading
import time

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from generation import clamav
from generation.models import Upload
from generation.tests.factories import image_bytes

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
MEGABYTE = 1024 * 1024


class Clamd(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers like clamd, or as `behaviour` says. `seen` are the streams it has received."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address, *, max_length=25 * MEGABYTE):
        self.behaviour = "honest"
        self.max_length = max_length
        self.seen = []
        self.released = threading.Event()
        super().__init__(address, _Conversation)


class UnixClamd(Clamd):
    address_family = socket.AF_UNIX


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            getattr(self, self.server.behaviour)()

    def receive(self):
        """Return the stream, or None when it is longer than we take."""
        assert self.rfile.read(10) == b"zINSTREAM\0"
        content = b""
        while length := struct.unpack(">I", self.rfile.read(4))[0]:
            if len(content) + length > self.server.max_length:
                return None
            content += self.rfile.read(length)
        self.server.seen.append(content)
        return content

    def say(self, text):
        self.wfile.write(text)

    def honest(self):
        content = self.receive()
        if content is None:
            self.say(b"INSTREAM size limit exceeded. ERROR\0")
        elif EICAR in content:
            self.say(b"stream: Eicar-Test-Signature FOUND\0")
        else:
            self.say(b"stream: OK\0")

    def failing(self):
        self.receive()
        self.say(b"stream: Can't allocate memory ERROR\0")

    def silent(self):
        self.receive()
        self.server.released.wait(30)

    def deaf(self):
        """Read nothing: what is sent fills the buffers."""
        self.server.released.wait(30)

    def hanging_up(self):
        self.rfile.read(100)

    def hanging_up_at_the_end(self):
        self.receive()

    def breaking_off(self):
        self.receive()
        self.say(b"stream: OK")

    def talking_nonsense(self):
        self.receive()
        self.say(b"HTTP/1.1 200 OK\r\n\r\n\0")

    def talking_forever(self):
        self.receive()
        self.say(b"stream: OK " * MEGABYTE)

    def dripping(self):
        self.receive()
        for byte in b"stream: OK\0" * 10:
            self.say(bytes((byte,)))
            if self.server.released.wait(0.1):
                return

    def claiming(self):
        """Name a signature that would like to write into the log."""
        self.receive()
        self.say(b"stream: Evil\nERROR forged line FOUND\0")


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def clamd(settings):
    with running(Clamd(("127.0.0.1", 0))) as server:
        settings.CLAMAV = f"127.0.0.1:{server.server_address[1]}"
        settings.CLAMAV_SECONDS = 0.5
        yield server


# ---------------------------------------------------------------- the client
@pytest.mark.parametrize("length", [0, 1, 256 * 1024, 256 * 1024 + 1, 3 * MEGABYTE])
def test_what_is_sent_arrives_whole(clamd, length):
    content = bytes(range(256)) * (length // 256) + bytes(length % 256)

    assert clamav.scan(content=content) is None
    assert clamd.seen == [content]


def test_the_signature_is_named(clamd):
    assert clamav.scan(content=b"a" * MEGABYTE + EICAR) == "Eicar-Test-Signature"


def test_it_may_listen_on_a_socket_file(settings, tmp_path):
    with running(UnixClamd(str(tmp_path / "clamd.ctl"))):
        settings.CLAMAV = f"unix:{tmp_path}/clamd.ctl"

        assert clamav.scan(content=b"clean") is None
        assert clamav.scan(content=EICAR) == "Eicar-Test-Signature"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("failing", "Can't allocate memory"),
        ("silent", "timed out"),
        ("hanging_up", ""),
        ("hanging_up_at_the_end", "hung up"),
        ("breaking_off", "hung up"),
        ("talking_nonsense", "HTTP/1.1"),
        ("talking_forever", "answered"),
        ("dripping", "timed out"),
        ("claiming", r"Evil\\nERROR"),
    ],
)
def test_whatever_goes_wrong_the_bytes_count_as_unscanned(clamd, behaviour, reason):
    clamd.behaviour = behaviour
    began = time.monotonic()

    with pytest.raises(clamav.ScannerUnavailable) as caught:
        clamav.scan(content=bytes(2 * MEGABYTE))

    assert time.monotonic() - began < 2
    assert reason.replace("\\\\", "\\") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_daemon_that_reads_nothing_does_not_hold_us(clamd):
    clamd.behaviour = "deaf"
    began = time.monotonic()

    with pytest.raises(clamav.ScannerUnavailable, match="timed out"):
        clamav.scan(content=bytes(10 * MEGABYTE))

    assert time.monotonic() - began < 2


def test_a_file_longer_than_it_takes_counts_as_unscanned(clamd):
    clamd.max_length = MEGABYTE

    with pytest.raises(clamav.ScannerUnavailable):
        clamav.scan(content=bytes(8 * MEGABYTE))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nowhere/clamd.ctl"])
def test_a_daemon_that_is_not_there_counts_as_unscanned(settings, address):
    settings.CLAMAV = address

    with pytest.raises(clamav.ScannerUnavailable, match=address):
        clamav.scan(content=b"")


# ---------------------------------------------------------------- at the door
@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def bring(api, content):
    file = SimpleUploadedFile("secret-name.png", content, "image/png")
    return api.post("/api/flux/upload-image", {"file": file}, format="multipart")


def test_the_scanner_sees_the_file_as_it_came(api, clamd):
    content = image_bytes((100, 100)) + b"appended"

    assert bring(api, content).status_code == 201
    assert clamd.seen == [content]


def test_an_infected_picture_is_refused_and_the_log_names_member_and_signature(
    api, alice, clamd, caplog
):
    caplog.set_level(logging.INFO)
    answer = bring(api, image_bytes((100, 100)) + EICAR)

    assert (answer.status_code, answer.data["code"]) == (400, "infected")
    assert answer.data["errors"]["file"] == [answer.data["detail"]]
    assert Upload.objects.count() == 0
    [record] = [record for record in caplog.records if record.name == "generation.uploads"]
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"an upload of member {alice.pk} is infected: Eicar-Test-Signature"
    )
    assert "secret-name" not in caplog.text


def test_without_its_scanner_the_site_takes_no_pictures(api, alice, settings, caplog):
    settings.CLAMAV = "127.0.0.1:1"

    answer = bring(api, image_bytes((100, 100)))

    assert (answer.status_code, answer.data["code"]) == (503, "scanner_unavailable")
    assert answer["Retry-After"] == "60"
    assert Upload.objects.count() == 0
    [record] = [record for record in caplog.records if record.name == "generation.uploads"]
    assert record.levelno == logging.ERROR
    assert f"member {alice.pk}" in record.getMessage()
    assert "127.0.0.1:1" in record.getMessage()


def test_even_what_is_no_picture_is_scanned_first(api, clamd):
    assert bring(api, EICAR).data["code"] == "infected"


def test_without_the_setting_nobody_is_asked(api, clamd, settings):
    settings.CLAMAV = ""

    assert bring(api, image_bytes((100, 100)) + EICAR).status_code == 201
    assert clamd.seen == []
