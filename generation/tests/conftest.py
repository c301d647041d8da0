"""A site that draws with the sandbox, and workers that run inside the test."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from django.db import connection

from generation import polling
from generation.models import TaskImage
from generation.tests.foreign_sites import WEBUI, PostgreSQLSite, SQLiteSite


@pytest.fixture
def drawing(db, settings, sandbox):
    """The channel is open: the sandbox draws. Returns the sandbox server."""
    settings.SANDBOX_URL = sandbox.url
    return sandbox


@pytest.fixture
def work(drawing, settings):
    """Return a function that does what the workers would do until all is done."""
    # Pictures are stored after the sweep here, so it must not wait for free workers.
    settings.STORE_WORKERS = 100

    def run(window: float = 20.0) -> None:
        polling.sweep(window=window, idle=0)
        for image in TaskImage.objects.filter(stored_at=None):
            polling.store(image.pk)

    return run


@pytest.fixture
def workers(drawing):
    """Do what the workers would, beside the test, until it ends."""
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.wait(0.05):
                polling.sweep(window=0.5, idle=0)
                for image in TaskImage.objects.filter(stored_at=None):
                    polling.store(image.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture(params=sorted({"sqlite", connection.vendor}))
def webui(request, db, tmp_path):
    """The database of an Open WebUI fork with three users and no tasks. Where the suite runs on
    PostgreSQL, of either kind."""
    site = PostgreSQLSite() if request.param == "postgresql" else SQLiteSite(tmp_path / "webui.db")
    with closing(site):
        site.script(WEBUI)
        for name in ("alice", "bob", "carol"):
            site.add("user", id=f"u-{name}", name=name.title(), email=f"{name.title()}@Example.com")
        yield site


@pytest.fixture
def shelf(settings, tmp_path, db):
    """A disk of this test's own, as the only storage. Tests that run side by side share the
    usual one, so whoever looks through all files needs it."""
    disk = {
        "BACKEND": "fluxsite.disk.DiskStorage",
        "OPTIONS": {"location": tmp_path / "disk", "allow_overwrite": True},
    }
    settings.STORAGES = {**settings.STORAGES, "default": disk, "local": disk}
    return tmp_path / "disk"
