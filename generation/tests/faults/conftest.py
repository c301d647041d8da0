"""A site of its own for every test that kills or changes it; one that stays open for the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from generation.sandbox.server import SandboxServer
from generation.tests.faults.site import Site, Template

FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)
            if not Path("/proc").is_dir():
                item.add_marker(pytest.mark.skip(reason="looks at processes through /proc"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def chaos_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--chaos-seconds"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    template = Template.make(tmp_path_factory.mktemp("template"))
    yield template
    template.drop()


@pytest.fixture(scope="session")
def new_site(template: Template, django_db_blocker: Any) -> Callable[[Path], Site]:
    def make(directory: Path) -> Site:
        sandbox = SandboxServer(port=0, generation_seconds=0.1, queue_seconds=0.02)
        sandbox.start()
        return Site(directory, template, sandbox, django_db_blocker.unblock)

    return make


@pytest.fixture
def site(tmp_path: Path, new_site: Callable[[Path], Site]) -> Iterator[Site]:
    """A site on which nothing runs yet."""
    site = new_site(tmp_path)
    site.forget_requests()
    yield site
    # Shown by pytest beside a failure only.
    sys.stderr.write(site.logs())
    site.close()


@dataclass
class Shared:
    site: Site | None = None

    def close(self) -> None:
        if self.site:
            self.site.close()
        self.site = None


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    shared = Shared()
    yield shared
    shared.close()


@pytest.fixture
def open_site(
    request: pytest.FixtureRequest,
    shared: Shared,
    new_site: Callable[[Path], Site],
    tmp_path: Path,
) -> Iterator[Site]:
    """A site with web server and workers running, for tests that kill neither and leave it as
    they found it. They all share one, until a test fails on it."""
    if shared.site is None:
        shared.site = new_site(tmp_path)
        shared.site.web()
        shared.site.workers()
    shared.site.forget_requests()
    yield shared.site
    sys.stderr.write(shared.site.logs())
    if request.node.stash.get(FAILED, True):
        shared.close()
