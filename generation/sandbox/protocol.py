"""The queue's verbs, without sockets: submit, status, result, cancel.

Paths after the submit carry owner and app only; the form with a sub-path, which looks
right and is the most common mistake of integrations, is refused with 405 as the vendor
refuses it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from generation.sandbox import answers, results, schemas
from generation.sandbox.answers import Answer
from generation.sandbox.faults import FaultBook, FaultRule, from_prompt
from generation.sandbox.files import FileStore
from generation.sandbox.jobs import COMPLETED, IN_QUEUE, Job, JobStore

_REQUEST = re.compile(
    r"^/(?P<owner>[\w.-]+)/(?P<alias>[\w.-]+)(?P<sub>(?:/[\w.-]+)*?)/requests/"
    r"(?P<id>[^/]+)(?P<verb>|/response|/status|/status/stream|/cancel)/?$"
)
_ENDPOINT = re.compile(r"^/[\w.-]+/[\w.-]+(?:/[\w.-]+)*/?$")
_STAGES = {"": "result", "/response": "result", "/cancel": "cancel"}
_METHODS = {"result": "GET", "status": "GET", "stream": "GET", "cancel": "PUT"}


@dataclass(frozen=True)
class Call:
    """A queue call read from a path. ``stage`` is submit, status, stream, result or cancel;
    ``misplaced`` marks the sub-path form of anything but a submit."""

    stage: str
    app: str
    endpoint_id: str = ""
    request_id: str = ""
    misplaced: bool = False

    @property
    def method(self) -> str:
        return _METHODS.get(self.stage, "POST")


def read_path(path: str) -> Call | None:
    """Return the call a path stands for, or None when it is no queue path."""
    match = _REQUEST.match(path)
    if match is not None:
        verb = match["verb"]
        stage = _STAGES.get(verb) or ("stream" if verb.endswith("stream") else "status")
        return Call(
            stage=stage,
            app=f"{match['owner']}/{match['alias']}",
            request_id=match["id"],
            misplaced=bool(match["sub"]),
        )
    if _ENDPOINT.match(path):
        endpoint_id = path.strip("/")
        return Call(stage="submit", app=schemas.app_of(endpoint_id), endpoint_id=endpoint_id)
    return None


class Queue:
    """Answers queue calls from the job store, with every fault a job was given."""

    def __init__(self, *, jobs: JobStore, files: FileStore, faults: FaultBook) -> None:
        self._jobs = jobs
        self._files = files
        self._faults = faults

    def submit(
        self, call: Call, *, path: str, raw_body: bytes, query: dict[str, str], base_url: str
    ) -> tuple[Answer, Job | None]:
        """Accept the request whatever its body says; only the app has to exist."""
        if call.app not in schemas.apps():
            return answers.refusal(404, f"Application '{call.app}' not found"), None
        deepest = query.get("fal_max_queue_length", "")
        if deepest.isdecimal() and self._jobs.waiting_count() > int(deepest):
            return answers.refusal(429, "Queue is longer than fal_max_queue_length"), None
        body = read_body(raw_body)
        prompt = prompt_of(body)
        faults = [*from_prompt(prompt), *self._faults.strike_job(path=path, prompt=prompt)]
        job = self._jobs.submit(
            endpoint_id=call.endpoint_id,
            body=body,
            prompt=prompt,
            faults=faults,
            base_url=base_url,
            webhook=query.get("fal_webhook"),
        )
        document: dict[str, Any] = {"request_id": job.request_id}
        if not job.fault("missing_members"):
            document |= {"status": IN_QUEUE, **self._addresses(job, base_url)}
            document["queue_position"] = self._jobs.position(job)
        if job.webhook:
            document["gateway_request_id"] = job.request_id
        return answers.as_json(200, document, x_fal_request_id=job.request_id), job

    def find(self, call: Call) -> Job | None:
        job = self._jobs.get(call.request_id)
        return job if job is not None and schemas.app_of(job.endpoint_id) == call.app else None

    def status(self, job: Job, *, with_logs: bool, base_url: str) -> Answer:
        document = self.status_document(job, with_logs=with_logs, base_url=base_url)
        status = 200 if job.status == COMPLETED else 202
        return answers.as_json(status, document, x_fal_request_id=job.request_id)

    def status_document(self, job: Job, *, with_logs: bool, base_url: str) -> dict[str, Any]:
        word = job.status
        document: dict[str, Any] = {"status": word, "request_id": job.request_id}
        document |= self._addresses(job, base_url)
        if word == IN_QUEUE:
            document["queue_position"] = self._jobs.position(job)
        document["logs"] = _logs(job) if with_logs and word != IN_QUEUE else None
        if word == COMPLETED:
            seconds = job.inference_seconds
            document["metrics"] = {} if seconds is None else {"inference_time": round(seconds, 3)}
            document |= _error_members(job)
        rule = job.fault("unknown_status")
        if rule is not None and (word != COMPLETED or rule.get("forever", False)):
            document["status"] = rule.get("word", "PAUSED")
        if job.fault("missing_members"):
            document = {
                name: value
                for name, value in document.items()
                if name in ("status", "error", "error_type")
            }
        return document

    def result(self, job: Job) -> Answer:
        if job.status != COMPLETED:
            answer = answers.refusal(400, "Request is still in progress")
        else:
            made = results.of(job, self._files)
            answer = Answer(made.status, made.body, dict(made.headers))
        answer.headers["x-fal-request-id"] = job.request_id
        return answer

    def cancel(self, job: Job) -> Answer:
        if job.fault("late_cancel"):
            return answers.as_json(400, {"status": "ALREADY_COMPLETED"})
        if job.fault("ignores_cancel") and job.status != COMPLETED:
            return answers.as_json(202, {"status": "CANCELLATION_REQUESTED"})
        if self._jobs.cancel(job):
            return answers.as_json(202, {"status": "CANCELLATION_REQUESTED"})
        return answers.as_json(400, {"status": "ALREADY_COMPLETED"})

    @staticmethod
    def _addresses(job: Job, base_url: str) -> dict[str, str]:
        rule = job.fault("foreign_host")
        if rule is not None and rule.get("where", "both") in ("both", "urls"):
            base_url = results.foreign(rule.get("host", "example.invalid"))
        address = f"{base_url}/{schemas.app_of(job.endpoint_id)}/requests/{job.request_id}"
        return {
            "response_url": address,
            "status_url": f"{address}/status",
            "cancel_url": f"{address}/cancel",
        }


def not_found(call: Call) -> Answer:
    """Return the answer for an id nobody knows; each verb has its own body."""
    if call.stage == "result":
        return answers.refusal(404, "Request not found")
    return answers.as_json(404, {"status": "NOT_FOUND"})


def wants_logs(query: dict[str, str]) -> bool:
    """Read ``logs``: the Python client says true or false, the JavaScript one 1 or 0."""
    return query.get("logs", "").lower() in ("1", "true")


def read_body(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return results.BrokenJson()


def prompt_of(body: Any) -> str:
    prompt = body.get("prompt") if isinstance(body, dict) else None
    return prompt if isinstance(prompt, str) else ""


def faults_in(prompt: str) -> list[FaultRule]:
    """Return the faults a submit asks for in its own prompt."""
    return from_prompt(prompt) if "#fault:" in prompt else []


def _error_members(job: Job) -> dict[str, str]:
    if job.cancelled:
        return {
            "error": "Request was cancelled by the client",
            "error_type": "client_cancelled",
        }
    rule = job.fault("completed_with_error")
    if rule is None:
        return {}
    return {
        "error": rule.get("error", "The runner failed to complete the request"),
        "error_type": rule.get("error_type", "internal_server_error"),
    }


def _logs(job: Job) -> list[dict[str, Any]]:
    """Return log lines; the vendor's timestamps carry no zone."""
    if job.started_at is None:
        return []
    lines = ["Mixing the colours", "Painting"]
    if job.status == COMPLETED:
        lines.append("Letting it dry")
    began = job.submitted_at_wall + job.started_at - job.submitted_at
    return [
        {
            "timestamp": datetime.fromtimestamp(began + index / 1000, UTC).strftime(
                "%Y-%m-%dT%H:%M:%S.%f"
            ),
            "message": line,
            "labels": {},
        }
        for index, line in enumerate(lines)
    ]
