"""Everything that can go wrong, on demand.

A rule names a ``kind`` and, optionally, which requests it wants: ``on`` (the stage: submit,
status, result, cancel, file), ``path`` (a regular expression searched in the path),
``prompt`` (a substring of the job's prompt), ``after`` (leave the first n matches alone)
and ``times`` (then strike n times; None is always). Further keywords are parameters.

Three families, told apart by when they strike.

*Answers* strike a request at any stage, or at the one named by ``on``:

==================== ============================= =========================================
kind                 parameters (default)          what the caller sees
==================== ============================= =========================================
status_NNN           body, headers, retry_after    that HTTP status instead of the real work;
                                                   401, 403, 404, 429, 500 carry the vendor's
                                                   words; 502 is nginx's HTML page; 503 is
                                                   fal's own with ``request_id`` (true), or
                                                   the bare one of a proxy with false
reset                                              connection reset, nothing done
drop_after_accept                                  work done (a submit is accepted), then the
                                                   connection is reset without an answer
delay                seconds (1)                   work done, the answer comes late
hold                                               work done, the answer waits for release
non_json                                           work done, 200 and text that is no JSON
wrong_shape          body ([])                     work done, 200 and JSON of another shape
redirect             to (/_sandbox/elsewhere),     a redirect
                     status (307)
==================== ============================= =========================================

*Jobs* are chosen when a job is accepted and stay with it:

==================== ============================= =========================================
never_completes      state (IN_PROGRESS)           stays in that state until cancelled
completed_with_error error, error_type, status     COMPLETED with an error member; the result
                     (500)                         answers ``status``
model_crash                                        COMPLETED without error; result 500
wrong_path                                         COMPLETED; result 404, path not found
content_policy       reason                        result 422 content_policy_violation
file_download_error                                result 422, the input could not be fetched
image_load_error                                   result 422, the input is no picture
nsfw_black                                         flags true, all pictures black
nsfw_first                                         the same for the first picture only
plain_black                                        all pictures black, none of them flagged:
                                                   they cost no painting
moved_files                                        the addresses of the first result answer
                                                   404; asked again, it names good ones
no_images                                          200 with an empty list of pictures
huge_seed                                          seed 17454220438242315174
missing_members                                    only what the schema requires: of a picture
                                                   its url; no queue position, logs, metrics
unknown_status       word (PAUSED), forever        that word instead of IN_QUEUE/IN_PROGRESS;
                     (false)                       with ``forever`` instead of COMPLETED too
foreign_host         host (example.invalid),       that host in the reply's addresses, in the
                     where (both|urls|images)      pictures' addresses, or in both
ignores_cancel                                     cancel answers 202, the job completes
late_cancel                                        cancel answers 400, ALREADY_COMPLETED
==================== ============================= =========================================

*Files* strike the download of a picture, as do answers ``on`` the stage file:

===================== ============================ =========================================
expired_file                                       404
truncated_download                                 Content-Length says more than is sent
drip_download         seconds (0.05), bytes (512)  so many bytes per pause
endless_drip          seconds (0.05), bytes (1)    so many bytes per pause, without a length and
                                                   without an end
html_instead_of_image                              200 and an HTML page
oversized_file        bytes (64 MiB), told (true)  200, that many bytes, no picture; without a
                                                   Content-Length unless ``told``
bomb_file             side (30000)                 a small PNG that unpacks to side x side
gzipped_file                                       the picture packed by gzip, though nobody
                                                   asked for it
gzip_bomb             bytes (256 MiB)              a small gzip that unpacks to so many bytes
===================== ============================ =========================================

For play by hand a prompt may carry the rule: ``a cat #fault:nsfw_black``. ``=value`` sets
the first parameter and ``@stage`` the stage: ``#fault:delay=3@status``,
``#fault:status_500@result``. Without a stage, an answer fault strikes the submit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

STAGES = ("submit", "status", "result", "cancel", "file")

_ANSWERS: dict[str, tuple[str, ...]] = {
    "status": ("retry_after", "body", "headers", "request_id"),
    "reset": (),
    "drop_after_accept": (),
    "delay": ("seconds",),
    "hold": (),
    "non_json": (),
    "wrong_shape": ("body",),
    "redirect": ("to", "status"),
}
_JOBS: dict[str, tuple[str, ...]] = {
    "never_completes": ("state",),
    "completed_with_error": ("error_type", "error", "status"),
    "model_crash": (),
    "wrong_path": (),
    "content_policy": ("reason",),
    "file_download_error": (),
    "image_load_error": (),
    "nsfw_black": (),
    "nsfw_first": (),
    "plain_black": (),
    "moved_files": (),
    "no_images": (),
    "huge_seed": (),
    "missing_members": (),
    "unknown_status": ("word", "forever"),
    "foreign_host": ("host", "where"),
    "ignores_cancel": (),
    "late_cancel": (),
}
_FILES: dict[str, tuple[str, ...]] = {
    "expired_file": (),
    "truncated_download": (),
    "drip_download": ("seconds", "bytes"),
    "endless_drip": ("seconds", "bytes"),
    "html_instead_of_image": (),
    "oversized_file": ("bytes", "told"),
    "bomb_file": ("side",),
    "gzipped_file": (),
    "gzip_bomb": ("bytes",),
}
_STATUS_KIND = re.compile(r"^status_[1-5]\d\d$")
_IN_PROMPT = re.compile(r"#fault:([a-z_]+(?:\d{3})?)(?:=([\w.:/-]+))?(?:@([a-z]+))?")


@dataclass
class FaultRule:
    """One rule. ``matched`` counts requests it wanted, ``struck`` those it spoiled."""

    kind: str
    on: str | None = None
    path: str | None = None
    prompt: str | None = None
    times: int | None = None
    after: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    matched: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        known = self.known_parameters()
        strange = set(self.parameters) - set(known)
        if strange:
            raise ValueError(f"{self.kind} has no parameter {', '.join(sorted(strange))}")
        if self.on is not None and self.on not in STAGES:
            raise ValueError(f"on must be one of {', '.join(STAGES)}, not {self.on}")
        if self.path is not None:
            re.compile(self.path)

    def known_parameters(self) -> tuple[str, ...]:
        for family in (_ANSWERS, _JOBS, _FILES):
            if self.family_key in family:
                return family[self.family_key]
        raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(kinds())}")

    @property
    def family_key(self) -> str:
        return "status" if _STATUS_KIND.match(self.kind) else self.kind

    @property
    def strikes_answers(self) -> bool:
        return self.family_key in _ANSWERS

    @property
    def strikes_jobs(self) -> bool:
        return self.kind in _JOBS

    @property
    def strikes_files(self) -> bool:
        return self.kind in _FILES

    def get(self, name: str, default: Any) -> Any:
        return self.parameters.get(name, default)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def wants(self, *, stage: str, path: str, prompt: str) -> bool:
        if self.strikes_answers and self.on is not None and self.on != stage:
            return False
        if self.strikes_files and stage != "file":
            return False
        if self.path is not None and not re.search(self.path, path):
            return False
        return self.prompt is None or self.prompt in prompt


def kinds() -> list[str]:
    """Return every kind by name; ``status_NNN`` stands for all statuses."""
    answers = ["status_NNN" if name == "status" else name for name in _ANSWERS]
    return [*answers, *_JOBS, *_FILES]


def from_prompt(prompt: str) -> list[FaultRule]:
    """Return the rules written in a prompt; a misspelt one is part of the prose."""
    rules = []
    for kind, value, stage in _IN_PROMPT.findall(prompt):
        try:
            rule = FaultRule(kind=kind, on=stage or None)
            if rule.strikes_answers and rule.on is None:
                rule.on = "submit"
            names = rule.known_parameters()
            if value and names:
                rule.parameters[names[0]] = _plain(value)
        except ValueError:
            continue
        rules.append(rule)
    return rules


def _plain(value: str) -> str | int | float:
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value


class FaultBook:
    """The rules in force. Safe to use from every request thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> FaultRule:
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[FaultRule]:
        with self._lock:
            return list(self._rules)

    def strike_answer(
        self, *, stage: str, path: str, prompt: str, of_job: Iterable[FaultRule] = ()
    ) -> FaultRule | None:
        """Return the first answer fault for this request and count it."""
        return self._first("strikes_answers", stage, path, prompt, of_job)

    def strike_file(
        self, *, path: str, prompt: str, of_job: Iterable[FaultRule] = ()
    ) -> FaultRule | None:
        """Return the first file fault for this download and count it."""
        return self._first("strikes_files", "file", path, prompt, of_job)

    def strike_job(self, *, path: str, prompt: str) -> list[FaultRule]:
        """Return every job fault a newly accepted job is to live with, and count them."""
        with self._lock:
            return [
                rule
                for rule in self._rules
                if rule.strikes_jobs and self._count(rule, "submit", path, prompt)
            ]

    def _first(
        self, family: str, stage: str, path: str, prompt: str, of_job: Iterable[FaultRule]
    ) -> FaultRule | None:
        with self._lock:
            for rule in [*of_job, *self._rules]:
                if getattr(rule, family) and self._count(rule, stage, path, prompt):
                    return rule
        return None

    @staticmethod
    def _count(rule: FaultRule, stage: str, path: str, prompt: str) -> bool:
        if not rule.wants(stage=stage, path=path, prompt=prompt):
            return False
        rule.matched += 1
        if rule.matched <= rule.after:
            return False
        if rule.times is not None and rule.struck >= rule.times:
            return False
        rule.struck += 1
        return True
