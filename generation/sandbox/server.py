"""The sandbox as a running server: sockets, threads, the request log and the controls.

    with SandboxServer(generation_seconds=0.2) as server:
        server.add_fault(kind="status_500", on="submit", times=1)
        ...server.url...

The same controls over HTTP, for a sandbox in another process:

    POST   /_sandbox/faults     add a rule (the members of ``add_fault``); GET lists them
    DELETE /_sandbox/faults     remove all rules
    GET    /_sandbox/requests   the log; DELETE empties it
    POST   /_sandbox/release    let held answers go
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

from generation.sandbox.faults import FaultBook, FaultRule
from generation.sandbox.files import FileStore
from generation.sandbox.handler import SandboxHandler
from generation.sandbox.jobs import Job, JobStore
from generation.sandbox.log import LoggedRequest, RequestLog
from generation.sandbox.protocol import Queue

if TYPE_CHECKING:
    from generation.sandbox.webhooks import Courier

KEEP_FINISHED_JOBS = 2000


class SandboxServer:
    """The stand-in. Port 0 takes any free port; ``url`` says which."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        generation_seconds: float | tuple[float, float] = 0.2,
        queue_seconds: float = 0.05,
        concurrency: int | None = None,
        *,
        keep_finished: int = KEEP_FINISHED_JOBS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = (host, port)
        self.files = FileStore()
        self.fault_book = FaultBook()
        self.log = RequestLog()
        self.job_store = JobStore(
            clock=clock,
            generation_seconds=generation_seconds,
            queue_seconds=queue_seconds,
            concurrency=concurrency,
            keep_finished=keep_finished,
            on_forget=lambda job: self.files.forget(job.file_names),
        )
        self.queue = Queue(jobs=self.job_store, files=self.files, faults=self.fault_book)
        self.stopping = threading.Event()
        self._gate = threading.Condition()
        self._released = 0
        self._held = 0
        self._http: _ThreadedServer | None = None
        self._thread: threading.Thread | None = None
        self._courier: Courier | None = None
        self._courier_lock = threading.Lock()

    def bind(self) -> _ThreadedServer:
        """Take the port without serving yet; ``start`` and ``serve_forever`` do so too."""
        if self._http is None:
            self._http = _ThreadedServer(self._address, self)
        return self._http

    def start(self) -> None:
        """Serve from a background thread; listening when this returns."""
        self.bind()
        self._thread = threading.Thread(target=self.serve_forever, name="sandbox", daemon=True)
        self._thread.start()

    def serve_forever(self) -> None:
        self.bind().serve_forever(poll_interval=0.05)

    def shut(self) -> None:
        """Make ``serve_forever`` return; safe to call from another thread."""
        self.stopping.set()
        self.release()
        if self._http is not None:
            self._http.shutdown()

    def stop(self) -> None:
        """Stop serving, drop every open connection and free the port."""
        if self._http is None:
            return
        self.stopping.set()
        self.release()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        if self._courier is not None:
            self._courier.stop()
        self._http.server_close()
        self._http.drop_connections()
        self._http = None

    def __enter__(self) -> SandboxServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        if self._http is None:
            raise RuntimeError("the sandbox is not running")
        return self._http.server_port

    @property
    def url(self) -> str:
        host = self._address[0]
        host = "127.0.0.1" if host in ("", "0.0.0.0") else host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def add_fault(
        self,
        kind: str,
        *,
        on: str | None = None,
        path: str | None = None,
        prompt: str | None = None,
        times: int | None = None,
        after: int = 0,
        **parameters: Any,
    ) -> FaultRule:
        """Add a rule; the kinds and their parameters are listed in ``faults``."""
        rule = FaultRule(
            kind=kind,
            on=on,
            path=path,
            prompt=prompt,
            times=times,
            after=after,
            parameters=parameters,
        )
        return self.fault_book.add(rule)

    def clear_faults(self) -> None:
        self.fault_book.clear()

    def reset(self) -> None:
        """Start afresh without a new port: no rules, no jobs, an empty log, nothing held."""
        self.clear_faults()
        self.release()
        self.job_store.clear()
        self.log.clear()

    @property
    def requests(self) -> list[LoggedRequest]:
        """Requests received, oldest first, without those to the controls."""
        return self.log.entries()

    @property
    def jobs(self) -> dict[str, Job]:
        """Accepted jobs by request id, oldest first, brought up to date."""
        return self.job_store.snapshot()

    @property
    def connections(self) -> int:
        """How many connections have been made so far."""
        return self._http.accepted if self._http else 0

    def drop_connections(self) -> None:
        """Close what is open, as a server does that has waited long enough."""
        if self._http is not None:
            self._http.drop_connections()

    @property
    def held(self) -> int:
        """How many answers a ``hold`` rule keeps back at this moment."""
        with self._gate:
            return self._held

    def release(self) -> None:
        """Let every answer go that is held now."""
        with self._gate:
            self._released += 1
            self._gate.notify_all()

    def wait_for_release(self) -> None:
        with self._gate:
            before = self._released
            self._held += 1
            try:
                self._gate.wait_for(lambda: self._released > before or self.stopping.is_set())
            finally:
                self._held -= 1

    def courier(self) -> Courier:
        """Return the deliverer of webhooks; nobody pays for cryptography before the first."""
        with self._courier_lock:
            if self._courier is None:
                from generation.sandbox.webhooks import Courier

                self._courier = Courier(
                    get_job=self.job_store.get,
                    result_of=self.queue.result,
                    seconds_to_next_event=self.job_store.seconds_to_next_event,
                )
            return self._courier

    def nudge_courier(self) -> None:
        if self._courier is not None:
            self._courier.nudge()


class _ThreadedServer(ThreadingHTTPServer):
    """One thread per connection, and a list of them, so that stopping can end them all."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], sandbox: SandboxServer) -> None:
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._connections_lock = threading.Lock()
        self.accepted = 0
        self.sandbox = sandbox
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, SandboxHandler)

    def server_bind(self) -> None:
        # The inherited method asks the resolver for this machine's name, which can take
        # seconds where none answers.
        socketserver.TCPServer.server_bind(self)
        host, port = self.socket.getsockname()[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self.accepted += 1
            self._connections[request] = threading.current_thread()
        try:
            if not self.sandbox.stopping.is_set():
                super().process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                self._connections.pop(request, None)

    def drop_connections(self) -> None:
        """End the kept-alive connections, whose threads would wait for a next request."""
        with self._connections_lock:
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
