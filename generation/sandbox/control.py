"""The sandbox's own calls under ``/_sandbox/``: faults, the log, held answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from generation.sandbox import answers, faults, schemas
from generation.sandbox.answers import Answer

if TYPE_CHECKING:
    from generation.sandbox.server import SandboxServer


class Control:
    def __init__(self, sandbox: SandboxServer) -> None:
        self._sandbox = sandbox

    def answer(self, method: str, path: str, raw_body: bytes) -> Answer:
        if path == "/":
            return answers.as_json(
                200, {"name": "fluxsite sandbox", "endpoints": sorted(schemas.endpoints())}
            )
        calls = {
            ("GET", "/_sandbox/faults"): self._list_faults,
            ("DELETE", "/_sandbox/faults"): self._clear_faults,
            ("GET", "/_sandbox/requests"): self._list_requests,
            ("DELETE", "/_sandbox/requests"): self._clear_requests,
            ("POST", "/_sandbox/release"): self._release,
        }
        path = path.rstrip("/")
        if (method, path) == ("POST", "/_sandbox/faults"):
            return self._add_fault(raw_body)
        if (method, path) in calls:
            return calls[method, path]()
        return answers.refusal(404, "Not Found")

    def _add_fault(self, raw_body: bytes) -> Answer:
        try:
            members: Any = json.loads(raw_body)
            rule = self._sandbox.add_fault(**members)
        except (ValueError, TypeError) as error:
            return answers.refusal(422, str(error))
        return answers.as_json(201, rule.as_json())

    def _list_faults(self) -> Answer:
        rules = [rule.as_json() for rule in self._sandbox.fault_book.rules()]
        return answers.as_json(200, {"faults": rules, "kinds": faults.kinds()})

    def _clear_faults(self) -> Answer:
        self._sandbox.clear_faults()
        return Answer(204)

    def _list_requests(self) -> Answer:
        entries = [entry.as_json() for entry in self._sandbox.requests]
        return answers.as_json(200, {"requests": entries})

    def _clear_requests(self) -> Answer:
        self._sandbox.log.clear()
        return Answer(204)

    def _release(self) -> Answer:
        self._sandbox.release()
        return Answer(204)
