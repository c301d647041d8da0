"""Members with a task each, and the changes of those tasks as the workers write them.

`python -m benchmarks._changes N`, with the environment of a site, makes N members with a session
and a task at the provider, and prints them as one line of JSON. Each line on standard input then,
`COUNT SECONDS`, has it write a change to each of the first COUNT tasks every `EVERY_SECS`, spread
evenly, for so long. It prints when each was committed: a list of [place of the member, time].
"""

# ruff: noqa: E402 - Django's models need Django set up.
from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
django.setup()

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from benchmarks._history_rows import make_session
from generation import lifecycle
from generation.models import FluxTask
from generation.providers.base import Progress

EVERY_SECS = 5.0
MODEL = "fal-ai/flux-1/schnell"


def main() -> None:
    with transaction.atomic():
        members = [make_member(number) for number in range(int(sys.argv[1]))]
    tasks = [task for task, _session in members]
    print(json.dumps([[task.pk, session] for task, session in members]), flush=True)
    for line in sys.stdin:
        count, seconds = line.split()
        print(json.dumps(write(tasks[: int(count)], seconds=float(seconds))), flush=True)


def make_member(number: int) -> tuple[FluxTask, str]:
    user = User.objects.create(username=f"watcher-{number}")
    now = timezone.now()
    task = FluxTask.objects.create(
        user=user,
        model=MODEL,
        endpoint=MODEL,
        task_type="text_to_image",
        prompt="a lighthouse at dusk, oil on canvas",
        aspect_ratio="16:9",
        status="IN_QUEUE",
        submission="ACCEPTED",
        request_id=f"request-{number}",
        submitted_at=now,
        accepted_at=now,
        deadline_at=now + timedelta(hours=1),
        next_action_at=now + timedelta(hours=1),
    )
    return task, make_session(user)


def write(tasks: list[FluxTask], *, seconds: float) -> list[tuple[int, float]]:
    begun = time.monotonic()
    commits = []
    for turn in range(int(len(tasks) * seconds / EVERY_SECS)):
        due = begun + turn * EVERY_SECS / len(tasks)
        if (ahead := due - time.monotonic()) > 0:
            time.sleep(ahead)
        place = turn % len(tasks)
        change(tasks[place])
        commits.append((place, time.time()))
    return commits


def change(task: FluxTask) -> None:
    """Begin to draw, or go back to the line: either changes more of the card than its words."""
    queued = task.status != "IN_QUEUE"
    progress = Progress(
        state="queued" if queued else "running", queue_position=1 if queued else None
    )
    lifecycle.record_look(task=task, look=lifecycle.Look(outcome=progress), now=timezone.now())
    task.status = "IN_QUEUE" if queued else "IN_PROGRESS"
    task.queue_position = progress.queue_position


if __name__ == "__main__":
    main()
