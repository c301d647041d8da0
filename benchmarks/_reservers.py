"""Many threads that reserve credits of one member, as fast as they can.

`python -m benchmarks._reservers WAY PROCESS THREADS ATTEMPTS`, with the environment of a site,
says `ready`, waits for a line, and lets each thread try so often to reserve one credit: by the
`ledger`, or in the `plain` way one writes at first. Then it prints one line of JSON: `begun`
and `ended` as time.time(), how many were `granted` and `refused`, the `errors`, and each
attempt's `waits` in seconds.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

MEMBER = "racer"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
    import django

    django.setup()
    way, process, threads, attempts = sys.argv[1], *map(int, sys.argv[2:])
    print(json.dumps(race(way_of(way), process=process, threads=threads, attempts=attempts)))


def way_of(name: str) -> Callable[..., object]:
    from credits import ledger

    return ledger.reserve if name == "ledger" else reserve_plainly


def reserve_plainly(*, user: Any, amount: int, reference: str) -> None:
    """The same bookkeeping by the ORM, without budgets."""
    from django.db import transaction
    from django.db.models import F

    from credits.ledger import InsufficientCredits
    from credits.models import Account, LedgerEntry

    account = Account.objects.get(user=user)
    enough = Account.objects.filter(pk=account.pk, credits_balance__gte=amount)
    with transaction.atomic():
        LedgerEntry.objects.create(
            account=account, kind=LedgerEntry.Kind.RESERVE, amount=-amount, reference=reference
        )
        if not enough.update(credits_balance=F("credits_balance") - amount):
            raise InsufficientCredits(account.credits_balance, amount)


def race(
    reserve: Callable[..., object], *, process: int, threads: int, attempts: int
) -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.db import connection

    from credits.ledger import InsufficientCredits

    user = User.objects.get(username=MEMBER)
    connection.close()
    start = threading.Barrier(threads + 1)
    outcomes: list[tuple[str, float]] = []

    def run(thread: int) -> None:
        connection.ensure_connection()
        start.wait()
        for attempt in range(attempts):
            begun = time.perf_counter()
            try:
                reserve(user=user, amount=1, reference=f"{process}-{thread}-{attempt}")
                outcome = "granted"
            except InsufficientCredits:
                outcome = "refused"
            except Exception as error:  # noqa: BLE001 - counted
                outcome = repr(error)
            outcomes.append((outcome, time.perf_counter() - begun))
        connection.close()

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.time()
    start.wait()
    for thread in running:
        thread.join()
    kinds = [outcome for outcome, _secs in outcomes]
    return {
        "begun": begun,
        "ended": time.time(),
        "granted": kinds.count("granted"),
        "refused": kinds.count("refused"),
        "errors": [kind for kind in kinds if kind not in ("granted", "refused")],
        "waits": [secs for _outcome, secs in outcomes],
    }


if __name__ == "__main__":
    main()
