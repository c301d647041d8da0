"""Members of a site who ask for many pictures, and see when they have them.

`python -m benchmarks._members N`, with the environment of a running site, gives the members
credits and has one picture drawn, so that everything is warm. It says `ready`; a line on
standard input has it create N tasks, `created`; another one announces them to the workers. In
the end it prints each task by prompt: its status, when it was completed, when that could be
seen in the database (looked at every `LOOK_SECS`), and the error code.
"""

# ruff: noqa: E402 - Django's models need Django set up.
from __future__ import annotations

import itertools
import json
import os
import sys
import time
from datetime import timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
django.setup()

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from benchmarks._fal_queue import WARM_UP
from credits import ledger
from generation import catalogue, lifecycle, polling
from generation.models import FluxConfig, FluxTask, SweepLease

MEMBERS = 50
BATCH = 100
LOOK_SECS = 0.1
PATIENCE_SECS = 900.0


def main() -> None:
    count = int(sys.argv[1])
    FluxConfig.objects.update(max_concurrent_tasks=max(count, 1))
    members = [make_member(number, credits=20 * count) for number in range(MEMBERS)]
    create(members[:1], [WARM_UP])
    polling.kick()
    watch(FluxTask.objects.all())
    while SweepLease.objects.filter(expires_at__gt=timezone.now()).exists():
        time.sleep(0.1)
    say("ready")
    create(members, [f"picture {number}" for number in range(count)])
    say("created")
    polling.kick()
    tasks = FluxTask.objects.exclude(prompt=WARM_UP)
    print(json.dumps(report(tasks, seen=watch(tasks))), flush=True)


def say(word: str) -> None:
    print(word, flush=True)
    sys.stdin.readline()


def make_member(number: int, *, credits: int) -> User:  # noqa: A002
    user = User.objects.create(username=f"member-{number}")
    ledger.grant(
        user=user, amount=credits, reference=f"bench:{number}", reason="benchmark", actor="bench"
    )
    return user


def create(members: list[User], prompts: list[str]) -> None:
    """Ask for a picture per prompt, the members in turn. No sweep is told of it."""
    model = "fal-ai/flux-1/schnell"
    asking = itertools.cycle(members)
    for start in range(0, len(prompts), BATCH):
        with transaction.atomic():
            for prompt in prompts[start : start + BATCH]:
                request = catalogue.check(model_id=model, prompt=prompt, images=0, parameters={})
                lifecycle.create(
                    user=next(asking), request=request, pictures=[], now=timezone.now()
                )


def watch(tasks: QuerySet[FluxTask]) -> dict[str, float]:
    """Wait until all have ended. Return when that was seen of each, by its key."""
    seen: dict[str, float] = {}
    end = time.monotonic() + PATIENCE_SECS
    count = tasks.count()
    while len(seen) < count and time.monotonic() < end:
        time.sleep(LOOK_SECS)
        recently = timezone.now() - timedelta(seconds=20)
        keys = list(tasks.filter(completed_at__gt=recently).values_list("pk", flat=True))
        now = time.time()
        for key in keys:
            seen.setdefault(key, now)
    return seen


def report(tasks: QuerySet[FluxTask], *, seen: dict[str, float]) -> dict[str, Any]:
    return {
        task.prompt: {
            "status": task.status,
            "completed_at": task.completed_at.timestamp() if task.completed_at else None,
            "seen_at": seen.get(task.pk),
            "error_code": task.error_code,
        }
        for task in tasks
    }


if __name__ == "__main__":
    main()
