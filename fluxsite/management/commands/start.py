"""`manage.py start`, which is what `./run` runs: the whole site on one machine.

Prepares the database and the first administrator, then has the supervisor keep three programs
running: the web server, the workers and, while no fal key is set, the sandbox. All of it
happens in this one Django process, because importing Django is most of what a start costs.

`--only web` and `--only workers` are for a site on several machines: the same preparation, the same
supervision, of one of the programs (deploy/README.md).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection, connections

from fluxsite import checks, env
from fluxsite.supervisor import REAPER_GRACE_SECS, Program, Supervisor
from generation import channel, polling

logger = logging.getLogger(__name__)

# Only this machine, until somebody decides otherwise: the site speaks plain HTTP, and its
# first password is about to be printed.
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000)
WEB_WORKERS = env.integer("WEB_WORKERS", 2, minimum=1)
WEB_THREADS = env.integer("WEB_THREADS", 8, minimum=1)
ADMIN_PASSWORD = env.text("ADMIN_PASSWORD")

PARTS = ("web", "workers")
ADMIN_NAME = "admin"
KEY_CHECK_SECS = 3.0
WATCHDOG_SECS = 2.0
#: A cluster this young has not had the time to catch up with what an older one left undone.
CLUSTER_WARM_UP_SECS = 10.0
WEB_HEAD_START_SECS = 3.0
SLOW_START_SECS = 30.0
MOST_FILES = 65_536
#: Of PostgreSQL's advisory locks, the one of whoever prepares the database.
PREPARING = 0x666C7578


class Command(BaseCommand):
    help = "Run the whole site: web server, workers and, while no fal key is set, the sandbox."
    # `./run check` runs them all, which would delay every start. These cost nothing, and stop
    # a site that could not keep its pictures.
    requires_system_checks = [checks.TAG]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only",
            choices=PARTS,
            help="run this part alone; others run elsewhere on the same database",
        )

    def handle(self, **options: Any) -> None:
        # The database holds sessions and prompts: nobody else on the machine reads along.
        os.umask(0o077)
        _open_as_many_files_as_allowed()
        try:
            self._run(options["only"])
        except KeyboardInterrupt:  # before the supervisor takes the signals over
            sys.exit(128 + signal.SIGINT)

    def _run(self, only: str | None) -> None:
        # Without it a database host that swallows packets would hold us for two minutes.
        os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
        name = f"start-{only}.lock" if only else "start.lock"
        with _lock(settings.DATA_DIR / name) as lock, _listening(only) as listener:
            try:
                with _alone():
                    call_command("migrate", verbosity=0, interactive=False)
                    password = _make_first_administrator()
                    channel.apply_environment()
                has_key = channel.has_key()
            except Error as error:
                msg = f"The database cannot be used: {error}"
                raise CommandError(msg) from error
            finally:
                connections.close_all()
            parts = {only} if only else {*PARTS, "sandbox"}
            site = Site(listener, lock=lock, has_key=has_key, parts=parts)
            site.greet = lambda: self._greet(password, has_key=site.has_key)
            if listener is None:
                self._greet_workers(password)
            site.supervisor.run()
            if listener and not site.greeted and password:
                self._tell_password(password)
        self.stdout.write("Stopped.")

    def _greet(self, password: str | None, *, has_key: bool) -> None:
        self.stdout.write(f"\n  Fluxsite is ready at {_url()}\n")
        if password is not None:
            self._tell_password(password)
        self.stdout.write(f"  Draws     {_drawing(has_key=has_key)}\n")
        self.stdout.write("  To stop   press Ctrl+C\n")
        self.stdout.flush()

    def _greet_workers(self, password: str | None) -> None:
        self.stdout.write("\n  The workers of Fluxsite run.\n")
        if password is not None:
            self._tell_password(password)
        self.stdout.write("  To stop   press Ctrl+C\n")
        self.stdout.flush()

    def _tell_password(self, password: str) -> None:
        shown = "the one in ADMIN_PASSWORD" if ADMIN_PASSWORD else f"{password}  (shown once)"
        self.stdout.write(f"  User      {ADMIN_NAME}\n  Password  {shown}")


class Site:
    """The programs of a site, and what `start` looks after while they run."""

    def __init__(
        self,
        listener: socket.socket | None,
        *,
        lock: int,
        has_key: bool,
        parts: Collection[str],
    ) -> None:
        self.has_key = has_key
        self.greeted = False
        self.working = False
        self.greet: Callable[[], None] = lambda: None
        self._ask_at = 0.0
        self._work_at = time.monotonic() + WEB_HEAD_START_SECS
        self._complain_at = time.monotonic() + SLOW_START_SECS
        self._stuck_before = False
        programs = [Program("workers", [*MANAGE, "qcluster"], wanted=False)]
        if listener:
            programs.append(_web(listener))
        if "sandbox" in parts:
            programs.append(_sandbox())
        self.supervisor = Supervisor(
            [program for program in programs if program.name in parts],
            env=_environment(),
            cwd=str(settings.BASE_DIR),
            lock=lock,
        )
        self._parts = parts
        if listener:
            self.supervisor.every(0.1, self._greet_when_ready)
        if "workers" in parts:
            self.supervisor.every(0.1, self._work_when_ready)
            self.supervisor.every(WATCHDOG_SECS, self._watch_cluster)
        if "sandbox" in parts:
            self.supervisor.every(KEY_CHECK_SECS, self._follow_key)

    def _greet_when_ready(self) -> None:
        now = time.monotonic()
        if now < self._ask_at or not self.supervisor.age_secs("web"):
            return
        status = _status()
        # A site that insists on HTTPS answers plain HTTP with a redirect, and is up.
        if status in {200, 301}:
            self.greeted = True
            self.supervisor.drop(self._greet_when_ready)
            self.greet()
        elif status is not None:
            # Up, but ill; asking again at once would only fill the log.
            self._ask_at = now + 2
        if not self.greeted and now > self._complain_at:
            self._complain_at = now + SLOW_START_SECS
            logger.warning("the site is not ready yet: %s answers %s", _url(), status or "nothing")

    def _work_when_ready(self) -> None:
        """Start the rest once there is a page to see; all at once, each waits for the others."""
        if self.greeted or "web" not in self._parts or time.monotonic() > self._work_at:
            self.working = True
            self.supervisor.drop(self._work_when_ready)
            self.supervisor.want("workers", wanted=True)
            if "sandbox" in self._parts:
                self.supervisor.want("sandbox", wanted=not self.has_key)

    def _follow_key(self) -> None:
        """Run the sandbox exactly while there is no fal key."""
        with _tolerating_the_database():
            has_key = channel.has_key()
            if has_key != self.has_key:
                logger.warning("now drawing with %s", "fal" if has_key else "the sandbox")
            self.has_key = has_key
            self.supervisor.want("sandbox", wanted=self.working and not has_key)

    def _watch_cluster(self) -> None:
        """Replace a cluster that hangs: alive, but doing nothing though there is work.

        django-q2 can get there when one of its processes is killed, and never notices.
        """
        young = self.supervisor.age_secs("workers") < CLUSTER_WARM_UP_SECS
        with _tolerating_the_database():
            # Asked of a young one too: asking wakes it up.
            stuck = polling.cluster_is_stuck() and not young
            if stuck and self._stuck_before:
                logger.error("the workers hang; replacing them")
                self.supervisor.restart("workers")
            self._stuck_before = stuck


# ---------------------------------------------------------------- the programs
MANAGE = (sys.executable, str(settings.BASE_DIR / "manage.py"))


def _web(listener: socket.socket) -> Program:
    command = [
        *(sys.executable, "-m", "gunicorn", "fluxsite.wsgi"),
        # The socket is ours and outlives any web server: while one restarts, visitors
        # wait a moment instead of being turned away.
        *("--bind", f"fd://{listener.fileno()}"),
        *("--worker-class", "gthread", "--preload", "--no-control-socket"),
        *("--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS)),
        *("--timeout", "60", "--graceful-timeout", "5", "--keep-alive", "15"),
        *("--log-level", "warning", "--logger-class", "fluxsite.gunicorn_logs.Logger"),
    ]
    return Program("web", command, inherited=(listener.fileno(),))


def _sandbox() -> Program:
    port = _free_port()
    # Our own questions about the channel must count the sandbox in, as the programs' do.
    settings.SANDBOX_URL = f"http://127.0.0.1:{port}"
    command = [*MANAGE, "sandbox_fal", "--verbosity", "0", "--port", str(port)]
    return Program("sandbox", command, wanted=False)


def _drawing(*, has_key: bool) -> str:
    if has_key:
        return "with fal"
    if settings.SANDBOX_URL:
        return "with the sandbox, until you set a fal key in /admin/"
    return "nothing, until you set a fal key in /admin/"


# ---------------------------------------------------------------- preparing
@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Prepare the database one after the other, in however many parts and on however many
    machines we are started."""
    with (settings.DATA_DIR / "prepare.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if connection.vendor != "postgresql":
            yield
            return
        # Ends with the connection, if nothing else ends it.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [PREPARING])
        yield
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [PREPARING])


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[int]:
    """Hold the data directory for ourselves; the kernel lets go of it however we end."""
    with path.open("a+") as file:
        patience = time.monotonic() + 3 * REAPER_GRACE_SECS
        while not _try_lock(file):
            file.seek(0)
            holder = file.read().strip()
            # A killed start's reaper keeps the lock until all is cleared away: wait for it.
            if _is_alive(holder) or time.monotonic() > patience:
                msg = f"Fluxsite already runs on {path.parent} (process {holder})."
                raise CommandError(msg)
            time.sleep(0.1)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()


def _open_as_many_files_as_allowed() -> None:
    """Raise the limit of open files: every page that is told what changes is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS has a lower limit that it does not tell.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def _listening(only: str | None) -> Iterator[socket.socket | None]:
    if only == "workers":
        yield None
        return
    with _listen(HOST, PORT) as listener:
        yield listener


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Take the site's port, or say plainly why it cannot be had."""
    try:
        listener = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=2048,
        )
    except (OSError, OverflowError) as error:
        reason = str(error).rstrip(".")
        msg = f"Port {port} of {host} cannot be used: {reason}."
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            msg = f"Port {port} of {host} is taken by another program. Choose another with PORT."
        raise CommandError(msg) from error
    with listener:
        yield listener


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """What our programs inherit: our own environment without the password."""
    inherited = {name: value for name, value in os.environ.items() if "ADMIN_PASSWORD" not in name}
    return inherited | {
        # Relative to where we were started, and they are started elsewhere.
        "DATA_DIR": str(settings.DATA_DIR),
        "SANDBOX_URL": settings.SANDBOX_URL,
    }


def _make_first_administrator() -> str | None:
    """Make `admin` if there is no administrator yet; return the password if so."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    if users.filter(username=ADMIN_NAME).exists():
        logger.warning(
            "there is no administrator, and the user %r is not one: "
            "make one with ./run manage createsuperuser",
            ADMIN_NAME,
        )
        return None
    password = ADMIN_PASSWORD or secrets.token_urlsafe(12)
    users.create_superuser(ADMIN_NAME, password=password)
    return password


def _url() -> str:
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(HOST, HOST)  # noqa: S104
    return f"http://[{host}]:{PORT}/" if ":" in host else f"http://{host}:{PORT}/"


def _status() -> int | None:
    """Ask the site how it is. The request waits in our socket until there is a web server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(HOST, HOST)  # noqa: S104
    connection = http.client.HTTPConnection(host, PORT, timeout=1)
    try:
        connection.request("GET", "/healthz", headers={"Host": _accepted_host()})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _accepted_host() -> str:
    """A name this site listens to, see ALLOWED_HOSTS."""
    first: str = (settings.ALLOWED_HOSTS or ["*"])[0]
    return "localhost" if first == "*" else first.removeprefix(".")


@contextlib.contextmanager
def _tolerating_the_database() -> Iterator[None]:
    """Carry on if the database is away for a while, and hold no connection in between."""
    try:
        yield
    except Error as error:
        logger.warning("the database does not answer: %s", error)
    finally:
        connections.close_all()
