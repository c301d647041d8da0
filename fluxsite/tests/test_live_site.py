"""Live status as members meet it: a real browser at the web server that `start` runs."""

from __future__ import annotations

import http.client
import os
import re
import resource
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fluxsite.management.commands.start import MOST_FILES
from fluxsite.tests.test_start_site import PROC, Site, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc"),
    # pytest-base-url, which pytest-playwright brings, is not ready for pytest 10.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning"),
]

PASSWORD = "correct horse battery"
STREAMS = 300


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of the smallest size: one process with two threads, and few files at first."""
    directory = tmp_path_factory.mktemp("live")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with running(directory, ADMIN_PASSWORD=PASSWORD, WEB_THREADS="2") as site:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            yield site
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Asked:
    """What the page asked the server for, by path."""

    def __init__(self, page: Page) -> None:
        self.paths: list[str] = []
        page.on("request", lambda request: self.paths.append(request.url.split("?")[0]))

    def count(self, end: str) -> int:
        return sum(path.endswith(end) for path in self.paths)


@pytest.fixture
def asked(page: Page) -> Asked:
    return Asked(page)


@pytest.fixture
def complaints(page: Page) -> list[str]:
    texts: list[str] = []
    page.on("console", lambda message: message.type == "error" and texts.append(message.text))
    page.on("pageerror", lambda error: texts.append(str(error)))
    return texts


@pytest.fixture(scope="module")
def prepared(site: Site) -> list[str]:
    """The id of a task, and the sessions of so many members."""
    return site.manage("shell", "-v0", "-c", PREPARE.format(STREAMS)).split()


PREPARE = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone
from generation.tests.factories import FluxTaskFactory
later = timezone.now() + timedelta(hours=1)
admin = User.objects.get(username="admin")
task = FluxTaskFactory(
    user=admin, at_provider=True, prompt="a lighthouse", next_action_at=later, deadline_at=later
)
print(task.pk)
for number in range({0}):
    user = User.objects.create(username=f"watcher-{{number}}")
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.create()
    print(session.session_key)
"""


@pytest.fixture
def task(site: Site, prepared: list[str]) -> str:
    """A task at the provider that no worker touches before long."""
    task, *_sessions = prepared
    change(
        site,
        task,
        status="IN_QUEUE",
        queue_position=3,
        error_code="",
        completed_at=None,
        next_action_at="2999-01-01 00:00:00",
    )
    return task


def change(site: Site, task: str, **values: object) -> None:
    """Write to a task as the workers do, without the seconds that starting Django takes."""
    columns = {**values, "updated_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")}
    sets = ", ".join(f"{column} = ?" for column in columns)
    path = f"{site.env['DATA_DIR']}/fluxsite.sqlite3"
    with closing(sqlite3.connect(path, timeout=20)) as database, database:
        database.execute(f"UPDATE flux_tasks SET {sets} WHERE id = ?", [*columns.values(), task])


def fail(site: Site, task: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    change(site, task, status="FAILED", error_code="timeout", completed_at=now, next_action_at=None)


def open_studio(page: Page, site: Site) -> Any:
    """Log in and return the card of the task."""
    page.goto(f"http://127.0.0.1:{site.port}/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_request("**/studio/events?*"):
        page.get_by_role("button", name="Log in").click()
    card = page.get_by_role("article", name="a lighthouse").first
    expect(card).to_have_attribute("data-state", "waiting")
    return card


def hide(page: Page, *, hidden: bool) -> None:
    """Let the page believe that its tab was left, or looked at again."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


# ---------------------------------------------------------------- by the stream
def test_a_card_changes_by_the_stream_and_is_fetched_only_when_it_must(
    site, task, page: Page, asked, complaints
):
    card = open_studio(page, site)
    expect(card.locator("[data-status]")).to_have_text("3 ahead at the provider")

    change(site, task, queue_position=1)
    expect(card.locator("[data-status]")).to_have_text("1 ahead at the provider")
    fetched_for_words = asked.count("/studio/cards")
    fail(site, task)
    expect(card).to_have_attribute("data-state", "failed")

    assert fetched_for_words == 0
    assert asked.count("/studio/cards") == 1
    assert asked.count("/studio/events") == 1
    assert page.title() == "Studio · Fluxsite"
    assert complaints == []


def test_a_picture_is_drawn_and_followed_by_one_stream(site, task, page: Page, asked, complaints):
    open_studio(page, site)
    page.get_by_label("What do you want to see?").fill("山间的小茶馆")

    page.get_by_role("button", name=re.compile("Generate 1 image")).click()

    card = page.get_by_role("article", name="山间的小茶馆")
    expect(card).to_have_attribute("data-state", "done", timeout=30_000)
    expect(card.locator("img")).to_have_count(1)
    assert asked.count("/studio/events") == 1
    assert complaints == []


def test_a_page_without_open_cards_holds_no_stream(site, task, page: Page, asked):
    card = open_studio(page, site)

    with page.expect_event("requestfailed", lambda request: "/studio/events" in request.url):
        fail(site, task)

    expect(card).to_have_attribute("data-state", "failed")


# ---------------------------------------------------------------- without it
def test_where_the_stream_is_held_back_polling_takes_over(
    site, task, page: Page, asked, complaints
):
    # A proxy that waits for the end of the answer before it passes anything on.
    page.route("**/studio/events?*", lambda _route: None)
    card = open_studio(page, site)

    change(site, task, queue_position=1)

    expect(card.locator("[data-status]")).to_have_text("1 ahead at the provider")
    assert asked.count("/studio/cards") > 0
    assert complaints == []


def test_a_stream_that_breaks_comes_back(site, task, page: Page, asked):
    card = open_studio(page, site)
    expect(card.locator("[data-status]")).to_have_text("3 ahead at the provider")

    with page.expect_request("**/studio/events?*"):
        os.kill(site.leader("gunicorn"), signal.SIGKILL)
    change(site, task, queue_position=1)

    expect(card.locator("[data-status]")).to_have_text("1 ahead at the provider", timeout=15_000)


# ---------------------------------------------------------------- unseen
def test_a_hidden_tab_asks_nothing_and_looks_at_once_when_it_is_seen_again(
    site, task, page: Page, asked
):
    card = open_studio(page, site)
    with page.expect_event("requestfailed", lambda request: "/studio/events" in request.url):
        hide(page, hidden=True)
    before = len(asked.paths)

    with watch(site, own_session(page)) as another:
        read_until(another, b'"waiting"')
        fail(site, task)
        read_until(another, b'"failed"')
    while_hidden = asked.paths[before:]
    state = card.get_attribute("data-state")
    hide(page, hidden=False)

    expect(card).to_have_attribute("data-state", "failed")
    assert (while_hidden, state) == ([], "waiting")
    assert asked.count("/studio/cards") == 1


def test_a_hidden_tab_that_shall_notify_is_told_and_fetches_nothing(site, task, page: Page, asked):
    page.context.grant_permissions(["notifications"])
    page.add_init_script(
        """window.shown = [];
        window.Notification = class extends Notification {
          constructor(title, options) { super(title, options); shown.push([title, options.body]); }
        };"""
    )
    card = open_studio(page, site)
    page.get_by_label("Account: admin").click()
    switch = page.get_by_role("button", name="Notify when done")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    hide(page, hidden=True)

    fail(site, task)

    page.wait_for_function("() => shown.length > 0")
    assert page.evaluate("shown") == [["Your picture could not be made", "a lighthouse"]]
    assert asked.count("/studio/cards") == 0
    assert page.title() == "Studio · Fluxsite"
    hide(page, hidden=False)
    expect(card).to_have_attribute("data-state", "failed")


def test_nothing_is_shown_that_was_not_asked_for(site, task, page: Page):
    page.context.grant_permissions(["notifications"])
    page.add_init_script(
        """window.shown = [];
        window.Notification = class extends Notification {
          constructor(title, options) { super(title, options); shown.push(title); }
        };"""
    )
    card = open_studio(page, site)

    fail(site, task)

    expect(card).to_have_attribute("data-state", "failed")
    assert page.evaluate("shown") == []


# ---------------------------------------------------------------- many
def test_the_web_server_may_open_as_many_files_as_the_system_allows(site):
    limits = (PROC / str(site.leader("gunicorn")) / "limits").read_text()

    soft, hard = re.search(r"Max open files +(\S+) +(\S+)", limits).groups()
    assert soft == str(min(int(hard), MOST_FILES))


def test_pages_are_answered_while_three_hundred_watch(site, task, prepared, page: Page):
    watchers = [watch(site, session) for session in prepared[1:]]
    try:
        heads = [watcher.recv(12) for watcher in watchers]
        card = open_studio(page, site)
        change(site, task, queue_position=1)
        expect(card.locator("[data-status]")).to_have_text("1 ahead at the provider")
        statuses = [status_of_login(site) for _time in range(20)]
    finally:
        for watcher in watchers:
            watcher.close()

    assert heads == [b"HTTP/1.1 200"] * STREAMS
    assert statuses == [200] * 20


def watch(site: Site, session: str) -> socket.socket:
    watcher = socket.create_connection(("127.0.0.1", site.port), timeout=60)
    watcher.sendall(
        f"GET /studio/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Cookie: sessionid={session}\r\n\r\n".encode()
    )
    return watcher


def read_until(watcher: socket.socket, words: bytes) -> None:
    received = b""
    while words not in received:
        chunk = watcher.recv(4096)
        assert chunk, "the stream ended"
        received += chunk


def own_session(page: Page) -> str:
    [session] = [each for each in page.context.cookies() if each["name"] == "sessionid"]
    return session["value"]


def status_of_login(site: Site) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    try:
        connection.request("GET", "/login")
        return connection.getresponse().status
    finally:
        connection.close()
