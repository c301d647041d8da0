"""The prompts a member wrote last, to take one up again: from the history, so that they follow
the account and not the browser."""

from __future__ import annotations

from typing import Any

from generation.models import FluxTask

#: So many of the latest tasks are gone through.
TASKS = 100
PROMPTS = 30
#: What the list may weigh: a few prompts of ten thousand characters are enough of those.
MOST_CHARACTERS = 40_000


def prompts(user: Any) -> list[str]:
    """Return the latest prompts, newest first, each once. One query."""
    latest = FluxTask.objects.for_user(user).values_list("prompt", flat=True)[:TASKS]
    found: list[str] = []
    weight = 0
    for prompt in dict.fromkeys(latest):
        weight += len(prompt)
        if not prompt:
            continue
        if len(found) == PROMPTS or weight > MOST_CHARACTERS:
            break
        found.append(prompt)
    return found
