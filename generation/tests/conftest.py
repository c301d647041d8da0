"""A site that draws with the sandbox, and workers that run inside the test."""

from __future__ import annotations

from contextlib import closing

import pytest
from django.db import connection
from django.test import Client

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


@pytest.fixture
def enter(browser, live_server):
    """Return a function that opens the site in a browser of its own, as a member or as nobody.

    Further keywords are Playwright's for contexts: viewport, has_touch, color_scheme, locale.
    The page has `complaints`: what its console says. They must be empty in the end.
    """
    pages = []

    def open_page(path="/", *, user=None, **options):
        context = browser.new_context(base_url=live_server.url, **options)
        if user is not None:
            visitor = Client()
            visitor.force_login(user)
            session = visitor.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
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
