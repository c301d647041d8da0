"""Whatever is sent to the real web server: an answer, nothing changed, and the next one is served."""

from __future__ import annotations

import json
import re
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps

from fluxsite.tests.security import hostile_requests as hostile
from generation.tests.faults.conftest import new_site, template
from generation.tests.faults.processes import PROC, wait_for
from generation.tests.faults.site import Site

__all__ = ["new_site", "template"]

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc")

#: How long a client waits for an answer before it gives up.
PATIENCE_SECS = 5.0
#: What counts requests is written by a request.
NOT_COUNTED = {"rate_windows", "redeem_failures", "django_session"}
PRICE = 5


@dataclass
class Answer:
    status: int
    head: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def site(new_site: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with its web server alone: what changes was changed by a request."""
    site = new_site(tmp_path_factory.mktemp("hostile"))
    site.web()
    wait_for(lambda: site.alice.call("GET", "models").status == 200)
    with closing(site):
        yield site


def send(site: Site, raw: bytes) -> Answer | None:
    """Send bytes as they are and return the answer, or None where the server hangs up."""
    raw = raw.replace(b"TOKEN", site.alice._token.encode())
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECS) as line:
        try:
            line.sendall(raw)
            line.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError, OSError):
            pass  # It has heard enough.
        received = b""
        try:
            while chunk := line.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    head, _blank, body = received.partition(b"\r\n\r\n")
    if not head:
        return None
    if b"transfer-encoding: chunked" in head.lower():
        body = b"".join(re.findall(rb"[0-9a-f]+\r\n(.+?)\r\n", body, re.DOTALL))
    return Answer(int(head.split()[1]), head.decode("latin-1"), body)


def state(site: Site) -> dict[str, Any]:
    """All that a refusal must leave as it was, in one look."""
    tables = sorted({model._meta.db_table for model in apps.get_models() if model._meta.managed})
    counts = [
        f"(SELECT count(*) FROM {table}) AS {table}" for table in tables if table not in NOT_COUNTED
    ]
    [rows] = site.database.rows(
        f"SELECT {', '.join(counts)},"
        " (SELECT sum(credits_balance) FROM flux_credits) AS balance,"
        " (SELECT sum(total_used) FROM flux_credits) AS used,"
        " (SELECT count(*) FROM flux_tasks WHERE status = 'PENDING') AS pending"
    )
    return {**rows, "files": files(site.media), "temporary": files(site.directory / "tmp")}


def files(place: Path) -> list[str]:
    return sorted(str(path) for path in place.rglob("*") if path.is_file())


def said(site: Site) -> str:
    return (site.directory / "web.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def begun(site: Site) -> dict[str, Any]:
    """The state before all of them."""
    task = site.alice.draw("before all")
    site.alice.cancel(task)
    return state(site)


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_hostile_request(site, begun, case):
    logged = len(said(site))

    answer = send(site, case.raw)

    check(answer, case)
    assert state(site) == begun
    assert "Internal Server Error" not in said(site)[logged:]
    assert site.alice.call("GET", "models", patience=PATIENCE_SECS).status == 200


def check(answer: Answer | None, case: hostile.Hostile) -> None:
    if case.bare and answer is None:
        return
    assert answer is not None
    assert answer.status in case.statuses, answer.body[:500]
    assert not re.search(r"(?im)^X-Bad:", answer.head)
    if case.is_api and not case.bare and answer.status >= 400:
        body = answer.json()
        assert {"code", "detail", "request_id"} <= set(body)
        assert set(body) <= {"code", "detail", "request_id", "errors"}


def test_there_are_at_least_150_and_each_has_a_name_of_its_own():
    names = [case.name for case in hostile.CASES]

    assert len(names) >= 150
    assert len(names) == len(set(names))


# ---------------------------------------------------------------- text like any other
@pytest.mark.parametrize("name", hostile.PROMPTS)
def test_a_prompt_that_looks_hostile_is_kept_letter_by_letter(site, name):
    prompt = hostile.PROMPTS[name]
    before = state(site)

    reply = site.alice.ask(prompt)

    assert reply.status == 202
    told = site.alice.look(reply.body["id"])["prompt"]
    assert told == reply.body["prompt"] == unicodedata.normalize("NFC", prompt)
    after = state(site)
    assert after["flux_tasks"] == before["flux_tasks"] + 1
    assert after["balance"] == before["balance"] - PRICE
    assert prompt.split("\n")[-1] not in said(site)
