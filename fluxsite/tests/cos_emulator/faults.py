"""Everything that can go wrong, on demand.

A rule names a `kind` and which requests it wants: `method`, `path` (a regular expression
searched in the decoded path), `after` (leave the first n matches alone) and `times` (then
strike n times; None is always). Further keywords are parameters.

=============== ========================= ==================================================
kind            parameters (default)      what the caller sees
=============== ========================= ==================================================
status_NNN      code                      that status as COS answers it; nothing was done
redirect_NNN    to (another host)         that status and a Location; nothing was done
reset                                     connection reset; nothing was done
drop                                      all was read and done, then the connection is cut
delay           seconds (0.2)             all was done, the answer comes late
slow            seconds (0.05), bytes     the body comes in pieces of so many bytes with a
                (1024)                    pause between them
truncated                                 half of a body that was announced whole
corrupt                                   a body with one byte changed
lie                                       a PUT is answered as if done; nothing is stored
wrong_etag                                the answer carries another ETag
no_etag                                   the answer carries none
page                                      200 and a page of HTML, as of a hotel's network
=============== ========================= ==================================================
"""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

PARAMETERS = {
    "reset": (),
    "drop": (),
    "delay": ("seconds",),
    "slow": ("seconds", "bytes"),
    "truncated": (),
    "corrupt": (),
    "lie": (),
    "wrong_etag": (),
    "no_etag": (),
    "page": (),
    "status": ("code",),
    "redirect": ("to",),
}
_WITH_STATUS = re.compile(r"^(status|redirect)_([345]\d\d)$")


@dataclass
class Fault:
    """One rule. `matched` counts requests it wanted, `struck` those it spoiled."""

    kind: str
    method: str | None = None
    path: str | None = None
    times: int | None = None
    after: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    matched: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        if self.family not in PARAMETERS:
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(PARAMETERS)}")
        if strange := set(self.parameters) - set(PARAMETERS[self.family]):
            raise ValueError(f"{self.kind} has no parameter {', '.join(sorted(strange))}")

    @property
    def family(self) -> str:
        match = _WITH_STATUS.match(self.kind)
        return match[1] if match else self.kind

    @property
    def status(self) -> int:
        match = _WITH_STATUS.match(self.kind)
        return int(match[2]) if match else 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def strikes(self, method: str, path: str) -> bool:
        """Count the request; tell whether it is one to spoil."""
        if self.method not in (None, method) or not re.search(self.path or "", path):
            return False
        self.matched += 1
        if self.matched <= self.after or self.struck == self.times:
            return False
        self.struck += 1
        return True


class FaultBook:
    """The rules in force. Safe to use from every request thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(self, rule: Fault) -> Fault:
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[Fault]:
        with self._lock:
            return list(self._rules)

    def strike(self, method: str, path: str) -> Fault | None:
        with self._lock:
            return next((rule for rule in self._rules if rule.strikes(method, path)), None)
