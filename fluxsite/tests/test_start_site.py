"""`manage.py start` as its users meet it: real processes, killed for real."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
PATIENCE_SECS = 60

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc")

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found]) -> Found:
    """Look again and again until there is something to see."""
    end = time.monotonic() + PATIENCE_SECS
    while not (found := look()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Site:
    """A site run by `manage.py start` in a directory of its own, or a part of one."""

    def __init__(self, data_dir: Path, *, only: str = "", **env: str) -> None:
        self.port = int(env.pop("PORT", 0)) or free_port()
        self.out = data_dir / f"out{only}.txt"
        self.err = data_dir / f"err{only}.txt"
        # Nothing of the test's own settings or of a developer's site may reach it.
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "WORKERS": "2",
            "WEB_WORKERS": "1",
            **env,
        }
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "start", *(["--only", only] if only else [])],
                env=self.env,
                cwd=ROOT,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            return response.status == 200 and json.load(response)["status"] == "ok"
        except OSError:
            return False
        finally:
            connection.close()

    def banner(self) -> str:
        """Return what was printed, once it says how to stop."""
        return wait_for(lambda: "To stop" in (text := self.out.read_text()) and text)

    def leader(self, word: str) -> int | None:
        """Return the process number of the program whose command line has this word."""
        for pid in children(self.process.pid):
            if word in command_line(pid) and pid == int(stat(pid)[2]):
                return pid
        return None

    def groups(self) -> list[int]:
        """Return the process groups of all programs, and of the reaper."""
        return children(self.process.pid)

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, env=self.env, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECS)


@contextmanager
def running(data_dir: Path, **env: str) -> Iterator[Site]:
    site = Site(data_dir, **env)
    groups = []
    try:
        wait_for(lambda: site.process.poll() is not None or site.is_healthy())
        assert site.process.poll() is None, site.err.read_text()
        site.banner()
        wait_for(lambda: site.leader("qcluster"))
        groups = site.groups()
        yield site
    finally:
        if site.process.poll() is None:
            site.end()
        for group in groups:
            assert not members(group)


# ---------------------------------------------------------------- looking at processes
def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: state, ppid, pgrp, …"""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0", "0"]


def pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def children(parent: int) -> list[int]:
    return [pid for pid in pids() if stat(pid)[1] == str(parent) and stat(pid)[0] not in "ZX"]


def members(group: int) -> list[int]:
    """Return the living processes of a group; a zombie no longer lives."""
    return [pid for pid in pids() if stat(pid)[2] == str(group) and stat(pid)[0] not in "ZX"]


def command_line(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


# ---------------------------------------------------------------- first start
def test_first_start_prints_the_address_and_a_password_and_the_second_does_not(tmp_path):
    with running(tmp_path) as site:
        banner = site.banner()
        stored = site.manage("shell", "-v0", "-c", CHECK_PASSWORD)

    password = re.search(r"Password +(\S+)  \(shown once\)", banner)
    assert f"http://127.0.0.1:{site.port}/" in banner
    assert "sandbox" in banner
    assert password
    assert password[1] not in site.err.read_text()
    assert stored.startswith("pbkdf2_")

    with running(tmp_path) as site:
        assert "Password" not in site.banner()


CHECK_PASSWORD = """
from django.contrib.auth.models import User
print(User.objects.get(username="admin", is_superuser=True).password)
"""


def test_the_password_of_the_environment_is_honoured_and_not_printed(tmp_path):
    with running(tmp_path, ADMIN_PASSWORD="correct horse battery") as site:
        banner = site.banner()
        accepted = site.manage(
            "shell",
            "-v0",
            "-c",
            "from django.contrib.auth import authenticate;"
            "print(authenticate(username='admin', password='correct horse battery'))",
        )
        wait_for(lambda: site.leader("sandbox_fal"))
        environments = [(PROC / str(g) / "environ").read_bytes() for g in site.groups()]

    assert accepted == "admin\n"
    assert "the one in ADMIN_PASSWORD" in banner
    assert "correct horse" not in banner
    # The reaper is a fork of `start` itself; the programs proper are three.
    assert sum(b"ADMIN_PASSWORD" not in environment for environment in environments) == 3


def test_a_second_start_on_the_same_data_is_refused(tmp_path):
    with running(tmp_path) as site:
        second = subprocess.run(
            [sys.executable, "manage.py", "start"],
            env={**site.env, "PORT": str(free_port())},
            cwd=ROOT,
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE_SECS,
        )

        assert second.returncode == 1
        assert f"already runs on {tmp_path} (process {site.process.pid})" in second.stderr
        assert second.stdout == ""
        assert site.is_healthy()


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        site = Site(tmp_path, PORT=str(port))
        status = site.process.wait(PATIENCE_SECS)

    assert status == 1
    assert site.err.read_text() == (
        f"CommandError: Port {port} of 127.0.0.1 is taken by another program. "
        "Choose another with PORT.\n"
    )
    assert site.out.read_text() == ""


# ---------------------------------------------------------------- accidents
@pytest.mark.parametrize("word", ["gunicorn", "qcluster", "sandbox_fal"])
def test_a_killed_program_comes_back_and_leaves_no_orphan(tmp_path, word):
    with running(tmp_path) as site:
        before = wait_for(lambda: site.leader(word))
        os.kill(before, signal.SIGKILL)

        after = wait_for(lambda: (pid := site.leader(word)) and pid != before and pid)

        assert after != before
        assert not members(before)
        assert site.is_healthy()


def test_nothing_survives_a_killed_start(tmp_path):
    with running(tmp_path) as site:
        wait_for(lambda: len(members(site.leader("qcluster") or 0)) > 3)
        groups = site.groups()
        assert len(groups) == 4

        site.process.kill()
        site.process.wait()

        wait_for(lambda: not any(members(group) for group in groups))


def test_a_start_right_after_a_killed_one_succeeds(tmp_path):
    with running(tmp_path) as site:
        site.process.kill()
        site.process.wait()

        # The port is still taken and the lock still held, by what is being cleared away.
        with running(tmp_path, PORT=str(site.port)) as successor:
            assert successor.is_healthy()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_everything(tmp_path, number):
    with running(tmp_path) as site:
        groups = site.groups()

        site.process.send_signal(number)

        assert site.process.wait(PATIENCE_SECS) == 0
        assert not any(members(group) for group in groups)


# ---------------------------------------------------------------- key and watchdog
def test_the_sandbox_runs_exactly_while_there_is_no_key(tmp_path):
    with running(tmp_path) as site:
        wait_for(lambda: site.leader("sandbox_fal"))

        site.manage("shell", "-v0", "-c", SET_KEY.format("'id:secret'"))
        wait_for(lambda: not site.leader("sandbox_fal"))

        site.manage("shell", "-v0", "-c", SET_KEY.format("''"))
        wait_for(lambda: site.leader("sandbox_fal"))


SET_KEY = """
from generation import channel
config = channel.load_config()
config.set_api_key({})
config.save()
"""


def test_a_site_with_a_key_starts_without_the_sandbox(tmp_path):
    with running(tmp_path, FAL_KEY="id:secret") as site:
        assert "with fal" in site.banner()
        assert site.leader("sandbox_fal") is None


def test_web_and_workers_run_apart_on_one_database(tmp_path, sandbox):
    env = {"FAL_KEY": "key:secret", "FAL_BASE_URL": sandbox.url}
    # Both at once, on a database that neither of them has prepared yet.
    parts = [Site(tmp_path, only=only, **env) for only in ("web", "workers")]
    web, workers = parts
    try:
        wait_for(web.is_healthy)
        wait_for(lambda: workers.leader("qcluster"))
        assert (web.leader("qcluster"), workers.leader("gunicorn")) == (None, None)
        assert "ready at" in web.banner()
        assert "The workers of Fluxsite run" in workers.banner()
        token = web.manage("create_token", "admin").split()[-1]
        task = api(web.port, token, "POST", "text-to-image", {"prompt": "drawn by another part"})
        wait_for(lambda: api(web.port, token, "GET", f"task/{task['id']}")["status"] == "SUCCESS")
        # A part that runs already on these data is not started again.
        again = Site(tmp_path, only="workers", **env)
        assert again.process.wait(PATIENCE_SECS) == 1
        assert "already runs" in again.err.read_text()
    finally:
        ends = [part.end() for part in parts]
    assert ends == [0, 0]


def api(port: int, token: str, method: str, path: str, body: object = None) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECS)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, f"/api/flux/{path}", json.dumps(body) if body else None, headers)
    with contextlib.closing(connection):
        return json.load(connection.getresponse())


def test_a_cluster_that_hangs_is_replaced_and_its_work_done(tmp_path):
    with running(tmp_path) as site:
        hanging = wait_for(lambda: site.leader("qcluster"))
        wait_for(lambda: len(members(hanging)) > 3)
        # A stopped process is alive, holds its locks and does nothing, as a hung one.
        for pid in members(hanging):
            os.kill(pid, signal.SIGSTOP)
        site.manage("shell", "-v0", "-c", LEAVE_WORK)

        wait_for(lambda: (pid := site.leader("qcluster")) and pid != hanging)

        wait_for(lambda: site.manage("shell", "-v0", "-c", TELL_STATUS) == "SUCCESS\n")


LEAVE_WORK = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from generation.tests.factories import FluxTaskFactory
FluxTaskFactory(user=User.objects.get(), next_action_at=timezone.now() - timedelta(minutes=1))
"""
TELL_STATUS = """
from generation.models import FluxTask
print(FluxTask.objects.get().status)
"""
