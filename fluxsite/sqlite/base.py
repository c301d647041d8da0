"""`ENGINE = "fluxsite.sqlite"`: writers pass a gate one after the other.

SQLite lets a writer who finds the database locked sleep and try again, longer each time: under
load some wait for seconds while others go first, and the lock lies idle in between. Here every
outermost `atomic` block waits at the gate before it begins, and so does a single statement that
writes; both leave it when they are committed, rolled back or cut off. A block that only reads
waits as well, as it does for SQLite's own lock when transactions begin IMMEDIATE.

The wait is limited by the option `timeout`, like SQLite's own, and ends in the same
OperationalError. Databases in memory have no gate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

from fluxsite.sqlite.gate import Gate, gate_of

#: What sqlite3 waits for a lock when the options say nothing, in seconds.
DEFAULT_TIMEOUT = 5.0

_writes = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE).match


class DatabaseWrapper(base.DatabaseWrapper):
    #: The gate while it is our turn.
    _turn: Gate | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute_wrappers.append(self._execute_in_turn)

    def __del__(self) -> None:
        # Of a thread that ended in the middle of a transaction.
        self._end_turn()

    # ------------------------------------------------------------ turns
    def _begin_turn(self) -> None:
        name = str(self.settings_dict["NAME"])
        if self._turn or self.is_in_memory_db() or name.startswith("file:"):
            return
        timeout = self.settings_dict["OPTIONS"].get("timeout", DEFAULT_TIMEOUT)
        try:
            gate = gate_of(name)
            gate.enter(timeout=timeout)
        except TimeoutError:
            raise OperationalError("database is locked") from None
        except OSError as error:
            raise OperationalError(f"unable to open the gate: {error}") from error
        self._turn = gate

    def _end_turn(self) -> None:
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.leave()

    @contextmanager
    def _ending_turn(self) -> Iterator[None]:
        """End our turn after this, unless the transaction is still open: a commit may fail and
        be followed by a rollback."""
        try:
            yield
        finally:
            if self.connection is None or not self.connection.in_transaction:
                self._end_turn()

    # ------------------------------------------------------------ transactions
    # Django's stubs leave out what a backend overrides.
    def _start_transaction_under_autocommit(self) -> None:
        self._begin_turn()
        with self._ending_turn():
            super()._start_transaction_under_autocommit()  # type: ignore[misc]

    def _commit(self) -> None:
        with self._ending_turn():
            super()._commit()  # type: ignore[misc]

    def _rollback(self) -> None:
        with self._ending_turn():
            super()._rollback()  # type: ignore[misc]

    def _set_autocommit(self, autocommit: bool) -> None:  # noqa: FBT001
        # Commits what is open, for example after a commit that a signal has interrupted.
        with self._ending_turn():
            super()._set_autocommit(autocommit)  # type: ignore[misc]

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    # ------------------------------------------------------------ single statements
    def _execute_in_turn(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,  # noqa: FBT001
        context: Any,
    ) -> Any:
        if self.in_atomic_block or not (self._turn or _writes(sql)):
            return execute(sql, params, many, context)
        self._begin_turn()
        # Unless somebody has begun a transaction by hand; then its COMMIT comes by here.
        with self._ending_turn():
            return execute(sql, params, many, context)
