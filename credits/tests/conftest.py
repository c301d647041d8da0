"""Accounts that start empty unless a test says otherwise, and threads that race."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from credits import ledger


@pytest.fixture(autouse=True)
def _empty_start(settings):
    settings.CREDITS_ENABLED = True
    settings.CREDITS_STARTING_GRANT = 0
    settings.TIME_ZONE = "UTC"


@pytest.fixture
def rich(alice):
    """Alice, with 100 credits."""
    ledger.grant(user=alice, amount=100, reference="pay", reason="", actor="staff")
    return alice


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
