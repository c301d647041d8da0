"""Any order of the verbs of a task's life, by workers that are late, doubled or dead.

A model in plain Python (`World`) says after every step what the tables must hold: each task's
state and each entry of the ledger. The machine keeps what its workers once read and uses it
again much later, writes down answers twice and out of order, lets a worker die between two
statements, and lets a second one act between two statements of the first.

The suite goes through a few lives, the same each time. Many more of them:

    MACHINE_SEEDS=200 .venv/bin/python -m pytest generation/tests/test_lifecycle_machine.py
"""

from __future__ import annotations

import copy
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import prefetch_related_objects
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from credits import audit, ledger
from credits.models import Price
from generation import catalogue, channel, lifecycle
from generation.models import FluxTask
from generation.providers.base import (
    Cancelled,
    OperatorNeeded,
    OutcomeUnknown,
    PictureLink,
    Progress,
    ProviderFailure,
    Refused,
    RequestNotFound,
    Result,
    Submitted,
    Throttled,
    Unavailable,
)

SCHNELL = "fal-ai/flux-1/schnell"
MEMBERS = ("alice", "bob")
START = 100
TIMEOUT = timedelta(seconds=300)
UNFINISHED = ("PENDING", "IN_QUEUE", "IN_PROGRESS")
FINAL = ("SUCCESS", "FAILED", "CANCELLED")


# ---------------------------------------------------------------- the model
@dataclass(kw_only=True)
class Row:
    """What the table must hold of a task, by the names of its columns."""

    num_images: int
    cost_reserved: int
    created_at: datetime
    status: str = "PENDING"
    submission: str = "UNSENT"
    request_id: str = ""
    error_code: str = ""
    cost_charged: int = 0
    retry_count: int = 0
    queue_position: int | None = None
    submitted_at: datetime | None = None
    accepted_at: datetime | None = None
    deadline_at: datetime | None = None
    missing_since: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancel_sent_at: datetime | None = None
    completed_at: datetime | None = None
    webhook_at: datetime | None = None
    late_result_at: datetime | None = None
    recover_requested_at: datetime | None = None

    def is_waiting(self) -> bool:
        return (self.status, self.submission) == ("PENDING", "UNSENT")

    def is_being_sent(self) -> bool:
        return (self.status, self.submission) == ("PENDING", "UNKNOWN")

    def is_running(self) -> bool:
        return self.status in UNFINISHED and self.submission == "ACCEPTED"

    def is_unfinished(self) -> bool:
        return self.status in UNFINISHED

    def is_recovering(self) -> bool:
        return self.recover_requested_at is not None

    def is_followed(self) -> bool:
        return self.is_running() or self.is_recovering()

    def may_be_late(self) -> bool:
        return self.submission == "ACCEPTED" and self.error_code in lifecycle.LATE_CODES

    def wants_cancel(self, now: datetime) -> bool:
        if self.recover_requested_at or self.cancel_sent_at:
            return False
        overdue = self.deadline_at is not None and now >= self.deadline_at
        return overdue or self.cancel_requested_at is not None


COLUMNS = tuple(column.name for column in fields(Row))


@dataclass(kw_only=True)
class World:
    """The verbs again, as simple as they can be when nobody else is about.

    `known` is what the worker had read of the task, which may be long out of date.
    """

    tasks: dict[str, Row] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    #: Until when the sender of a task is left alone.
    leases: dict[str, datetime] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    price: int = 5
    balance: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEMBERS, START))
    used: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEMBERS, 0))
    booked: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)

    # ------------------------------------------------------------ ledger
    def book(self, member, kind, reference, amount, charged=0):
        self.booked.setdefault(reference, []).append((kind, amount, charged))
        self.balance[member] += amount
        self.used[member] += charged

    def staff_book(self, member, kind, reference, amount):
        if self.balance[member] + amount < 0:
            return ("InsufficientCredits", -amount, self.balance[member])
        self.book(member, kind, reference, amount)
        return amount

    # ------------------------------------------------------------ create
    def create(self, member, *, pictures, key, body, now, answer):
        """`answer` is the id the task got, if it got one."""
        if key and (member, key) in self.keys:
            known, known_body = self.keys[member, key]
            return known if known_body == body else ("IdempotencyConflict",)
        cost = self.price * pictures
        if cost > self.balance[member]:
            return ("CannotPay", cost, self.balance[member])
        if answer in self.tasks:
            return "a new task"
        self.tasks[answer] = Row(num_images=pictures, cost_reserved=cost, created_at=now)
        self.owner[answer] = member
        if key:
            self.keys[member, key] = (answer, body)
        if cost:
            self.book(member, "RESERVE", f"flux:{answer}", -cost)
        return answer

    # ------------------------------------------------------------ submit
    def begin_submission(self, pk, *, now):
        row = self.tasks[pk]
        if not row.is_waiting():
            return False
        row.submission, row.submitted_at = "UNKNOWN", now
        self.leases[pk] = now + lifecycle.SUBMIT_LEASE
        return True

    def record_submission(self, pk, *, attempt, outcome, awaits_webhook, now):
        """`attempt` is when the worker claimed it: an answer to another attempt is no news."""
        row = self.tasks[pk]
        if not row.is_being_sent() or row.submitted_at != attempt:
            return
        if isinstance(outcome, Submitted):
            self._accept(row, outcome.request_id, now=now)
            row.queue_position = outcome.queue_position
        elif isinstance(outcome, Unavailable | OperatorNeeded):
            if row.cancel_requested_at:
                self._end(pk, "CANCELLED", "cancelled", now=now)
            else:
                row.submission, row.submitted_at = "UNSENT", None
                row.retry_count += 1
        elif isinstance(outcome, OutcomeUnknown) and awaits_webhook:
            self.leases[pk] = now + lifecycle.WEBHOOK_PATIENCE
        else:
            self._end(pk, "FAILED", outcome.code, now=now)

    def fail_submission(self, pk, *, attempt, now):
        row = self.tasks[pk]
        if not row.is_being_sent() or row.submitted_at != attempt:
            return False
        return self._end(pk, "FAILED", "submit_unknown", now=now)

    def fail_waiting(self, pk, *, now):
        waiting = self.tasks[pk].is_waiting()
        return waiting and self._end(pk, "FAILED", "provider_unavailable", now=now)

    def _accept(self, row, request_id, *, now):
        row.status, row.submission, row.request_id = "IN_QUEUE", "ACCEPTED", request_id
        row.accepted_at, row.deadline_at = now, now + TIMEOUT

    # ------------------------------------------------------------ look
    def record_look(self, pk, *, known, look, now):
        self.record_cancel_sent(pk, look=look, now=now)
        row, outcome = self.tasks[pk], look.outcome
        overdue = known.deadline_at is not None and now >= known.deadline_at
        if known.recover_requested_at:
            self._record_late_look(pk, known=known, outcome=outcome, now=now)
        elif isinstance(outcome, Result):
            self.deliver(pk, delivered=len(outcome.pictures), now=now)
        elif isinstance(outcome, Refused):
            self.fail(pk, code=outcome.code, now=now)
        elif isinstance(outcome, Cancelled) and row.cancel_requested_at:
            if row.is_unfinished():
                self._end(pk, "CANCELLED", "cancelled", now=now)
        elif isinstance(outcome, Cancelled) or overdue:
            self.fail(pk, code="timeout", now=now)
        elif isinstance(outcome, Progress):
            self._record_progress(row, known, outcome)
        elif isinstance(outcome, RequestNotFound):
            self._record_missing(pk, known, outcome, now=now)

    def record_cancel_sent(self, pk, *, look, now):
        if look.cancel_sent:
            self.tasks[pk].cancel_sent_at = self.tasks[pk].cancel_sent_at or now

    def _record_progress(self, row, known, progress):
        status = {"queued": "IN_QUEUE", "running": "IN_PROGRESS"}[progress.state]
        news = (status, progress.queue_position, None)
        if news != (known.status, known.queue_position, known.missing_since) and row.is_running():
            row.status, row.queue_position, row.missing_since = news

    def _record_missing(self, pk, known, failure, *, now):
        row = self.tasks[pk]
        if known.missing_since is None:
            if row.is_unfinished():
                row.missing_since = now
        elif now - known.missing_since >= lifecycle.MISSING_PATIENCE:
            self.fail(pk, code=failure.code, now=now)

    # ------------------------------------------------------------ ends
    def deliver(self, pk, *, delivered, now):
        row = self.tasks[pk]
        if not row.is_running():
            return False
        charged = self._succeed(pk, delivered, now=now)
        if row.cost_reserved:
            given_back = row.cost_reserved - charged
            self.book(self.owner[pk], "SETTLE", f"flux:{pk}", given_back, charged)
        return True

    def _succeed(self, pk, delivered, *, now):
        row = self.tasks[pk]
        charged = row.cost_reserved // row.num_images * min(delivered, row.num_images)
        row.status, row.error_code, row.cost_charged = "SUCCESS", "", charged
        row.queue_position, row.completed_at, row.recover_requested_at = None, now, None
        self.pictures[pk] = delivered
        return charged

    def fail(self, pk, *, code, now):
        return self.tasks[pk].is_unfinished() and self._end(pk, "FAILED", code, now=now)

    def _end(self, pk, status, code, *, now):
        row = self.tasks[pk]
        row.status, row.error_code = status, code
        row.queue_position, row.completed_at = None, now
        if row.cost_reserved:
            self.book(self.owner[pk], "RELEASE", f"flux:{pk}", row.cost_reserved)
        return True

    def cancel(self, pk, *, now):
        row = self.tasks[pk]
        if not row.is_unfinished():
            return False
        row.cancel_requested_at = now
        if row.is_waiting():
            self._end(pk, "CANCELLED", "cancelled", now=now)
        return True

    # ------------------------------------------------------------ calls and late results
    def hear_of(self, pk, *, request_id, now):
        row = self.tasks[pk]
        if row.webhook_at:
            return False
        is_known = row.submission == "ACCEPTED" and row.request_id == request_id
        was_given_up = row.status == "FAILED" and row.error_code in lifecycle.LATE_CODES
        if row.is_being_sent():
            self._accept(row, request_id, now=now)
        elif was_given_up and is_known:
            row.late_result_at = now
        elif was_given_up and row.submission == "UNKNOWN":
            row.submission, row.request_id = "ACCEPTED", request_id
            row.accepted_at = row.late_result_at = now
        elif not (is_known and row.is_running()):
            return False
        row.webhook_at = now
        return True

    def recover(self, pk, *, known, now):
        row = self.tasks[pk]
        is_recoverable = (
            known.status == "FAILED"
            and known.submission == "ACCEPTED"
            and known.error_code in lifecycle.LATE_CODES
            and known.recover_requested_at is None
            and now - known.accepted_at < lifecycle.RESULTS_KEPT
        )
        if not is_recoverable:
            return False
        balance = self.balance[self.owner[pk]]
        if balance < row.cost_reserved:
            return ("CannotPay", row.cost_reserved, balance)
        if (row.status, row.error_code) != ("FAILED", known.error_code):
            return False
        if row.recover_requested_at:
            return False
        row.recover_requested_at, row.missing_since = now, None
        return True

    def _record_late_look(self, pk, *, known, outcome, now):
        row, member = self.tasks[pk], self.owner[pk]
        if row.recover_requested_at is None:
            return
        if isinstance(outcome, Result):
            delivered = len(outcome.pictures)
            cost = row.cost_reserved // row.num_images * min(delivered, row.num_images)
            if cost > self.balance[member]:
                self._stop_recovering(row, known.error_code)
                return
            self._succeed(pk, delivered, now=now)
            if cost:
                self.book(member, "RESERVE", f"flux:{pk}:late", -cost)
                self.book(member, "SETTLE", f"flux:{pk}:late", 0, cost)
        elif isinstance(outcome, Cancelled):
            self._stop_recovering(row, "stopped")
        elif isinstance(outcome, Refused | RequestNotFound):
            self._stop_recovering(row, outcome.code)
        elif now - known.recover_requested_at >= lifecycle.RECOVER_PATIENCE:
            self._stop_recovering(row, known.error_code)

    def _stop_recovering(self, row, code):
        row.error_code = code
        row.recover_requested_at = row.late_result_at = None


# ---------------------------------------------------------------- the tables
# In SQL, because it is read after every step: a third of the time of the test otherwise.
ENTRIES = """
    SELECT username, reference, kind, amount, charged
    FROM credit_ledger JOIN flux_credits ON flux_credits.id = account_id
    JOIN auth_user ON auth_user.id = user_id ORDER BY credit_ledger.id
"""
ACCOUNTS = """
    SELECT username, credits_balance, total_used
    FROM flux_credits JOIN auth_user ON auth_user.id = user_id
"""
PICTURES_OF_TASKS = "SELECT task_id, count(*) FROM task_images GROUP BY task_id"


def rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@dataclass(kw_only=True)
class Tables:
    """What the tables do hold, read with four queries."""

    tasks: dict[str, Row]
    next_action_at: dict[str, datetime | None]
    pictures: dict[str, int]
    balance: dict[str, int]
    used: dict[str, int]
    booked: dict[str, list[tuple[str, int, int]]]
    sums: Counter[str]

    @classmethod
    def read(cls) -> Tables:
        tasks = FluxTask.objects.order_by().values("id", "next_action_at", *COLUMNS)
        next_action_at = {task["id"]: task.pop("next_action_at") for task in tasks}
        booked, sums = defaultdict(list), Counter(dict.fromkeys(MEMBERS, 0))
        for member, reference, *entry in rows(ENTRIES):
            booked[reference].append(tuple(entry))
            sums[member] += entry[1]
        accounts = rows(ACCOUNTS)
        return cls(
            tasks={task.pop("id"): Row(**task) for task in tasks},
            next_action_at=next_action_at,
            pictures=dict(rows(PICTURES_OF_TASKS)),
            balance={member: balance for member, balance, _used in accounts},
            used={member: used for member, _balance, used in accounts},
            booked=dict(booked),
            sums=sums,
        )

    @property
    def credits(self) -> tuple[Any, ...]:
        """Everything the audit looks at."""
        return self.balance, self.used, self.booked

    def differences(self, world: World) -> list[str]:
        """Return what is not as in the world, each with what it should be."""
        found = [
            f"{pk} is left to its sender until {self.next_action_at[pk]}, should be {until}"
            for pk, until in world.leases.items()
            if world.tasks[pk].is_being_sent() and self.next_action_at[pk] != until
        ]
        for table in ("tasks", "pictures", "balance", "used", "booked"):
            here, there = getattr(self, table), getattr(world, table)
            if here == there:
                continue
            for key in {**here, **there}:
                is_row, should = vars_of(here.get(key)), vars_of(there.get(key))
                found += [
                    f"{table} {key} {name}: {is_row.get(name)}, should be {should.get(name)}"
                    for name in {**is_row, **should}
                    if is_row.get(name) != should.get(name)
                ]
        return found


def vars_of(value: Any) -> dict[str, Any]:
    return vars(value) if isinstance(value, Row) else {"": value}


# ---------------------------------------------------------------- the outside world
@dataclass
class ScriptedProvider:
    """A vendor that answers what it is told to, and counts what it has taken.

    `next_answer` is raised or returned by the next call; `has_arrived` says of a lost answer
    whether the request was taken. The address of the call names the task.
    """

    taken: Counter[str] = field(default_factory=Counter)
    request_ids: dict[str, str] = field(default_factory=dict)
    next_answer: Any = None
    has_arrived: bool = True
    hears_cancel: bool = True

    def submit(self, *, endpoint, payload, webhook_url=""):
        answer = self.next_answer
        if isinstance(answer, Submitted) or (
            isinstance(answer, OutcomeUnknown) and self.has_arrived
        ):
            task_id = webhook_url.rpartition("/")[2]
            self.taken[task_id] += 1
            self.request_ids[task_id] = f"r{self.taken.total()}"
        if isinstance(answer, ProviderFailure):
            raise answer
        return replace(answer, request_id=self.request_ids[webhook_url.rpartition("/")[2]])

    def poll(self, *, endpoint, request_id):
        if isinstance(self.next_answer, Result | Refused | Cancelled):
            return Progress(state="completed")
        return self._answer()

    def look_each(self, requests):
        for place, _request in enumerate(requests):
            yield place, self.next_answer

    def result(self, *, endpoint, request_id):
        return self._answer()

    def cancel(self, *, endpoint, request_id):
        if not self.hears_cancel:
            raise Unavailable("provider_unavailable")

    def _answer(self):
        if isinstance(self.next_answer, ProviderFailure):
            raise self.next_answer
        return self.next_answer


def result(pictures: int) -> Result:
    return Result(
        pictures=tuple(PictureLink(url=f"https://v3.fal.media/{n}.png") for n in range(pictures))
    )


BUSY = Unavailable("provider_unavailable", "HTTP 503")
THROTTLED = Throttled("provider_unavailable", "HTTP 429", retry_after=40)
LOCKED = OperatorNeeded("account_locked", "HTTP 403")
POLICY = Refused("content_policy", "unsafe")
LOST = OutcomeUnknown("submit_unknown", "reset")
TAKEN = Submitted(request_id="", queue_position=3)

ANSWERS = st.sampled_from([TAKEN, TAKEN, TAKEN, BUSY, BUSY, THROTTLED, LOCKED, POLICY, LOST, LOST])
OUTCOMES = st.sampled_from(
    [
        *(result(pictures) for pictures in (1, 2, 3, 5)),
        *(Progress(state="queued", queue_position=position) for position in (3, 1)),
        Progress(state="running"),
        *(RequestNotFound("request_lost", "HTTP 404") for _likelier in range(2)),
        *(Cancelled("cancelled", "HTTP 499") for _likelier in range(2)),
        Refused("provider_error", "HTTP 422"),
        BUSY,
        THROTTLED,
        LOCKED,
    ]
)
WAITS = st.sampled_from(
    [
        timedelta(seconds=2),
        lifecycle.MISSING_PATIENCE,
        lifecycle.SUBMIT_LEASE,
        TIMEOUT,
        TIMEOUT,
        lifecycle.RECOVER_PATIENCE,
        lifecycle.WAIT_AT_MOST,
        lifecycle.RESULTS_KEPT,
    ]
)


# ---------------------------------------------------------------- what happens to workers
class Died(BaseException):
    """The process of a worker is gone. Nothing in the product can catch it."""


@contextmanager
def before_each(is_meant: Callable[[str], bool], call: Callable[[int], None]):
    """Call with 1, 2, … before the statements that are meant."""
    number = 0

    def execute_after_call(execute, sql, params, many, context):
        nonlocal number
        if is_meant(sql.lstrip()):
            number += 1
            call(number)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(execute_after_call):
        yield


def is_write(sql: str) -> bool:
    return sql.startswith(("INSERT", "UPDATE", "DELETE"))


def outside_of_transactions() -> Callable[[str], bool]:
    """Return what tells whether a statement is none of a transaction begun after now.

    What another connection commits before such a one is seen by the rest of the verb, on
    either database. Inside of a transaction the rows are locked, or it has not begun.
    """
    depth = len(connection.savepoint_ids)
    return lambda sql: (
        len(connection.savepoint_ids) == depth and not sql.startswith(("RELEASE", "ROLLBACK"))
    )


def count(is_meant: Callable[[str], bool], verb: Callable[[], Any]) -> int:
    """Return how many such statements the verb would execute now. Nothing remains of it."""
    numbers = [0]
    with transaction.atomic():
        with before_each(is_meant, numbers.append):
            verb()
        transaction.set_rollback(True)
    return numbers[-1]


@contextmanager
def without_database():
    def refuse(execute, sql, params, many, context):
        raise AssertionError(sql)

    with connection.execute_wrapper(refuse):
        yield


def answer_of(call: Callable[[], Any]) -> Any:
    """Return what a verb returns, or the refusal it raises, as the model writes it."""
    try:
        return call()
    except lifecycle.IdempotencyConflict:
        return ("IdempotencyConflict",)
    except lifecycle.CannotPay as error:
        params = error.problem.params
        return ("CannotPay", params["needed"], params["balance"])
    except ledger.InsufficientCredits as error:
        return ("InsufficientCredits", error.needed, error.balance)


@dataclass(kw_only=True)
class Copy:
    """A task as some worker once read it, and what the model said of it then."""

    task: FluxTask
    known: Row

    @property
    def pk(self) -> str:
        return self.task.pk


@dataclass(kw_only=True)
class Answer:
    """What `send` brought to a worker that had claimed the task at `attempt`."""

    task: FluxTask
    attempt: datetime
    outcome: Submitted | ProviderFailure


@dataclass(kw_only=True)
class Verb:
    """A call of the product, and the same in the model."""

    call: Callable[[], Any]
    should: Callable[[World, Any], Any]
    #: What a worker that died in the middle may have written down before, in a transaction of
    #: its own.
    first: Callable[[World], None] = lambda world: None
    then: Callable[[Any], None] = lambda answer: None


# ---------------------------------------------------------------- the machine
#: Strategies for the name and the arguments of something that may happen next.
MOVES: list[st.SearchStrategy[tuple[str, dict[str, Any]]]] = []


def move(*, weight: int = 1, **arguments: st.SearchStrategy[Any]):
    """Let a method of the machine be one of its moves, so often compared to the rest."""

    def register(method):
        drawn = st.tuples(st.just(method.__name__), st.fixed_dictionaries(arguments))
        MOVES.extend([drawn] * weight)
        return method

    return register


#: Which task, answer or look: 0 is the newest.
WHICH = st.integers(0, 7)
#: Whether a worker goes by what it read earlier.
KEPT = st.sampled_from([False, False, True])
AT_ONCE = st.sampled_from([True, True, False])
STATE = st.sampled_from([Row.is_waiting, Row.is_being_sent, Row.is_running])
MEMBER = st.sampled_from(MEMBERS)
PICTURES = st.integers(1, 4)


class LifecycleMachine(RuleBasedStateMachine):
    """One rule that draws its move: of many rules hypothesis switches off about half in each
    example, and a life in which nothing is ever sent, or looked at, tells little."""

    def __init__(self):
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.users = {user.username: user for user in User.objects.filter(username__in=MEMBERS)}
        self.world = World()
        for user in self.users.values():
            ledger.account_for(user=user)
            self.world.booked[f"start:{user.pk}"] = [("GRANT", START, 0)]
        self.provider = ScriptedProvider()
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.tasks: list[str] = []
        self.copies: list[Copy] = []
        self.answers: list[Answer] = []
        self.looks: list[tuple[Copy, lifecycle.Look]] = []
        self.bookings = 0
        self.dies_before: int | None = None
        self.interrupts_before: int | None = None
        self.held_back: Verb | None = None
        self.before: Tables | None = None
        self.is_checked = False

    def teardown(self):
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize(member=MEMBER, pictures=PICTURES)
    def first(self, member, pictures):
        self.a_member_asks_for_pictures(member, pictures, key="", is_taken=True)

    @rule(move=st.deferred(lambda: st.sampled_from(MOVES).flatmap(lambda move: move)))
    def next(self, move):
        name, arguments = move
        getattr(self, name)(**arguments)

    # ------------------------------------------------------------ how a verb happens
    def happens(self, verb: Verb) -> None:
        """Do it and compare: as a whole, cut off in the middle, or with another in between."""
        self.is_checked = False
        if self.interrupts_before is not None and self.held_back is None:
            self.held_back = verb
        elif self.held_back:
            self._both_happen(verb)
        elif self.dies_before is not None:
            self._dies(verb)
        else:
            self._happens_whole(verb)

    def _happens_whole(self, verb: Verb) -> None:
        answer = answer_of(verb.call)
        assert answer == verb.should(self.world, answer)
        verb.then(answer)

    def _dies(self, verb: Verb) -> None:
        """Let the worker die after its first write, if it makes more than one."""
        writes = count(is_write, lambda: answer_of(verb.call))
        if writes < 2:
            self._happens_whole(verb)
            return
        number, self.dies_before = 2 + self.dies_before % (writes - 1), None

        def die(write):
            if write == number:
                raise Died

        with pytest.raises(Died), before_each(is_write, die):
            verb.call()
        # Either all of a transaction or nothing.
        verb.first(self.world)

    def _both_happen(self, verb: Verb) -> None:
        """Let the verb held back happen in the middle of this one: the outcome must be that
        of one after the other, in either order."""
        other, self.held_back = self.held_back, None
        statements = count(outside_of_transactions(), lambda: answer_of(verb.call))
        number, self.interrupts_before = 1 + self.interrupts_before % max(statements, 1), None
        other_answers = []

        def interrupt(statement):
            if statement == number and not other_answers:
                other_answers.append(answer_of(other.call))

        with before_each(outside_of_transactions(), interrupt):
            answer = answer_of(verb.call)
        if not other_answers:
            other_answers.append(answer_of(other.call))
        one, two = (verb, answer), (other, other_answers[0])
        tables, tried = Tables.read(), []
        for order in ((one, two), (two, one)):
            world = copy.deepcopy(self.world)
            expected = [each.should(world, given) for each, given in order]
            found = [given for _each, given in order]
            differences = tables.differences(world)
            if found == expected and not differences:
                self.world = world
                break
            tried.append(f"{found}, should be {expected}; {differences}")
        else:
            raise AssertionError("no order of the two explains it", *tried)
        verb.then(answer)
        other.then(other_answers[0])

    def pick(self, which: int, kept: bool, wanted: Callable[[Row], bool]) -> Copy:
        """Return a task that somebody reads now, or read before; if possible one that is, or
        then was, what is `wanted`, and has changed since."""
        if kept and self.copies:
            then = [seen for seen in self.copies if wanted(seen.known)] or self.copies
            stale = [seen for seen in then if seen.known != self.world.tasks[seen.pk]] or then
            return stale[-1 - which % len(stale)]
        if not self._those(wanted):
            self._let_one_be(wanted, which)
        now = self._those(wanted) or self.tasks
        return self.read(now[-1 - which % len(now)])

    def _those(self, wanted: Callable[[Row], bool]) -> list[str]:
        return [pk for pk in self.tasks if wanted(self.world.tasks[pk])]

    def _let_one_be(self, wanted: Callable[[Row], bool], which: int) -> None:
        """Let a task get that far, lest too many moves find nothing to do."""
        if wanted in (Row.is_waiting, Row.is_being_sent):
            self.a_member_asks_for_pictures(MEMBERS[0], pictures=2, key="", is_taken=False)
        elif wanted in (Row.is_running, Row.is_followed):
            self.a_member_asks_for_pictures(MEMBERS[1], pictures=2, key="", is_taken=True)
        waiting = self._those(Row.is_waiting)
        if wanted == Row.is_being_sent and waiting:
            outcome = (BUSY, TAKEN, LOST)[which % 3]
            self._send(self.read(waiting[-1]), outcome, at_once=False)

    def read(self, pk: str) -> Copy:
        task = FluxTask.objects.get(pk=pk)
        self.copies.append(Copy(task=task, known=replace(self.world.tasks[pk])))
        return self.copies[-1]

    def tick(self) -> datetime:
        """Return a moment at which nothing else happens."""
        self.now += timedelta(milliseconds=1)
        return self.now

    # ------------------------------------------------------------ what is to come
    @move(weight=8, wait=WAITS)
    def time_passes(self, wait):
        self.now += wait

    @move(weight=6, before_write=WHICH)
    def the_next_worker_dies(self, before_write):
        self.dies_before = before_write

    @move(weight=8, before_statement=WHICH)
    def the_next_two_happen_at_once(self, before_statement):
        self.interrupts_before = before_statement

    # ------------------------------------------------------------ sending
    @move(
        weight=10,
        which=WHICH,
        kept=KEPT,
        outcome=ANSWERS,
        has_arrived=st.booleans(),
        at_once=AT_ONCE,
        awaits_webhook=st.booleans(),
    )
    def a_worker_sends(self, which, kept, outcome, has_arrived, at_once, awaits_webhook):
        seen = self.pick(which, kept, Row.is_waiting)
        self._send(seen, outcome, has_arrived, at_once=at_once, awaits_webhook=awaits_webhook)

    def _send(self, seen, outcome, has_arrived=True, *, at_once=True, awaits_webhook=False):
        now = self.tick()
        # What it claims is its own: the same copy may serve another attempt later.
        task = copy.copy(seen.task)
        prefetch_related_objects([task], "inputs")

        def send(claimed):
            if not claimed:
                return
            self.provider.next_answer, self.provider.has_arrived = outcome, has_arrived
            address = f"https://studio.example/called/{task.pk}"
            with without_database():
                brought = lifecycle.send(task=task, provider=self.provider, webhook_url=address)
            self.answers.append(Answer(task=task, attempt=now, outcome=brought))
            if at_once:
                self.happens(self._recording(self.answers[-1], awaits_webhook))

        self.happens(
            Verb(
                call=lambda: lifecycle.begin_submission(task=task, now=now),
                should=lambda world, _answer: world.begin_submission(seen.pk, now=now),
                then=send,
            )
        )

    @move(weight=7, which=WHICH, awaits_webhook=st.booleans())
    def an_answer_is_written_down_late_or_twice(self, which, awaits_webhook):
        rows = self.world.tasks
        being_sent = [each for each in self.answers if rows[each.task.pk].is_being_sent()]
        answers = being_sent or self.answers
        if answers:
            answer = answers[-1 - which % len(answers)]
            self.happens(self._recording(answer, awaits_webhook))

    def _recording(self, answer: Answer, awaits_webhook: bool) -> Verb:
        now = self.tick()
        return Verb(
            call=lambda: lifecycle.record_submission(
                task=answer.task,
                outcome=answer.outcome,
                timeout=TIMEOUT,
                awaits_webhook=awaits_webhook,
                now=now,
            ),
            should=lambda world, _answer: world.record_submission(
                answer.task.pk,
                attempt=answer.attempt,
                outcome=answer.outcome,
                awaits_webhook=awaits_webhook,
                now=now,
            ),
        )

    @move(weight=5, which=WHICH, state=STATE)
    def a_worker_reads(self, which, state):
        """And does something about it much later, if at all."""
        self.pick(which, kept=False, wanted=state)

    @move(weight=3, which=WHICH, kept=KEPT)
    def a_sender_is_found_dead(self, which, kept):
        seen = self.pick(which, kept, Row.is_being_sent)
        if seen.known.is_being_sent():
            self.happens(self._burying(seen))

    def _burying(self, seen: Copy) -> Verb:
        now = self.tick()
        return Verb(
            call=lambda: lifecycle.fail_submission(task=seen.task, code="submit_unknown", now=now),
            should=lambda world, _answer: world.fail_submission(
                seen.pk, attempt=seen.known.submitted_at, now=now
            ),
        )

    @move(which=WHICH, kept=KEPT)
    def a_task_has_waited_too_long(self, which, kept):
        seen = self.pick(which, kept, Row.is_waiting)
        self.now = max(self.now, seen.known.created_at + lifecycle.WAIT_AT_MOST)
        self.happens(self._giving_up_waiting(seen))

    def _giving_up_waiting(self, seen: Copy) -> Verb:
        now = self.tick()
        return Verb(
            call=lambda: lifecycle.fail_waiting(
                task=seen.task, code="provider_unavailable", now=now
            ),
            should=lambda world, _answer: world.fail_waiting(seen.pk, now=now),
        )

    # ------------------------------------------------------------ looking
    @move(
        weight=20,
        which=WHICH,
        kept=KEPT,
        state=st.sampled_from([Row.is_running, Row.is_recovering]),
        outcome=OUTCOMES,
        hears_cancel=st.booleans(),
        at_once=AT_ONCE,
    )
    def a_worker_looks(self, which, kept, state, outcome, hears_cancel, at_once):
        seen = self.pick(which, kept, state if self._those(state) else Row.is_followed)
        if seen.known.submission != "ACCEPTED":
            return
        look = self._look(seen, outcome, hears_cancel=hears_cancel)
        self.looks.append((seen, look))
        if at_once:
            self.happens(self._noting(seen, look))

    def _look(self, seen: Copy, outcome: Any, *, hears_cancel: bool) -> lifecycle.Look:
        self.provider.next_answer, self.provider.hears_cancel = outcome, hears_cancel
        now = self.tick()
        cancel = lifecycle.wants_cancel(task=seen.task, now=now)
        assert cancel == seen.known.wants_cancel(now)
        with without_database():
            if cancel:
                look = lifecycle.look(task=seen.task, provider=self.provider, cancel=True)
            else:
                [(_task, look)] = lifecycle.look_each(tasks=[seen.task], provider=self.provider)
        assert (look.outcome, look.cancel_sent) == (outcome, cancel and hears_cancel)
        return look

    @move(weight=8, which=WHICH)
    def a_look_is_written_down_late_or_twice(self, which):
        if self.looks:
            self.happens(self._noting(*self.looks[-1 - which % len(self.looks)]))

    @move(weight=8, number=st.integers(2, 6))
    def looks_are_written_down_together(self, number):
        looks = {seen.pk: (seen, look) for seen, look in self.looks[-number:]}
        now = self.tick()

        def call():
            pairs = [(seen.task, look) for seen, look in looks.values()]
            return {task.pk for task, _ in lifecycle.record_looks(looks=pairs, now=now)}

        def should(world, left):
            for seen, look in looks.values():
                if seen.pk not in left:
                    world.record_look(seen.pk, known=seen.known, look=look, now=now)
            return left

        if looks:
            self.happens(Verb(call=call, should=should))

    def _noting(self, seen: Copy, look: lifecycle.Look) -> Verb:
        now = self.tick()
        return Verb(
            call=lambda: lifecycle.record_look(task=seen.task, look=look, now=now),
            should=lambda world, _answer: world.record_look(
                seen.pk, known=seen.known, look=look, now=now
            ),
            first=lambda world: world.record_cancel_sent(seen.pk, look=look, now=now),
        )

    @move(weight=2, which=WHICH, kept=KEPT, pictures=st.integers(1, 5))
    def pictures_are_delivered(self, which, kept, pictures):
        now = self.tick()
        seen = self.pick(which, kept, Row.is_followed)
        if not seen.known.is_followed():
            # Nobody has pictures for a task that they read before the provider had it.
            seen = self.read(seen.pk)
        brought = result(pictures)
        for _time in range(2):
            self.happens(
                Verb(
                    call=lambda: lifecycle.deliver(task=seen.task, result=brought, now=now),
                    should=lambda world, _answer: world.deliver(
                        seen.pk, delivered=pictures, now=now
                    ),
                )
            )

    @move(weight=2, which=WHICH, kept=KEPT)
    def a_worker_cannot_go_on(self, which, kept):
        now = self.tick()
        seen = self.pick(which, kept, lambda row: row.is_unfinished() and not row.is_waiting())
        self.happens(
            Verb(
                call=lambda: lifecycle.fail(task=seen.task, code="internal", now=now),
                should=lambda world, _answer: world.fail(seen.pk, code="internal", now=now),
            )
        )

    # ------------------------------------------------------------ calls of the provider
    @move(weight=8, which=WHICH, about=st.sampled_from(["a new end", "any", "another request"]))
    def the_provider_calls(self, which, about):
        taken = list(self.provider.request_ids)
        if about == "a new end":
            taken = [pk for pk in taken if self.world.tasks[pk].webhook_at is None] or taken
        if not taken:
            return
        now = self.tick()
        pk = taken[-1 - which % len(taken)]
        request_id = "another" if about == "another request" else self.provider.request_ids[pk]
        self.happens(
            Verb(
                call=lambda: lifecycle.hear_of(task_id=pk, request_id=request_id, now=now),
                should=lambda world, _answer: world.hear_of(pk, request_id=request_id, now=now),
            )
        )

    # ------------------------------------------------------------ members and staff
    @move(
        weight=7,
        member=MEMBER,
        pictures=PICTURES,
        key=st.sampled_from(["", "", "k"]),
        is_taken=st.booleans(),
    )
    def a_member_asks_for_pictures(self, member, pictures, key, is_taken):
        """With `is_taken` the provider has it at once, as mostly in real life."""
        now = self.tick()
        request = catalogue.check(
            model_id=SCHNELL, prompt="一只猫", images=0, parameters={"num_images": pictures}
        )

        def call():
            return lifecycle.create(
                user=self.users[member],
                request=request,
                pictures=[],
                idempotency_key=key,
                body_hash=f"{pictures}",
                now=now,
            ).pk

        def should(world, answer):
            return world.create(
                member, pictures=pictures, key=key, body=f"{pictures}", now=now, answer=answer
            )

        def then(answer):
            self._note(answer)
            if is_taken and isinstance(answer, str):
                self._send(self.read(answer), TAKEN)

        self.happens(Verb(call=call, should=should, then=then))

    @move(weight=2, which=WHICH, kept=KEPT, key=st.sampled_from(["", "k", "again"]))
    def a_member_asks_for_the_same_again(self, which, kept, key):
        now = self.tick()
        old = self.pick(which, kept, lambda row: row.status in FINAL)

        def call():
            return lifecycle.retry(task=old.task, now=now, idempotency_key=key).pk

        def should(world, answer):
            return world.create(
                world.owner[old.pk],
                pictures=old.known.num_images,
                key=key,
                body=f"retry of {old.pk}",
                now=now,
                answer=answer,
            )

        self.happens(Verb(call=call, should=should, then=self._note))

    def _note(self, answer):
        if isinstance(answer, str) and answer not in self.tasks:
            self.tasks.append(answer)

    @move(weight=5, which=WHICH, kept=KEPT, state=STATE)
    def a_member_cancels(self, which, kept, state):
        now = self.tick()
        seen = self.pick(which, kept, state)
        self.happens(
            Verb(
                call=lambda: lifecycle.cancel(task=seen.task, now=now),
                should=lambda world, _answer: world.cancel(seen.pk, now=now),
            )
        )

    @move(weight=8, which=WHICH, kept=KEPT)
    def a_member_asks_for_the_late_result(self, which, kept):
        now = self.tick()
        seen = self.pick(which, kept, Row.may_be_late)
        self.happens(
            Verb(
                call=lambda: lifecycle.recover(task=seen.task, now=now),
                should=lambda world, _answer: world.recover(seen.pk, known=seen.known, now=now),
            )
        )

    @move(weight=4, member=MEMBER, amount=st.sampled_from([60, 20, 0, -7, -60, "all"]))
    def staff_book(self, member, amount):
        if amount == "all":
            amount = -self.world.balance[member]
        kind = "GRANT" if amount > 0 else "ADJUST"
        self.bookings += 1
        reference = f"staff:{self.bookings}"

        def call():
            verb = ledger.grant if amount > 0 else ledger.adjust
            return verb(
                user=self.users[member], amount=amount, reference=reference, reason="", actor=""
            ).amount

        self.happens(
            Verb(
                call=call,
                should=lambda world, _answer: world.staff_book(member, kind, reference, amount),
            )
        )

    @move(weight=2, price=st.sampled_from([5, 0, 1, 7, 20]))
    def staff_change_the_price(self, price):
        Price.objects.filter(key=SCHNELL).update(credits=price)
        self.world.price = price

    # ------------------------------------------------------------ the end of it all
    @move()
    def a_silent_day_ends_everything(self):
        """The provider says nothing for a day: one visit at each task ends it."""
        self.dies_before = None
        if self.held_back:
            other, self.held_back = self.held_back, None
            self.interrupts_before = None
            self.happens(other)
        self.interrupts_before = None
        self.now += lifecycle.WAIT_AT_MOST + TIMEOUT
        due = FluxTask.objects.filter(next_action_at__lte=self.now).values_list("pk", flat=True)
        for pk in list(due):
            seen = self.read(pk)
            if seen.known.is_waiting():
                self.happens(self._giving_up_waiting(seen))
            elif seen.known.is_being_sent():
                self.happens(self._burying(seen))
            else:
                self.happens(self._noting(seen, self._look(seen, BUSY, hears_cancel=True)))

        assert not FluxTask.objects.unfinished().exists()
        assert not FluxTask.objects.filter(next_action_at__isnull=False).exists()
        for user in self.users.values():
            assert ledger.reserved_now(user=user) == 0

    # ------------------------------------------------------------ invariants
    @invariant()
    def everything_is_as_it_must_be(self):
        if self.is_checked:
            return  # No verb was called since.
        self.is_checked = True
        tables = Tables.read()
        assert tables.differences(self.world) == []
        assert tables.balance == tables.sums
        assert min(tables.balance.values()) >= 0
        for pk, row in tables.tasks.items():
            self._check_credits(tables, pk, row)
            self._check_state(tables, pk, row)
        assert max(self.provider.taken.values(), default=0) <= 1
        if self.before is None or tables.credits != self.before.credits:
            assert audit.check() == []
        self.before = tables

    def _check_credits(self, tables: Tables, pk: str, row: Row) -> None:
        """One reservation, closed exactly once when the task has ended; the late one at once."""
        own = [kind for kind, _amount, _charged in tables.booked.get(f"flux:{pk}", [])]
        late = [kind for kind, _amount, _charged in tables.booked.get(f"flux:{pk}:late", [])]
        if row.cost_reserved == 0:
            assert own == []
        elif row.is_unfinished():
            assert own == ["RESERVE"]
        else:
            assert own in (["RESERVE", "SETTLE"], ["RESERVE", "RELEASE"])
        assert late in ([], ["RESERVE", "SETTLE"])
        charged = [
            charged
            for reference in (f"flux:{pk}", f"flux:{pk}:late")
            for _kind, _amount, charged in tables.booked.get(reference, [])
        ]
        assert row.cost_charged == sum(charged)

    def _check_state(self, tables: Tables, pk: str, row: Row) -> None:
        assert (row.status == "SUCCESS") == (tables.pictures.get(pk, 0) > 0)
        is_due = row.is_unfinished() or row.is_recovering()
        assert (tables.next_action_at[pk] is not None) == is_due
        before = self.before and self.before.tasks.get(pk)
        if before and before.status in FINAL:
            was_recovering = before.status == "FAILED" and before.is_recovering()
            assert row.status == before.status or (was_recovering and row.status == "SUCCESS")


@pytest.fixture
def _site(request, db):
    # By name: hypothesis has a `settings` of its own in this module.
    site = request.getfixturevalue("settings")
    site.CREDITS_ENABLED = True
    site.CREDITS_STARTING_GRANT = START
    site.SANDBOX_URL = "http://127.0.0.1:9"  # Never asked: the scripted provider answers.
    channel.load_config()
    Price.objects.update_or_create(key=SCHNELL, defaults={"credits": World().price})
    for name in MEMBERS:
        User.objects.create_user(name)


@pytest.mark.usefixtures("_site")
def test_any_order_of_verbs_leaves_what_a_simple_model_says():
    for number in range(int(os.environ.get("MACHINE_SEEDS", "4"))):
        run_state_machine_as_test(
            seed(number)(LifecycleMachine),
            settings=settings(
                max_examples=11,  # The first ten are drawn anew, later ones mostly resemble them.
                stateful_step_count=60,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
