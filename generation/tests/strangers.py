"""Servers that do not behave: they say what a test tells them to, byte by byte."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

#: What is said in answer to a request: pieces, with pauses where a piece is a number of seconds.
Answer = bytes | Iterable[bytes | float]


def ok(body: bytes, **headers: str) -> bytes:
    """A whole answer; names of headers are given with underscores."""
    lines = {"Content_Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return b"HTTP/1.1 200 OK\r\n" + head.encode() + b"\r\n" + body


def status(number: int) -> bytes:
    return f"HTTP/1.1 {number} So\r\nContent-Length: 0\r\n\r\n".encode()


def redirect(location: str, number: int = 302) -> bytes:
    head = f"HTTP/1.1 {number} Found\r\nLocation: {location}\r\nSet-Cookie: a=b\r\n"
    return head.encode() + b"Content-Length: 0\r\n\r\n"


class Stranger:
    """Answers the requests that come, over any number of connections, from `answers`: by path,
    or by a function of it. An answer of None closes the connection. With `certificate` it
    speaks TLS."""

    def __init__(
        self,
        answers: dict[str, Answer] | Callable[[str], Answer | None],
        *,
        host: str = "127.0.0.1",
        certificate: Path | None = None,
    ) -> None:
        self._answer = answers.get if isinstance(answers, dict) else answers
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        #: Every connection that was made, and every request that came, as it came.
        self.connections = 0
        self.requests: list[bytes] = []
        #: What it says before it hears anything.
        self.first_words: Answer = b""

    def __enter__(self) -> Stranger:
        self._start(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}{path}"

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                self.connections += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._say(connection, self.first_words)
                while request := self._receive(connection):
                    self.requests.append(request)
                    answer = self._answer(request.split()[1].decode())
                    if answer is None or not self._say(connection, answer):
                        return

    def _receive(self, connection: socket.socket) -> bytes:
        request = b""
        while not request.endswith(b"\r\n\r\n") and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                piece = connection.recv(65536)
                if not piece:
                    return b""
                request += piece
        return request

    def _say(self, connection: socket.socket, answer: Answer) -> bool:
        """Say it; False when the connection is to end after it, for want of a length."""
        connection.settimeout(10)
        is_whole = isinstance(answer, bytes) and (
            b"\r\nContent-Length: " in answer[:1000] or answer.endswith(b"\r\n0\r\n\r\n")
        )
        for piece in [answer] if isinstance(answer, bytes) else answer:
            if self._stopping.is_set():
                return False
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                self._stopping.wait(piece)
        connection.settimeout(0.02)
        return is_whole


def certificate_for(name: str, directory: Path) -> Path:
    """Make a certificate that vouches for itself; return a file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{name}.pem"
    file.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return file
