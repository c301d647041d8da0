"""The supervisor on its own, with programs of one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxsite.tests.test_start_site import PROC, ROOT, children, members, wait_for

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc")

SUPERVISE = """
import os, sys
from fluxsite.supervisor import Program, Supervisor
Supervisor([Program("it", ["sh", "-c", sys.argv[1]])], env=os.environ, cwd=sys.argv[2]).run()
"""


@pytest.fixture
def supervise(tmp_path):
    """Run a shell command under a supervisor, in tmp_path."""
    started = []

    def supervise(command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, command, str(tmp_path)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield supervise
    for process in started:
        process.kill()
        process.communicate()


def read_pid(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


def test_a_program_that_ends_is_started_again_and_the_reason_is_told(tmp_path, supervise):
    process = supervise("echo once >> runs; exit 3")

    wait_for(
        lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text().count("\n") > 2
    )

    process.terminate()
    assert process.wait() == 0
    assert process.stderr.read().splitlines()[:2] == [
        "it ended with status 3; starting it again in 0.2 s",
        "it ended with status 3; starting it again in 0.4 s",
    ]


def test_what_a_dead_leader_left_is_killed(tmp_path, supervise):
    supervise("sleep 1000 & echo $! >> helper; sleep 1000")
    first = read_pid(tmp_path / "helper")
    group = os.getpgid(first)

    os.kill(group, signal.SIGKILL)

    wait_for(lambda: not members(group))
    wait_for(lambda: len((tmp_path / "helper").read_text().split()) == 2)


def test_a_helper_that_its_leader_forgets_is_asked_too(tmp_path, supervise):
    process = supervise("sleep 1000 & echo $! > helper; trap 'exit 0' TERM; wait")
    helper = read_pid(tmp_path / "helper")

    process.terminate()

    assert process.wait() == 0
    assert not Path(f"/proc/{helper}").exists()


def test_a_second_signal_kills_at_once(tmp_path, supervise):
    process = supervise("trap '' TERM INT; echo $$ > ready; while :; do sleep 0.1; done")
    group = read_pid(tmp_path / "ready")

    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)

    assert process.wait() == 0
    assert not members(group)


def test_a_killed_reaper_is_replaced(tmp_path, supervise):
    process = supervise("echo $$ > ready; exec sleep 1000")
    group = read_pid(tmp_path / "ready")
    reaper = next(pid for pid in children(process.pid) if pid != group)

    os.kill(reaper, signal.SIGKILL)
    wait_for(lambda: {*children(process.pid)} - {group, reaper})
    process.kill()

    wait_for(lambda: not members(group))
