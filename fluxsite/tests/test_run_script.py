"""`./run`, in checkouts of nothing but itself, a manage.py that reports, and empty locks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

REPORT = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:],
    "prefix": sys.prefix,
    "path": os.environ.get("PYTHONPATH"),
    "cwd": os.getcwd(),
}))
"""


def make_checkout(directory: Path) -> Path:
    directory.mkdir(parents=True)
    shutil.copy(ROOT / "run", directory / "run")
    (directory / "manage.py").write_text(REPORT)
    (directory / "requirements.txt").write_text("# nothing\n")
    (directory / "requirements-scale.txt").write_text("# nothing\n")
    (directory / "requirements-sentry.txt").write_text("# nothing\n")
    (directory / "requirements-sso.txt").write_text("# nothing\n")
    return directory


def start(checkout: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME"} or name.startswith("PIP_")
    }
    return subprocess.Popen(
        [str(checkout / "run"), *arguments],
        env={**inherited, "PYTHON": sys.executable, **env},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(checkout: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    process = start(checkout, *arguments, **env)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def make_tool(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bare_path(tmp_path):
    """A PATH of the few tools that every system has, and without a Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ["sh", "dirname", "cat", "cksum", "mkdir", "mktemp", "rm", "awk", "sed"]:
        (tools / tool).symlink_to(shutil.which(tool))
    return tools


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout, in a directory with a blank, that has been set up."""
    checkout = make_checkout(tmp_path_factory.mktemp("a blank") / "flux site")
    assert run(checkout, "manage", "first").returncode == 0
    return checkout


# ---------------------------------------------------------------- what a command sees
def test_a_command_gets_its_arguments_and_owns_standard_output(checkout):
    done = run(checkout, "manage", "create_token", "two words", PYTHONPATH="/elsewhere")

    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "arguments": ["create_token", "two words"],
        "prefix": str(checkout / ".venv"),
        "path": None,
        "cwd": "/",
    }


def test_no_command_starts_the_site(checkout):
    assert json.loads(run(checkout).stdout)["arguments"] == ["start"]


def test_the_first_use_talks_on_standard_error_only(tmp_path):
    done = run(make_checkout(tmp_path / "new"), "manage", "x")

    assert json.loads(done.stdout)["arguments"] == ["x"]
    assert "Making the virtual environment" in done.stderr
    assert "Installing requirements.txt" in done.stderr
    assert "requirements-scale.txt" not in done.stderr


def test_an_unknown_command_is_named_and_help_offered(checkout):
    done = run(checkout, "tests")

    assert done.returncode == 2
    assert "There is no ./run tests." in done.stderr
    assert "./run test " in done.stderr
    assert done.stdout == ""


# ---------------------------------------------------------------- what is installed when
def test_packages_are_installed_again_when_their_lock_changes(checkout):
    (checkout / "requirements.txt").write_text("# still nothing\n")

    assert "Installing requirements.txt" in run(checkout, "manage", "x").stderr
    assert run(checkout, "manage", "x").stderr == ""


def test_a_site_on_postgresql_gets_its_driver(checkout):
    done = run(checkout, "manage", "x", DATABASE_URL="postgres://localhost/fluxsite")

    assert "Installing requirements-scale.txt" in done.stderr


def test_a_site_with_single_sign_on_gets_what_it_needs_for_it(checkout):
    done = run(checkout, "manage", "x", OIDC_SERVER_URL="https://sso.example.org")

    assert "Installing requirements-sso.txt" in done.stderr
    assert (checkout / ".venv/installed-requirements-sso.txt").exists()


def test_a_site_that_reports_to_sentry_gets_its_client(checkout):
    done = run(checkout, "manage", "x", SENTRY_DSN="https://key@sentry.example.org/1")

    assert "Installing requirements-sentry.txt" in done.stderr
    assert "requirements-scale.txt" not in done.stderr


def test_a_failed_installation_says_so_and_is_tried_again(checkout):
    lock = checkout / "requirements.txt"
    lock.write_text("no-such-package-anywhere==1\n")
    failed = run(checkout, "manage", "x")
    lock.write_text("# mended\n")
    mended = run(checkout, "manage", "x")

    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "Setting up failed" in failed.stderr
    assert json.loads(mended.stdout)["arguments"] == ["x"]


@pytest.mark.parametrize("damage", ["python vanished", "half made"])
def test_a_damaged_environment_is_made_anew(checkout, damage):
    python = checkout / ".venv/bin/python"
    if damage == "python vanished":
        python.unlink()
        python.symlink_to("/no/such/python")
    else:
        shutil.rmtree(next((checkout / ".venv/lib").glob("python3*/site-packages")))
        (checkout / ".venv/installed-requirements.txt").unlink()

    done = run(checkout, "manage", "x")

    assert json.loads(done.stdout)["arguments"] == ["x"]
    assert "Making the virtual environment" in done.stderr


def test_two_first_uses_at_once_wait_for_each_other(tmp_path):
    checkout = make_checkout(tmp_path / "both")
    both = [start(checkout, "manage", name) for name in ("one", "two")]
    said = [process.communicate(timeout=120) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert [json.loads(out)["arguments"] for out, _err in said] == [["one"], ["two"]]
    assert sum("Making the virtual environment" in err for _out, err in said) == 1


# ---------------------------------------------------------------- which Python
def test_without_python_it_says_what_to_install(tmp_path, bare_path):
    done = run(make_checkout(tmp_path / "c"), PATH=str(bare_path), PYTHON="")

    assert done.returncode == 1
    assert "Fluxsite needs Python 3.11 or newer, and none was found" in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_a_python_without_venv_is_not_enough(tmp_path, bare_path):
    make_tool(
        bare_path / "python3",
        f'case "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"',
    )

    done = run(make_checkout(tmp_path / "c"), PATH=str(bare_path), PYTHON="")

    assert done.returncode == 1
    assert "sudo apt install python3-venv" in done.stderr


def test_a_shim_that_fails_is_passed_over(tmp_path, bare_path):
    make_tool(bare_path / "python3.13", "echo 'version 3.13 is not installed' >&2; exit 127")
    (bare_path / "python3").symlink_to(sys.executable)

    done = run(make_checkout(tmp_path / "c"), "manage", "x", PATH=str(bare_path), PYTHON="")

    assert json.loads(done.stdout)["arguments"] == ["x"]


def test_a_named_python_that_will_not_do_is_mentioned(tmp_path, bare_path):
    make_tool(bare_path / "python2", "exit 1")
    (bare_path / "python3").symlink_to(sys.executable)

    done = run(make_checkout(tmp_path / "c"), "manage", PATH=str(bare_path), PYTHON="python2")

    assert done.returncode == 0
    assert "PYTHON=python2 is not a Python of at least 3.11" in done.stderr
