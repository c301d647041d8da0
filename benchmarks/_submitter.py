"""Prepares a database for `submit`: a member with credits and a token, and a recording.

`python -m benchmarks._submitter STATEMENTS BODY`, with the environment of a site, makes them,
sends the body as a request to the real application, in this process, and writes what that
sent to the database into the file: the statements before its transaction, those inside it and
those after. The tasks are deleted again. The token is printed.
"""

from __future__ import annotations

import enum
import io
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

PATH = "/api/flux/text-to-image"
CREDITS = 1_000_000_000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
    import django

    django.setup()
    from django.contrib.auth.models import User

    from credits import ledger
    from fluxsite.models import ApiToken
    from generation import channel
    from generation.models import FluxTask

    statements, body = Path(sys.argv[1]), sys.argv[2]
    channel.apply_environment()
    member = User.objects.create_user("member")
    ledger.grant(user=member, amount=CREDITS, reference="bench", reason="", actor="")
    _token, secret = ApiToken.objects.issue(user=member, name="bench")
    send(secret, body)  # Calls a sweep, makes what is made once.
    statements.write_bytes(pickle.dumps(record(secret, body)))
    FluxTask.objects.all().delete()
    print(secret)


def record(secret: str, body: str) -> dict[str, Any]:
    """Return `task_id` and `statements`: three lists of SQL and its parameters."""
    from django.db import connection

    parts: tuple[list, list, list] = ([], [], [])

    def recorder(execute, sql, parameters, many, context):
        if connection.in_atomic_block:
            parts[1].append((sql, plain(parameters)))
        elif not sql.startswith("BEGIN"):
            parts[2 if parts[1] else 0].append((sql, plain(parameters)))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(recorder):
        task = send(secret, body)
    return {"task_id": task["id"], "statements": parts}


def plain(value: Any) -> Any:
    """Choices are no plain text, and their classes are not there where this is read."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value.value if isinstance(value, enum.Enum) else value


def send(secret: str, body: str) -> dict[str, Any]:
    from fluxsite.wsgi import application

    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": PATH,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body.encode())),
        "wsgi.input": io.BytesIO(body.encode()),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    status: list[str] = []
    answer = application(environ, lambda line, _headers: status.append(line))
    text = b"".join(answer)
    answer.close()
    if not status[0].startswith("202"):
        raise SystemExit(f"{status[0]}: {text.decode()}")
    return json.loads(text)


if __name__ == "__main__":
    main()
