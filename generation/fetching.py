"""Fetching a file from somebody else's server, without trusting that server.

What it promises:

- Only hosts that are allowed are called, and what is called is the public internet: a name on
  the list that leads into this network is refused before anything is said to it. Hosts the
  administrator set for this very purpose, such as the sandbox, may be anywhere.
- A redirect is one more address to check, and never a way from https to http.
- It ends: within `seconds`, however slowly the server drips, be it in the greeting of TLS, in
  the headers or in the body; and after `max_bytes`, packed or unpacked. (The look-up of a name
  alone keeps the time limits of the system's resolver.)
- A body that was cut short is an error where the server told its length.
- Nothing of ours goes along: no cookies, no credentials, no proxies from the environment.
- It needs some 256 KiB of memory, whatever the size of the file.

It stands on http.client, like the client of fal's queue. Requests and urllib3 connect, shake
hands and read headers in one go and out of our sight, with time limits that begin anew with
each byte. Here the socket is ours: its address is checked before the first byte, every wait is
cut to what is left of the time, and the body is read into one buffer over and over again.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import io
import ipaddress
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote, urljoin, urlsplit

import certifi
import urllib3

#: Seconds to connect to one address, and seconds between two pieces of an answer.
CONNECT_SECONDS = 5.0
WAIT_SECONDS = 20.0
#: Seconds for all of it.
FETCH_SECONDS = 120.0
MAX_REDIRECTS = 3
#: How long a connection is kept for the next file.
KEPT_SECONDS = 20.0

_BUFFER_BYTES = 128 * 1024
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "fluxsite"}
_PORTS = {"https": 443, "http": 80}
#: What a URL may hold; all else is written as %XX, as browsers do.
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


class CannotFetch(Exception):
    """The file cannot be had. `gone` means that waiting won't help. The text is for staff."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        self.gone = gone
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """From where files may be fetched.

    `public` are names of the provider, asked by https alone and only where they lead to the
    public internet; a leading dot means any subdomain. `trusted` are names and addresses an
    administrator set: they may be on this machine or in its network, and speak plain http.
    With `anywhere` every host is allowed, by http as well, where it leads to the public internet.
    """

    public: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    anywhere: bool = False

    def allows(self, host: str) -> bool:
        return (
            self.anywhere
            or host in self.trusted
            or any(
                host == name or (name.startswith(".") and host.endswith(name))
                for name in self.public
            )
        )


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What was written: the SHA-256 in hexadecimal and the size in bytes."""

    sha256: str
    size: int


def fetch(
    *, url: str, into: IO[bytes], hosts: Hosts, max_bytes: int, seconds: float = FETCH_SECONDS
) -> Fetched:
    """Write what is at `url` into a buffered file. What was written before a failure stays in it.

    Raises CannotFetch; OSError comes from writing alone.
    """
    deadline = _Deadline(seconds)
    line, response = _ask(url, hosts, deadline)
    try:
        fetched = _write(response, into=into, max_bytes=max_bytes)
    except BaseException:
        line.hang_up()
        raise
    if response.will_close:
        line.hang_up()
    else:
        line.keep()
    return fetched


# ---------------------------------------------------------------- addresses
@dataclass(frozen=True, kw_only=True)
class _Place:
    """A server. `is_trusted` is part of it, so that a connection made to a trusted host is
    not used for one that no longer is."""

    scheme: str
    host: str
    port: int
    is_trusted: bool


def _read_address(url: str, hosts: Hosts) -> tuple[_Place, str]:
    """Return the server and the path that an address names without doubt. Raises CannotFetch.

    Parsers disagree about `http://a\\@b/`: what one of them takes for the host, another takes
    for a password. Only addresses on which both agree pass.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or _PORTS[parts.scheme]
        other = urllib3.util.parse_url(url)
        agreed = (other.scheme, (other.host or "").strip("[]")) == (parts.scheme, host)
    except (ValueError, KeyError, urllib3.exceptions.LocationParseError):
        agreed = False
    if not agreed or not host or not parts.netloc.isascii() or set("\\@") & set(parts.netloc):
        msg = "The provider's address is malformed."
        raise CannotFetch(msg, gone=True)
    if not hosts.allows(host):
        msg = f"{host} is not among RESULT_HOSTS."
        raise CannotFetch(msg)
    is_trusted = host in hosts.trusted
    if parts.scheme != "https" and not (is_trusted or hosts.anywhere):
        msg = f"{host} may be asked by https only."
        raise CannotFetch(msg)
    path = quote(parts.path or "/", safe=_URL_CHARACTERS)
    if parts.query:
        path += f"?{quote(parts.query, safe=_URL_CHARACTERS)}"
    return _Place(scheme=parts.scheme, host=host, port=port, is_trusted=is_trusted), path


#: All of IPv6 that is given to networks. Addresses outside, such as ::ffff:10.0.0.1 or
#: 64:ff9b::10.0.0.1, are special, or IPv4 in disguise.
_GIVEN_OUT = ipaddress.ip_network("2000::/3")
#: What Python takes for global, in one version or another, and leads elsewhere: protocol
#: assignments, and the ends of 6to4 and Teredo tunnels.
_ELSEWHERE = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of a single machine on the public internet."""
    if not is_address(address):
        return False
    ip = ipaddress.ip_address(address)
    if ip.version == 6 and ip not in _GIVEN_OUT:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in each for each in _ELSEWHERE)


# ---------------------------------------------------------------- asking
class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self, at_most: float) -> float:
        """Return the seconds to wait for one thing. Raises TimeoutError when none are left."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, at_most)


def _ask(url: str, hosts: Hosts, deadline: _Deadline) -> tuple[_Line, http.client.HTTPResponse]:
    """Return the answer 200 to a GET, its body unread. Raises CannotFetch."""
    for _hop in range(1 + MAX_REDIRECTS):
        place, path = _read_address(url, hosts)
        try:
            line = _line_to(place, deadline)
            response = line.get(path, deadline)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _failure(error) from error
        if response.status == 200:
            return line, response
        line.hang_up()
        url = _redirected(url, response)
    msg = "The provider redirects too often."
    raise CannotFetch(msg)


def _redirected(url: str, response: http.client.HTTPResponse) -> str:
    """Return the address that an answer other than 200 leads to. Raises CannotFetch."""
    location = response.headers.get("Location")
    if response.status not in (301, 302, 303, 307, 308) or not location:
        if response.status in (403, 404, 410):
            msg = f"The provider no longer has it (HTTP {response.status})."
            raise CannotFetch(msg, gone=True)
        msg = f"The provider answered HTTP {response.status}."
        raise CannotFetch(msg)
    try:
        # http.client reads headers as Latin-1; in addresses, UTF-8 is meant.
        target = urljoin(url, location.encode("latin-1").decode())
        is_downgrade = (urlsplit(url).scheme, urlsplit(target).scheme) == ("https", "http")
    except ValueError as error:
        msg = "The provider redirects to a malformed address."
        raise CannotFetch(msg) from error
    if is_downgrade:
        msg = "The provider redirects from https to http."
        raise CannotFetch(msg)
    return target


def _failure(error: Exception) -> CannotFetch:
    if isinstance(error, TimeoutError):
        return CannotFetch("The download took too long.")
    # The text of these exceptions may name addresses.
    return CannotFetch(f"The download failed ({type(error).__name__}).")


class _Line:
    """An open connection to a place."""

    def __init__(self, place: _Place, deadline: _Deadline) -> None:
        self.place = place
        self._wire = _Wire(_connect(place, deadline), deadline)
        self._http = http.client.HTTPConnection(place.host, place.port)
        self._http.default_port = _PORTS[place.scheme]
        self._http.sock = self._wire
        self._last_used = time.monotonic()
        self._process = os.getpid()

    def get(self, path: str, deadline: _Deadline) -> http.client.HTTPResponse:
        """Ask, and return the answer with its body unread. After a failure it is closed."""
        self._wire.deadline = deadline
        try:
            self._http.request("GET", path, headers=_HEADERS)
            return self._http.getresponse()
        except BaseException:
            self.hang_up()
            raise

    def is_fresh(self) -> bool:
        """Tell whether it may be used again: it is ours, not old, and nothing more came."""
        return (
            self._process == os.getpid()
            and time.monotonic() - self._last_used < KEPT_SECONDS
            and not urllib3.util.wait_for_read(self._wire.socket, timeout=0)
        )

    def keep(self) -> None:
        self._last_used = time.monotonic()
        _kept.line = self

    def hang_up(self) -> None:
        self._wire.hang_up()


class _Wire:
    """What http.client takes for a socket: one that never waits beyond a deadline."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self.socket = sock
        self.deadline = deadline

    def sendall(self, data: bytes) -> None:
        self.socket.settimeout(self.deadline.left(WAIT_SECONDS))
        self.socket.sendall(data)

    def receive(self, buffer: Any) -> int:
        self.socket.settimeout(self.deadline.left(WAIT_SECONDS))
        return self.socket.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self))

    def close(self) -> None:
        """Do nothing: http.client calls it while the body is still to be read."""

    def hang_up(self) -> None:
        self.socket.close()

    __del__ = hang_up


class _Stream(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)


class _Kept(threading.local):
    """The connection this thread used last: pictures of one task come from one host."""

    line: _Line | None = None


_kept = _Kept()


def _line_to(place: _Place, deadline: _Deadline) -> _Line:
    """Return a connection to a place: the one that was kept, or else a new one."""
    kept, _kept.line = _kept.line, None
    if kept is not None:
        if kept.place == place and kept.is_fresh():
            return kept
        kept.hang_up()
    return _Line(place, deadline)


def _connect(place: _Place, deadline: _Deadline) -> socket.socket:
    """Return a socket at the other end of which is the place, and one we may talk to."""
    sock = _reach(place, deadline)
    if place.scheme == "http":
        return sock
    try:
        sock.settimeout(deadline.left(WAIT_SECONDS))
        return _tls().wrap_socket(sock, server_hostname=place.host)
    except BaseException:
        sock.close()
        raise


def _reach(place: _Place, deadline: _Deadline) -> socket.socket:
    failure: Exception = OSError("no address")
    for family, kind, protocol, _name, address in socket.getaddrinfo(
        place.host, place.port, type=socket.SOCK_STREAM
    ):
        # Checked here, there is no second look-up that could say something else.
        if not place.is_trusted and not is_public(str(address[0])):
            msg = f"{place.host} is at {address[0]}, which is not on the public internet."
            failure = CannotFetch(msg)
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(deadline.left(CONNECT_SECONDS))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


# ---------------------------------------------------------------- the body
def _write(response: http.client.HTTPResponse, *, into: IO[bytes], max_bytes: int) -> Fetched:
    digest, size = hashlib.sha256(), 0
    for piece in _unpacked(response, max_bytes):
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        digest.update(piece)
        into.write(piece)
    return Fetched(sha256=digest.hexdigest(), size=size)


def _unpacked(response: http.client.HTTPResponse, max_bytes: int) -> Iterator[memoryview | bytes]:
    """Yield the body in pieces of a bounded size, each good until the next is asked for."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    pieces = _received(response, max_bytes)
    if packing == "identity":
        yield from pieces
        return
    # We ask for it as it is, but some storages keep files packed and know only one way.
    if packing not in ("gzip", "x-gzip"):
        msg = f"The provider sent it packed as {packing[:30]!r}."
        raise CannotFetch(msg)
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    for piece in pieces:
        try:
            unpacked = unpacker.decompress(piece, _BUFFER_BYTES)
            while unpacked:
                yield unpacked
                unpacked = unpacker.decompress(unpacker.unconsumed_tail, _BUFFER_BYTES)
        except zlib.error as error:
            raise _failure(error) from error
        if unpacker.unused_data:
            msg = "The provider sent more than one packed file."
            raise CannotFetch(msg)
    if not unpacker.eof:
        raise _cut_short()


def _received(response: http.client.HTTPResponse, max_bytes: int) -> Iterator[memoryview]:
    if response.length is not None and response.length > max_bytes:
        raise _too_large(max_bytes)
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    total = 0
    while True:
        try:
            count = response.readinto(buffer)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _failure(error) from error
        if not count:
            break
        total += count
        if total > max_bytes:
            raise _too_large(max_bytes)
        yield buffer[:count]
    if response.length:
        raise _cut_short()


def _too_large(max_bytes: int) -> CannotFetch:
    return CannotFetch(f"The file is larger than {max_bytes} bytes.")


def _cut_short() -> CannotFetch:
    return CannotFetch("The download was cut short.")
