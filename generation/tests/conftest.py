"""A site that draws with the sandbox, and workers that run inside the test."""

from __future__ import annotations

import pytest

from generation import polling
from generation.models import TaskImage


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
