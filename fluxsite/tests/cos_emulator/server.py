"""The emulator as a running server: sockets, threads, the request log and the controls.

The same controls over HTTP, for an emulator in another process:

    POST   /_emulator/faults     add a rule (the members of `add_fault`); GET lists them
    DELETE /_emulator/faults     remove all rules
    GET    /_emulator/requests   the log; DELETE empties it
    GET    /_emulator/objects    names and sizes
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from fluxsite.tests.cos_emulator.bucket import Bucket
from fluxsite.tests.cos_emulator.faults import Fault, FaultBook
from fluxsite.tests.cos_emulator.handler import CosHandler, LoggedRequest

KEEP_REQUESTS = 5000
MEBIBYTE = 1024 * 1024


class CosEmulator:
    """The stand-in. Port 0 takes any free port; `url` says which.

    With a `token` the credentials are temporary ones, good only together with it. With
    `force_download` it sends what is opened as an attachment, as the default domain of a bucket
    made since 2024 does.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        bucket_name: str = "pictures-1250000000",
        region: str = "ap-guangzhou",
        secret_id: str = "AKIDemulator0000000000000000000000",
        secret_key: str = "emulatorSecretKey000000000000000",
        token: str = "",
        force_download: bool = False,
        cors_origins: tuple[str, ...] = (),
        min_part_bytes: int = MEBIBYTE,
        directory: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._port = port
        self.bucket_name = bucket_name
        self.region = region
        self.secret_id = secret_id
        self.secret_key = secret_key
        self.token = token
        self.force_download = force_download
        self.cors_origins = cors_origins
        self.clock = clock
        self.bucket = Bucket(min_part_bytes=min_part_bytes, directory=directory)
        self.faults = FaultBook()
        self.stopping = threading.Event()
        self._requests: deque[LoggedRequest] = deque(maxlen=KEEP_REQUESTS)
        self._http: _ThreadedServer | None = None
        self._thread: threading.Thread | None = None

    # -- what tests do -----------------------------------------------------------------

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return what a COSStorage is made with to keep its objects here."""
        return {
            "secret_id": self.secret_id,
            "secret_key": self.secret_key,
            "token": self.token,
            "region": self.region,
            "bucket_name": self.bucket_name,
            "domain": self.host,
            "scheme": "http",
            **changes,
        }

    def environment(self) -> dict[str, str]:
        """Return the variables that make a site in another process keep its pictures here."""
        return {
            "STORAGE": "cos",
            "COS_BUCKET": self.bucket_name,
            "COS_REGION": self.region,
            "COS_DOMAIN": self.host,
            "COS_SCHEME": "http",
            "COS_SECRET_ID": self.secret_id,
            "COS_SECRET_KEY": self.secret_key,
            "COS_TOKEN": self.token,
        }

    def objects(self) -> dict[str, bytes]:
        return {key: each.body for key, each in self.bucket.snapshot().items()}

    def add_fault(
        self,
        kind: str,
        *,
        method: str | None = None,
        path: str | None = None,
        times: int | None = None,
        after: int = 0,
        **parameters: Any,
    ) -> Fault:
        """Add a rule; the kinds and their parameters are listed in `faults.py`."""
        return self.faults.add(
            Fault(
                kind=kind, method=method, path=path, times=times, after=after, parameters=parameters
            )
        )

    @property
    def requests(self) -> list[LoggedRequest]:
        """Requests received, oldest first, without those to the controls."""
        return list(self._requests)

    def log(self, entry: LoggedRequest) -> None:
        self._requests.append(entry)

    def forget_requests(self) -> None:
        self._requests.clear()

    # -- being a server ----------------------------------------------------------------

    @property
    def port(self) -> int:
        if self._http is None:
            raise RuntimeError("the emulator is not running")
        return self._http.server_port

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def start(self) -> None:
        """Serve from a background thread; listening when this returns."""
        self._http = _ThreadedServer(("127.0.0.1", self._port), self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="cos", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, drop every open connection and free the port."""
        if self._http is None or self._thread is None:
            return
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http.drop_connections()
        self._http = None

    def __enter__(self) -> CosEmulator:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _ThreadedServer(ThreadingHTTPServer):
    """One thread per connection, and a list of them, so that stopping can end them all."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], cos: CosEmulator) -> None:
        self.cos = cos
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(address, CosHandler)

    def server_bind(self) -> None:
        # The inherited method asks the resolver for this machine's name.
        socketserver.TCPServer.server_bind(self)
        host, port = self.socket.getsockname()[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections[request] = threading.current_thread()
        try:
            if not self.cos.stopping.is_set():
                super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def drop_connections(self) -> None:
        """End the kept-alive connections, whose threads would wait for a next request."""
        with self._lock:
            open_now = dict(self._connections)
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in open_now.values():
            thread.join(timeout=5)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Callers that hang up are part of the play; anything else is a fault of ours.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
