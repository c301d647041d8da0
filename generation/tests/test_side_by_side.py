"""Questions side by side, to servers that answer in every way there is."""

from __future__ import annotations

import http.client
import ssl

import pytest

from generation.providers import side_by_side
from generation.providers.side_by_side import Answer, Lines, NoAnswer, NotSent, SideBySide
from generation.tests.strangers import Stranger, certificate_for, ok

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Caller:
    """Asks one server, keeping its connections; `tls` trusts the server's certificate."""

    def __init__(self, port, *, tls=None):
        self.port = port
        self.tls = tls
        self.lines = Lines()
        self.connected = 0

    def connect(self):
        if self.tls is None:
            line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        else:
            line = http.client.HTTPSConnection("localhost", self.port, timeout=5, context=self.tls)
        try:
            line.connect()
        except OSError as error:
            raise NotSent(type(error).__name__) from error
        self.connected += 1
        return line

    def ask(self, *addresses):
        """Return what came back, in the order of the addresses: contents, or types of failures."""
        asking = SideBySide(
            self.lines, connect=self.connect, tail=b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        for key, address in enumerate(addresses):
            asking.ask(key, address)
        answers = dict(asking.answers())
        assert len(answers) == len(addresses)
        return [
            answers[key].content if isinstance(answers[key], Answer) else type(answers[key])
            for key in range(len(addresses))
        ]


@pytest.fixture
def call():
    """Make callers of strangers, and end both."""
    callers = []

    def make(stranger, **kwargs):
        callers.append(Caller(stranger.port, **kwargs))
        return callers[-1]

    yield make
    for caller in callers:
        caller.lines.close()


# ---------------------------------------------------------------- answers
@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (ok(b"whole"), b"whole"),
        (ok(b""), b""),
        (CHUNKED + b"4\r\nin p\r\n5\r\narts.\r\n0\r\n\r\n", b"in parts."),
        (CHUNKED + b"1\r\na\r\n0\r\nTrailer: x\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end\r\n\r\n!", b"until the end\r\n\r\n!"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", b"old"),
        ([b"HTTP/1.1 200 O", 0.02, b"K\r\nContent-Length: 4\r\n\r", 0.02, b"\nsl", b"ow"], b"slow"),
        ([CHUNKED + b"8\r\n\r\n", 0.05, b"0\r\n\r\n!", b"\r\n0\r\n\r\n"], b"\r\n0\r\n\r\n!"),
    ],
)
def test_an_answer_is_read_however_it_tells_its_length(call, answer, content):
    with Stranger({"/a": answer}) as stranger:
        assert call(stranger).ask("/a") == [content]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"],
        CHUNKED + b"zz\r\nnot hexadecimal\r\n\r\n",
        [CHUNKED + b"4\r\nthe \r\n"],
        [b"HTTP/1.1 200 OK\r\n"],
        [b""],
    ],
)
def test_what_is_no_answer_is_none(call, answer):
    with Stranger({"/a": answer}) as stranger:
        assert call(stranger).ask("/a") == [NoAnswer]


def test_an_answer_without_end_is_cut_off(call, monkeypatch):
    monkeypatch.setattr(side_by_side, "MAX_ANSWER_BYTES", 1000)
    with Stranger({"/a": ok(b"x" * 2000), "/b": ok(b"short")}) as stranger:
        assert call(stranger).ask("/a", "/b") == [NoAnswer, b"short"]


def test_names_of_headers_are_small_and_the_first_of_two_counts(call):
    answer = ok(b"", Retry_After="5", RETRY_AFTER="9")
    with Stranger({"/a": answer}) as stranger:
        caller = call(stranger)
        asking = SideBySide(caller.lines, connect=caller.connect, tail=b" HTTP/1.1\r\n\r\n")
        asking.ask(0, "/a")

        [(_key, heard)] = asking.answers()

    assert heard.headers["retry-after"] == "5"


def test_one_that_drips_holds_up_nobody(call, monkeypatch):
    monkeypatch.setattr(side_by_side, "ANSWER_SECONDS", 0.5)
    drips = [b"HTTP/1.1 200 OK\r\n", *[piece for _ in range(40) for piece in (b"A: b\r\n", 0.05)]]
    with Stranger({"/drips": drips, "/b": ok(b"b")}) as stranger:
        caller = call(stranger)
        asking = SideBySide(caller.lines, connect=caller.connect, tail=b" HTTP/1.1\r\n\r\n")
        asking.ask(0, "/drips")
        asking.ask(1, "/b")

        order = [(key, type(answer)) for key, answer in asking.answers()]

    assert order == [(1, Answer), (0, NoAnswer)]


def test_over_tls_it_is_the_same(call, tmp_path):
    certificate = certificate_for("localhost", tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    long = b"x" * 100_000
    with Stranger({"/a": ok(b"a"), "/long": ok(long)}, certificate=certificate) as stranger:
        caller = call(stranger, tls=trusting)

        assert caller.ask("/a", "/long") == [b"a", long]
        assert caller.ask("/long", "/a") == [long, b"a"]
        assert caller.connected <= 2


# ---------------------------------------------------------------- connections
def test_many_questions_share_a_few_connections(call, monkeypatch):
    monkeypatch.setattr(side_by_side, "MAX_LINES", 3)
    with Stranger(lambda path: ok(path.encode())) as stranger:
        caller = call(stranger)
        addresses = [f"/{number}" for number in range(40)]

        assert caller.ask(*addresses) == [address.encode() for address in addresses]
        assert caller.connected <= 3


@pytest.mark.parametrize("answer", [ok(b"a"), CHUNKED + b"1\r\na\r\n0\r\n\r\n"])
def test_a_connection_is_used_again(call, answer):
    with Stranger({"/a": answer}) as stranger:
        caller = call(stranger)

        assert [caller.ask("/a") for _time in range(3)] == [[b"a"]] * 3
        assert caller.connected == 1


@pytest.mark.parametrize(
    "answer",
    [ok(b"a", Connection="close"), ok(b"a") + b"and more", ok(b"a").replace(b"1.1", b"1.0")],
)
def test_a_connection_that_is_not_to_be_trusted_is_not_used_again(call, answer):
    with Stranger({"/a": answer}) as stranger:
        caller = call(stranger)

        assert [caller.ask("/a") for _time in range(2)] == [[b"a"]] * 2
        assert caller.connected == 2


def test_a_kept_connection_on_which_something_was_said_unasked_is_not_used(call):
    """As when a server says 408 before it hangs up."""
    with Stranger({"/a": ok(b"a")}) as stranger:
        caller = call(stranger)
        caller.ask("/a")
        [line] = caller.lines._free
        with Stranger({}) as rude:
            rude.first_words = ok(b"to somebody else")
            line.close()
            line.port = rude.port
            line.connect()
            line.sock.recv(1)

            assert caller.ask("/a") == [b"a"]


def test_without_a_server_every_question_fails_at_once(call):
    with Stranger({}) as stranger:
        caller = call(stranger)

    assert caller.ask("/a", "/b", "/c") == [NotSent] * 3


def test_an_address_that_cannot_be_said_harms_no_other(call):
    with Stranger({"/a": ok(b"a")}) as stranger:
        assert call(stranger).ask("/ü", "/a b", "/a\r\nX: y", "/a") == [NotSent] * 3 + [b"a"]


def test_when_its_time_is_over_nothing_new_is_asked(call, monkeypatch):
    monkeypatch.setattr(side_by_side, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(side_by_side, "MAX_LINES", 1)
    with Stranger({"/silent": [5.0]}) as stranger:
        caller = call(stranger)

        assert caller.ask("/silent", "/b", "/c") == [NoAnswer, NotSent, NotSent]
        assert len(stranger.requests) == 1
