"""The baseline of `submit`: a bare Django project whose one view runs the statements of a
submission raw, with the stock backend of its database and next to no middleware.

Which statements those are is not written down here. `_submitter.py` records what the
real request sends to the database, and this view sends the same, with new ids.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from benchmarks._stock import *  # noqa: F403
from generation.ids import new_id

INSTALLED_APPS: list[str] = []
# Without it answers have no length, and would be sent in chunks.
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = __name__
LOGGING: dict[str, object] = {}

# As _submitter.record returns it.
_recorded = pickle.loads(Path(os.environ["STATEMENTS"]).read_bytes())
OLD_ID = _recorded["task_id"]
STATEMENTS = _recorded["statements"]


def submit(request: HttpRequest) -> HttpResponse:
    task_id = new_id()
    before, inside, after = STATEMENTS
    with connection.cursor() as cursor:
        run(cursor, before, task_id)
        with transaction.atomic():
            run(cursor, inside, task_id)
        run(cursor, after, task_id)
    return JsonResponse({"id": task_id}, status=202)


def run(cursor, statements, task_id) -> None:
    for sql, parameters in statements:
        cursor.execute(sql, renamed(parameters, task_id))
        if cursor.description:
            cursor.fetchall()


def renamed(value, task_id):
    """Return the parameters with the new id in place of the recorded one."""
    if isinstance(value, dict):
        return {name: renamed(member, task_id) for name, member in value.items()}
    if isinstance(value, list):
        return [renamed(member, task_id) for member in value]
    return value.replace(OLD_ID, task_id) if isinstance(value, str) else value


urlpatterns = [
    path("api/flux/text-to-image", submit),
    path("healthz", lambda _request: HttpResponse("up")),
]
