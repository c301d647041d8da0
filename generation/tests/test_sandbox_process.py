"""The sandbox as a process: it says where it is and goes when told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [["-m", "generation.sandbox"], ["manage.py", "sandbox_fal"]])
def test_it_prints_its_address_serves_and_exits_cleanly(command, number):
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0", "--generation-seconds", "0.1"],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line).group()
        assert requests.get(url, timeout=5).json()["name"] == "fluxsite sandbox"

        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()

    assert (process.returncode, rest, errors) == (0, "", "")


def test_it_imports_nothing_of_django_and_no_cryptography_before_the_first_webhook():
    script = (
        "import sys; import generation.sandbox.server; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'django', 'cryptography'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
