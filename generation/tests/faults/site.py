"""A whole site for one test: its own data directory and database, a sandbox in the test's own
process, and real programs that are started, killed and started again.

    site.web(); workers = site.workers()
    task = site.alice.draw("a cat")
    workers.kill()
    ...
    site.quiet()
    site.check()

Programs get an environment made here and nothing of the test's own. Queue messages travel by
the site's database, so that sites which run side by side cannot hear each other.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.utils.module_loading import import_string
from PIL import Image

from credits import audit
from generation import polling
from generation.sandbox.jobs import Job
from generation.sandbox.log import LoggedRequest
from generation.sandbox.server import SandboxServer
from generation.tests.faults import database
from generation.tests.faults.database import Database, PostgresDatabase, Row, SQLiteDatabase
from generation.tests.faults.processes import ROOT, Program, wait_for

UNFINISHED = ("PENDING", "IN_QUEUE", "IN_PROGRESS")
#: Longer than every lease there is, and than django-q2 waits before it repeats a message.
ALL_LEASES_SECS = 310
#: Long enough that skipping all leases is not also a deadline.
TIMEOUT_SECS = 3600
PRICE = 5
THUMBNAILS = ("-320.webp", "-640.webp")


def new_name() -> str:
    """Return a database name that no other test process uses."""
    return f"faults_{os.getpid()}_{uuid.uuid4().hex[:8]}"


# ---------------------------------------------------------------- the template
@dataclass
class Template:
    """A migrated database with two members, and the keys it was made with."""

    directory: Path
    name: str
    tokens: Mapping[str, str]

    @classmethod
    def make(cls, directory: Path) -> Template:
        name = f"{new_name()}_template"
        if database.is_postgresql():
            base: Database = PostgresDatabase(name)
        else:
            base = SQLiteDatabase(directory / "fluxsite.sqlite3")
        lines = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_TEMPLATE],
            env=environment(directory, base),
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        return cls(directory=directory, name=name, tokens=json.loads(lines))

    def copy(self, directory: Path) -> Database:
        for key in ("secret_key", "field_key"):
            (directory / key).write_bytes((self.directory / key).read_bytes())
        if database.is_postgresql():
            return PostgresDatabase(new_name(), template=self.name)
        name = "fluxsite.sqlite3"
        return SQLiteDatabase(directory / name, template=self.directory / name)

    def drop(self) -> None:
        if database.is_postgresql():
            PostgresDatabase.serve(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


MAKE_TEMPLATE = f"""
import json
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
from fluxsite.models import ApiToken
from generation.models import FluxConfig
FluxConfig.objects.update(timeout={TIMEOUT_SECS})
# An administrator, so that `start` need not make one.
User.objects.create(username="admin", is_superuser=True, is_staff=True, password="!")
tokens = {{}}
for name in ("alice", "bob"):
    user = User.objects.create(username=name, password="!")
    tokens[name] = ApiToken.objects.issue(user=user, name="faults")[1]
print(json.dumps(tokens))
"""


def environment(directory: Path, base: Database) -> dict[str, str]:
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "DATA_DIR": str(directory),
        "DATABASE_URL": base.url,
        "TMPDIR": str(temporary),
        "WORKERS": "3",
        "WEB_WORKERS": "1",
        "CREDITS_STARTING_GRANT": "100000",
        "TASKS_PER_MINUTE": "0",
    }


# ---------------------------------------------------------------- members
@dataclass
class Reply:
    status: int
    body: Any


class Member:
    """Somebody who speaks to the site by HTTP, with a token."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token

    def call(
        self, method: str, path: str, body: Any = None, *, key: str = "", patience: float = 60
    ) -> Reply:
        """Make one request. Raises OSError or HTTPException when the connection breaks."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, f"/api/flux/{path}", content, headers)
            response = connection.getresponse()
            return Reply(response.status, json.loads(response.read()))
        finally:
            connection.close()

    def ask(self, prompt: str, *, key: str = "", patience: float = 60, **parameters: Any) -> Reply:
        body = {"model": "fal-ai/flux-1/schnell", "prompt": prompt, **parameters}
        return self.call("POST", "text-to-image", body, key=key, patience=patience)

    def draw(self, prompt: str, **parameters: Any) -> str:
        """Ask for a picture and return the id of its task."""
        reply = self.ask(prompt, **parameters)
        assert reply.status == 202, reply
        return reply.body["id"]

    def look(self, task_id: str) -> Row:
        """Look at a task, as its page does; that calls a sweep if there is none."""
        return self.call("GET", f"task/{task_id}").body

    def cancel(self, task_id: str) -> Reply:
        return self.call("POST", f"task/{task_id}/cancel")


# ---------------------------------------------------------------- the site
class Site:
    """`unblock` is pytest-django's: only the ledger is looked at through Django."""

    def __init__(
        self,
        directory: Path,
        template: Template,
        sandbox: SandboxServer,
        unblock: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._unblock = unblock
        self.directory = directory
        self.media = directory / "media"
        self.sandbox = sandbox
        self.database = template.copy(directory)
        self.env = environment(directory, self.database) | {"SANDBOX_URL": sandbox.url}
        self._listen(port=0)
        self.port = self._listener.getsockname()[1]
        self.alice = Member(self.port, template.tokens["alice"])
        self.bob = Member(self.port, template.tokens["bob"])
        self._programs: list[Program] = []

    def _listen(self, port: int) -> None:
        # Ours for as long as the test lasts, as it is in `start`: a visitor who comes while the
        # web server is away waits in it.
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)

    def configure(self, **columns: Any) -> None:
        """Change the provider's configuration behind everybody's back."""
        settings = ", ".join(f"{name} = %s" for name in columns)
        self.database.change(f"UPDATE flux_config SET {settings}", *columns.values())

    def set_key(self, key: str) -> None:
        """Save a fal key as the admin page does, encrypted with the site's own key."""
        cipher = Fernet((self.directory / "field_key").read_text().strip())
        encrypted = cipher.encrypt(key.encode()).decode()
        self.configure(api_key=encrypted, base_url=self.sandbox.url)

    # ------------------------------------------------------------ programs
    def _run(self, name: str, argv: list[str], **options: Any) -> Program:
        log = self.directory / f"{name}.log"
        env = self.env | options.pop("env", {})
        program = Program(argv, env=env, log=log, **options)
        self._programs.append(program)
        return program

    def web(self, limits: Mapping[str, Any] | None = None, **env: str) -> Program:
        """Start the web server as `manage.py start` does. `limits`: see launch.py."""
        if self._listener.fileno() < 0:
            self._listen(self.port)
        return self._run(
            "web",
            [
                *_launcher(limits, or_else=["-m"]),
                *("gunicorn", "fluxsite.wsgi"),
                *("--bind", f"fd://{self._listener.fileno()}"),
                *("--worker-class", "gthread", "--preload", "--no-control-socket"),
                *("--workers", env.pop("WEB_WORKERS", "1"), "--threads", "8"),
                *("--timeout", "60", "--graceful-timeout", "5", "--keep-alive", "15"),
                *("--log-level", "warning"),
            ],
            fds=(self._listener.fileno(),),
            env=env,
        )

    def workers(self, limits: Mapping[str, Any] | None = None, **env: str) -> Program:
        """Start a cluster. `limits`: see launch.py."""
        return self._run("workers", [*_launcher(limits), "manage.py", "qcluster"], env=env)

    def start(self, **env: str) -> Program:
        """Start everything with `manage.py start`, which draws with our sandbox under a key.
        Return once it listens."""
        self._listener.close()
        connection = {"FAL_KEY": "key:secret", "FAL_BASE_URL": self.sandbox.url}
        start = self._run(
            "start",
            [sys.executable, "manage.py", "start"],
            env={"PORT": str(self.port), **connection, **env},
        )
        wait_for(self._listens, what="`start` to listen")
        return start

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end; return what it printed."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=self.env,
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
        ).stdout

    def kill(self) -> None:
        """Kill every program."""
        self.sandbox.release()
        for program in self._programs:
            program.kill()

    def close(self) -> None:
        self.kill()
        self.sandbox.stop()
        self._listener.close()
        self.database.drop()

    def logs(self) -> str:
        """Return the end of what the programs said."""
        return "\n".join(
            f"── {path.name}\n{path.read_text()[-4000:]}" for path in self.directory.glob("*.log")
        )

    # ------------------------------------------------------------ what the database says
    def configuration(self) -> Row:
        return self.database.row("SELECT * FROM flux_config")

    def task(self, task_id: str) -> Row:
        return self.database.row("SELECT * FROM flux_tasks WHERE id = %s", task_id)

    def status(self, task_id: str) -> str:
        return self.task(task_id)["status"]

    def wait_until(self, task_id: str, **columns: Any) -> Row:
        """Wait until the task's columns have these values; return its row."""

        def look() -> Row | None:
            row = self.task(task_id)
            return row if all(row[name] == value for name, value in columns.items()) else None

        return wait_for(look, what=f"{columns} of task {task_id}", pause=0.02)

    def images(self, task_id: str) -> list[Row]:
        return self.database.rows(
            "SELECT * FROM task_images WHERE task_id = %s ORDER BY position", task_id
        )

    def wait_until_stored(self, task_id: str) -> Row:
        """Wait for the first picture of a task to be in our storage; return its row."""

        def look() -> Row | None:
            return next((image for image in self.images(task_id) if image["stored_at"]), None)

        return wait_for(look, what=f"the picture of {task_id}")

    def files_of(self, task_id: str) -> set[str]:
        """Return the names of a task's files in our storage."""
        return {name for image in self.images(task_id) for name in _files_of(image)}

    def entries(self, task_id: str) -> list[tuple[str, int, int]]:
        """Return the ledger of a task: kind, amount and what was charged, oldest first."""
        rows = self.database.rows(
            "SELECT kind, amount, charged FROM credit_ledger "
            "WHERE reference = %s OR reference LIKE %s ORDER BY id",
            f"flux:{task_id}",
            f"flux:{task_id}:%",
        )
        return [(row["kind"], row["amount"], row["charged"]) for row in rows]

    # ------------------------------------------------------------ what the sandbox saw
    def forget_requests(self) -> None:
        """Begin with an empty log and no fault but this: all pictures are black, because
        painting them would cost more than all the rest."""
        self.sandbox.clear_faults()
        self.sandbox.log.clear()
        self.sandbox.add_fault("plain_black")

    def requests(self, stage: str, prompt: str = "") -> list[LoggedRequest]:
        """Return what was asked of the sandbox at a stage; submits can be told by prompt."""
        found = [request for request in self.sandbox.requests if request.stage == stage]
        if prompt:
            found = [r for r in found if r.body and r.body.get("prompt") == prompt]
        return found

    def jobs(self, prompt: str) -> list[Job]:
        """Return the jobs the sandbox accepted for a prompt."""
        return [job for job in self.sandbox.jobs.values() if job.prompt == prompt]

    def wait_until_held(self, answers: int = 1) -> None:
        wait_for(lambda: self.sandbox.held >= answers, what="a held answer", pause=0.01)

    # ------------------------------------------------------------ time
    def skip(self, seconds: float = ALL_LEASES_SECS) -> None:
        """Let time pass, by default until every lease of whoever died has run out."""
        self.database.skip(seconds)

    def make_overdue(self, task_id: str) -> None:
        """Let the task's time at the provider be over."""
        self.database.change(
            "UPDATE flux_tasks SET deadline_at = %s, next_action_at = %s, updated_at = %s "
            "WHERE id = %s",
            *(past(1), past(1), past(0), task_id),
        )

    def stop(self, workers: Program) -> None:
        """Stop all processes of a cluster where they are, but not inside a transaction: that
        would stop everybody."""
        while True:
            workers.signal(signal.SIGSTOP)
            if self.database.is_idle():
                return
            workers.signal(signal.SIGCONT)
            time.sleep(0.05)

    # ------------------------------------------------------------ rest
    def is_sweeping(self) -> bool:
        """Tell whether a sweep holds its lease."""
        leases = self.database.rows("SELECT expires_at FROM sweep_leases")
        return any(lease["expires_at"] > datetime.now(UTC) for lease in leases)

    def unfinished(self) -> list[Row]:
        return self.database.rows(
            "SELECT * FROM flux_tasks WHERE status IN (%s, %s, %s)", *UNFINISHED
        )

    def unstored(self) -> list[Row]:
        return self.database.rows(
            "SELECT * FROM task_images WHERE stored_at IS NULL AND next_action_at IS NOT NULL"
        )

    def quiet(self, patience: float = 60) -> None:
        """Wait until nothing is left to do, watching the unfinished tasks as their pages do."""

        def is_quiet() -> bool:
            unfinished = self.unfinished()
            for task in unfinished[:1]:
                self.watch(task)
            return not unfinished and not self.unstored()

        wait_for(is_quiet, what="the end of all work", patience=patience, pause=0.1)

    def watch(self, task: Row) -> None:
        name = self.database.value("SELECT username FROM auth_user WHERE id = %s", task["user_id"])
        getattr(self, name).look(task["id"])

    # ------------------------------------------------------------ the invariants
    def check(
        self,
        *,
        unstored: Sequence[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        """Assert what must hold whenever all is quiet, whatever happened before.

        I1 the ledger is right; I2 one reservation, closed once, a task; I3 every success has
        its pictures; I4 no file without a row; I5 nothing was sent twice; I6 nothing is past
        its deadline; I7 no lease is left; I8 the next task succeeds. `unstored` tasks have
        pictures that were lost; `forgotten` files belong to rows that a restored backup does
        not have.
        """
        self._check_next_task()
        self._check_ledger()
        self._check_ends()
        self._check_files(unstored, forgotten)
        self._check_submits()
        self._check_leases()

    def _check_ledger(self) -> None:
        with self._unblock(), self.database.of_django():
            assert [str(difference) for difference in audit.check()] == []

    def _check_next_task(self) -> None:
        task_id = self.bob.draw(f"the next one {uuid.uuid4()}")
        row = self.wait_until(task_id, status="SUCCESS")
        self.wait_until_stored(task_id)
        assert self.entries(task_id) == paid(row["cost_reserved"])

    def _check_ends(self) -> None:
        assert self.unfinished() == []
        tasks = self.database.rows("SELECT * FROM flux_tasks WHERE cost_reserved > 0")
        for task in tasks:
            kinds = Counter(kind for kind, _amount, _charged in self.entries(task["id"]))
            end = "SETTLE" if task["status"] == "SUCCESS" else "RELEASE"
            lost = [image for image in self.images(task["id"]) if image["lost_at"]]
            assert kinds.pop("ADJUST", 0) == len(lost)
            assert kinds == {"RESERVE": 1, end: 1} or _was_recovered(kinds), (task, kinds)
        poorest = self.database.value("SELECT min(credits_balance) AS least FROM flux_credits")
        assert poorest >= 0

    def _check_files(self, unstored: Sequence[str], forgotten: Collection[str]) -> None:
        keys = set()
        successes = "SELECT id FROM flux_tasks WHERE status = 'SUCCESS'"
        for image in self.database.rows(
            f"SELECT * FROM task_images WHERE task_id IN ({successes})"
        ):
            if image["task_id"] in unstored:
                continue
            assert image["stored_at"], image
            with Image.open(self.media / image["storage_key"]) as picture:
                picture.load()
                assert picture.size == (image["width"], image["height"])
            keys |= _files_of(image)
        # What a worker killed while it saves leaves behind goes the next night.
        disk = import_string("fluxsite.disk.DiskStorage")
        disk(location=self.media).remove_stale_temporaries(timedelta(0))
        files = {str(p.relative_to(self.media)) for p in self.media.rglob("*") if p.is_file()}
        # It comes and goes while somebody asks how the storage is.
        files.discard(import_string("fluxsite.operations.probes.FILE_NAME"))
        assert files == keys | set(forgotten)
        # gunicorn and Python clean up after themselves, unless they are killed in between.
        assert [p.name for p in Path(self.env["TMPDIR"]).iterdir()] == []

    def _check_submits(self) -> None:
        accepted = Counter(
            request.body["prompt"]
            for request in self.requests("submit")
            if request.request_id and request.body
        )
        asked = Counter(
            row["prompt"] for row in self.database.rows("SELECT prompt FROM flux_tasks")
        )
        assert {p: n for p, n in accepted.items() if n > max(asked[p], 1)} == {}

    def _check_leases(self) -> None:
        still_storing = "SELECT id FROM task_images WHERE storing_since IS NOT NULL"
        assert self.database.rows(still_storing) == []
        due = "SELECT id FROM flux_tasks WHERE next_action_at IS NOT NULL"
        assert self.database.rows(due) == []

        # A sweep may still linger; a lease that lasts longer than its own was left behind.
        # Asked before the clock is read: it may renew its lease in between.
        leases = self.database.rows("SELECT expires_at FROM sweep_leases")
        soon = datetime.now(UTC) + timedelta(seconds=polling.LEASE_SECONDS)
        for lease in leases:
            assert lease["expires_at"] <= soon


def _files_of(image: Row) -> set[str]:
    key = image["storage_key"]
    return {key, *(key.rpartition(".")[0] + ending for ending in THUMBNAILS)}


def _was_recovered(kinds: Counter[str]) -> bool:
    """A task whose time was up gives all back; delivered later after all, it is charged anew."""
    return kinds == {"RESERVE": 2, "RELEASE": 1, "SETTLE": 1}


def _launcher(limits: Mapping[str, Any] | None, or_else: Sequence[str] = ()) -> list[str]:
    if not limits:
        return [sys.executable, *or_else]
    return [sys.executable, "-m", "generation.tests.faults.launch", json.dumps(limits)]


def given_back(cost: int = PRICE) -> list[tuple[str, int, int]]:
    """Return the ledger of a task that brought nothing: all of it came back, once."""
    return [("RESERVE", -cost, 0), ("RELEASE", cost, 0)]


def paid(charged: int = PRICE, *, reserved: int = 0) -> list[tuple[str, int, int]]:
    """Return the ledger of a task that brought what was charged, and gave back the rest."""
    reserved = reserved or charged
    return [("RESERVE", -reserved, 0), ("SETTLE", reserved - charged, charged)]


def paid_back(cost: int = PRICE) -> list[tuple[str, int, int]]:
    """Return what the ledger adds to a paid task for a picture that was lost afterwards."""
    return [("ADJUST", cost, 0)]


def past(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def in_parallel(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make calls at once, from a thread each, and return what they returned or raised."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except (OSError, http.client.HTTPException) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
