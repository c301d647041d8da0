"""What all tests share: the cast, threads that race, the sandbox and the browser."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import expect

from fluxsite import env
from fluxsite.tests.cos_emulator import CosEmulator
from generation.sandbox.server import SandboxServer

# A page asks again after up to five seconds, and a busy machine takes its time.
expect.set_options(timeout=15_000)

# Playwright runs an event loop in the test's own thread, where Django would refuse to query.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

PASSWORD = "a password for tests"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos-seconds",
        type=float,
        default=15,
        help="how long processes are killed at random (generation/tests/faults/test_chaos.py)",
    )


# ---------------------------------------------------------------- cast
@pytest.fixture
def alice(db: None) -> User:
    """The member to whom things belong."""
    return User.objects.create_user("alice", password=PASSWORD)


@pytest.fixture
def bob(db: None) -> User:
    """Another member, who must not see what is Alice's."""
    return User.objects.create_user("bob", password=PASSWORD)


@pytest.fixture
def staff(db: None) -> User:
    """An administrator."""
    return User.objects.create_superuser("staff", password=PASSWORD)


# ---------------------------------------------------------------- threads
@pytest.fixture
def race() -> Callable[..., list[Any]]:
    """Run one function per argument at the same moment; answers and exceptions, in order."""

    def run(function: Callable[[Any], Any], arguments: list[Any]) -> list[Any]:
        start = threading.Barrier(len(arguments))
        answers: list[Any] = [None] * len(arguments)

        def runner(place: int, argument: Any) -> None:
            try:
                start.wait()
                answers[place] = function(argument)
            except Exception as error:  # noqa: BLE001 - the answer of this thread
                answers[place] = error
            finally:
                connection.close()

        threads = [
            threading.Thread(target=runner, args=(place, argument))
            for place, argument in enumerate(arguments)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    return run


# ---------------------------------------------------------------- the database
@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Drop the database only when the processes that were killed have left it: PostgreSQL
    notices that a moment later. Who stays is named and sent away."""
    yield
    if connection.vendor != "postgresql":
        return
    end = time.monotonic() + 20
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT pid, application_name, state, query FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            others = cursor.fetchall()
            if not others or time.monotonic() > end:
                break
            time.sleep(0.2)
        for pid, *what in others:
            print("still in the database:", *what, file=sys.stderr)  # noqa: T201
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        if others:
            time.sleep(1)


# ---------------------------------------------------------------- the outside world
@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """The stand-in for fal, running, quick, without rules and without a past."""
    with SandboxServer(port=0, generation_seconds=0.1, queue_seconds=0.02) as server:
        yield server
        server.release()


@pytest.fixture
def cos() -> Iterator[CosEmulator]:
    """The stand-in for a bucket of Tencent COS, running and empty."""
    with CosEmulator() as emulator:
        yield emulator


#: A bucket of Tencent COS that tests may write to, if there is one.
REAL_BUCKET = {
    "bucket_name": env.text("COS_TEST_BUCKET"),
    "region": env.text("COS_TEST_REGION"),
    "secret_id": env.text("COS_TEST_SECRET_ID"),
    "secret_key": env.text("COS_TEST_SECRET_KEY"),
}


@pytest.fixture(scope="session")
def real_bucket() -> dict[str, str]:
    """What a COSStorage in a real bucket is made with; for tests marked `real_bucket`."""
    return REAL_BUCKET


# ---------------------------------------------------------------- the browser
def find_chromium() -> str | None:
    """Return the Chromium to drive: CHROMIUM, or the first one found on the PATH."""
    named = env.text("CHROMIUM")
    for name in [named] if named else ["chromium", "chromium-browser", "google-chrome"]:
        if path := shutil.which(name):
            return path
    return None


@pytest.fixture(scope="session")
def chromium_path() -> str:
    return find_chromium() or pytest.skip("no Chromium found")


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], chromium_path: str
) -> dict[str, Any]:
    # A distribution's Chromium instead of one downloaded, and one that phones nobody.
    return {
        **browser_type_launch_args,
        "executable_path": chromium_path,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
        ],
    }


@pytest.fixture
def enter(browser: Any, live_server: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the site in a browser of its own, as a member or as nobody.

    Further keywords are Playwright's for contexts: viewport, has_touch, color_scheme, locale.
    The page has `complaints`: what its console says, and what the policy of the page forbade.
    They must be empty in the end.
    """
    pages: list[Any] = []

    def open_page(path: str = "/", *, user: User | None = None, **options: Any) -> Any:
        context = browser.new_context(base_url=live_server.url, **options)
        if user is not None:
            visitor = Client()
            visitor.force_login(user)
            session = visitor.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => "
            "console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        page = context.new_page()
        page.complaints = []
        page.on(
            "console",
            lambda message: message.type == "error" and page.complaints.append(message.text),
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        pages.append(page)
        page.goto(path)
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert [page.complaints for page in pages if page.complaints] == []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not all(REAL_BUCKET.values()):
        without = [item for item in items if item.get_closest_marker("real_bucket")]
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
    if find_chromium() is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="no Chromium found"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if find_chromium() is None:
        terminalreporter.section("NO BROWSER TESTS", red=True, bold=True)
        terminalreporter.line(
            "No Chromium was found, so the tests that drive a browser were skipped. "
            "Install one (Debian: apt install chromium) or name it with CHROMIUM=/path/to/it."
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    # The controller of parallel workers makes the directory, and they all use it.
    directory = Path(settings.DATA_DIR)
    if not hasattr(config, "workerinput") and directory.name.startswith("fluxsite-test-"):
        shutil.rmtree(directory, ignore_errors=True)
