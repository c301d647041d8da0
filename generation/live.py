"""Live status: one stream per page, fed by one pump per process of the web server.

The database is the truth, because those who write are other processes and perhaps on other
machines. So the pump looks into it every `LOOK_SECS`, once for everybody who watches: which
tasks have somebody's attention, and when did each last change? Only what changed is read; each
member is told of his own. While nobody watches there is neither a thread nor a query.

What a stream says is server-sent events without names. Each is a JSON object of the tasks that
changed, by id:

    mark    changes when the card has to be fetched again (generation/cards.py)
    state   waiting, running, saving, done, failed or cancelled
    text    the words of the state, in the language of the page
    since   from when its seconds count

The first one comes at once and holds the tasks the page named; where it named none, what is
under way. It may be empty: it also tells the page that nothing on the way holds it back. Of the
member's other tasks a page is told when they are new, end, or have to be fetched for another
reason: it may show them without having named them. Their words and places in line it is spared.
No event holds more than `MOST_AT_ONCE` tasks; the others come with the next ones.
"""

from __future__ import annotations

import atexit
import json
import logging
import random
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.models import DateTimeField
from django.db.models.base import ModelState
from django.http import HttpResponseBase
from django.utils import translation

from generation import line, polling, streams
from generation.cards import Card
from generation.keeper import Keeper, Kept
from generation.models import FluxTask, TaskImage

logger = logging.getLogger(__name__)

LOOK_SECS = 0.4
#: Where looking is much work, because very many tasks are under way, it rests longer between two
#: looks, up to so long, to keep to this part of a processor.
LONGEST_REST_SECS = 2.0
LOOK_SHARE = 0.1
#: Tasks before ours leave the line all the time; so often those who wait are told.
LINE_SECS = 2.0
#: A page that watches keeps the sweep going.
KICK_SECS = 2.0
#: Seconds to wait when the database does not answer.
DATABASE_SECS = 2.0
#: Proxies and browsers give up what is silent for long.
HEARTBEAT_SECS = 15.0
#: So often it is looked who has to hear one.
BEAT_SECS = 1.0
#: After this the browser comes back and is asked again who it is. Not all at the same time.
LIFE_SECS = (240.0, 300.0)
#: One member's pages and devices; what is more polls.
MAX_PER_MEMBER = 20
#: Tasks one page is told every word of, and those one event holds: a member may have thousands in
#: line, and what does not fit into the system's buffer ends a stream.
MOST_AT_ONCE = 60
READ_AT_A_TIME = 500
#: When a page that found no room may ask again.
FULL_RETRY_SECS = 30

#: A line for each task that somebody has to attend to: its key, its member, when it last changed,
#: as the database writes it. All in one text: rows would take three times as long. The index of
#: what is due holds all of it.
_LINES = "id || ' ' || user_id || ' ' || updated_at"
LOOK = {
    vendor: f"SELECT {lines} FROM flux_tasks WHERE next_action_at IS NOT NULL"  # noqa: S608
    for vendor, lines in {
        "sqlite": f"group_concat({_LINES}, char(10))",
        "postgresql": f"string_agg({_LINES}, chr(10))",
    }.items()
}
#: What the state of a card depends on. Prompts and parameters may be long.
_WANTED = {
    *("id", "user_id", "status", "submission", "origin", "error_code"),
    *("retry_count", "queue_position", "created_at", "submitted_at", "accepted_at"),
    *("cancel_requested_at", "recover_requested_at", "late_result_at"),
}
_FIELDS = [field for field in FluxTask._meta.concrete_fields if field.attname in _WANTED]
_NAMES = [field.attname for field in _FIELDS]
_ARE_TIMES = [isinstance(field, DateTimeField) for field in _FIELDS]
_COLUMNS = ", ".join(
    f"{name} || ''" if is_time else name for name, is_time in zip(_NAMES, _ARE_TIMES, strict=True)
)
READ = f"SELECT {_COLUMNS} FROM flux_tasks WHERE trashed_at IS NULL AND id IN ({{}})"  # noqa: S608


class Stream(Kept):
    """One page that watches. Everything but the making of it happens in the pump's thread."""

    def __init__(
        self,
        channel: socket.socket,
        *,
        user_id: int,
        language: str,
        task_ids: Sequence[str] = (),
    ) -> None:
        super().__init__(channel, user_id=user_id)
        self.language = language
        #: What the page named when it came.
        self.task_ids = tuple(task_ids[:MOST_AT_ONCE])
        #: The tasks it is told every word of: those it named, and what moved since.
        self.follows = set(self.task_ids)
        #: What it has to be told yet.
        self.untold: dict[str, Card] = {}
        now = time.monotonic()
        self.spoke_at = now
        self.ends_at = now + random.uniform(*LIFE_SECS)  # noqa: S311

    def send(self, content: bytes) -> bool:
        """Send a few bytes. False: the client is gone, or has not read for so long that the
        system's buffer is full."""
        self.spoke_at = time.monotonic()
        try:
            return self.channel.send(content) == len(content)
        except OSError:
            return False

    @property
    def is_closed(self) -> bool:
        return self.channel.fileno() < 0


@dataclass(kw_only=True)
class _Member:
    streams: set[Stream] = field(default_factory=set)
    #: The tasks of his that are followed.
    keys: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class _News:
    """The cards that changed, and which of them pages may have to fetch: those that are new, and
    those of another mark."""

    cards: dict[str, Card] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)


class Pump(Keeper[Stream]):
    """Holds the streams of this process and tells them what is new."""

    name = "live status"

    def __init__(self) -> None:
        super().__init__()
        self._was_full = False
        self._members: dict[int, _Member] = {}
        self._newcomers: list[Stream] = []
        #: Those who have not been told everything: one event does not hold it.
        self._behind: set[Stream] = set()
        self._followed: dict[str, Card] = {}
        #: Read at the next look: what pages asked for, and what is followed though nobody has
        #: to attend to it any more. Its pictures are being saved, which the task does not know.
        self._to_read: set[str] = set()
        #: What the last look found, and whom it did not know yet.
        self._open: set[str] = set()
        self._unknown: set[int] = set()
        self._look_at = self._line_at = self._kick_at = self._beat_at = 0.0
        self._is_blind = False

    # ------------------------------------------------------------ from any thread
    def has_room(self, *, user_id: int) -> bool:
        """Tell whether one more stream can be held for a member."""
        most = streams.room(wanted=settings.LIVE_STREAMS)
        with self._lock:
            is_full = self.count >= most
            if is_full and not self._was_full:
                logger.warning("live status: %s pages are told what changes, others ask", most)
            self._was_full = is_full
            return not is_full and self._held.get(user_id, 0) < MAX_PER_MEMBER

    # ------------------------------------------------------------ one thread
    def _all(self) -> Collection[Stream]:
        return [stream for member in self._members.values() for stream in member.streams]

    def _rest(self) -> None:
        while (seconds := self._look_at - time.monotonic()) > 0:
            self.listen(seconds=seconds)

    def listen(self, *, seconds: float) -> None:
        """Notice who leaves, for so long."""
        assert self._selector is not None  # noqa: S101 - made by the turn before
        for key, _events in self._selector.select(seconds):
            if key.data.is_gone():
                self._drop(key.data)

    def turn(self) -> None:
        """Take in who came, look once, tell what is new."""
        now, worked = time.monotonic(), time.thread_time()
        self._take_in()
        try:
            news = self._look(now)
        except Error as error:
            if not self._is_blind:
                logger.warning("live status: the database does not answer: %s", error)
            self._is_blind = True
            self._look_at = now + DATABASE_SECS
            connection.close()
        else:
            self._is_blind = False
            self._tell(news)
            # Of its own time: a machine that has none for us is no reason to be late again.
            worked = time.thread_time() - worked
            rest = min(worked / LOOK_SHARE, LONGEST_REST_SECS)
            self._look_at = now + max(LOOK_SECS, rest)
        if now >= self._beat_at:
            self._beat_at = now + BEAT_SECS
            self._end_or_beat(now)

    def _receive(self, stream: Stream) -> None:
        if stream.user_id not in self._members:
            self._members[stream.user_id] = _Member()
            self._unknown.add(stream.user_id)
        self._members[stream.user_id].streams.add(stream)
        self._newcomers.append(stream)
        self._to_read.update(stream.task_ids)

    def _drop(self, stream: Stream) -> None:
        self._let_go(stream)
        self._behind.discard(stream)
        member = self._members[stream.user_id]
        member.streams.discard(stream)
        if not member.streams:
            del self._members[stream.user_id]
            for key in member.keys:
                del self._followed[key]

    def _end_or_beat(self, now: float) -> None:
        for stream in self._all():
            is_silent = now - stream.spoke_at >= HEARTBEAT_SECS
            if now >= stream.ends_at or (is_silent and not stream.send(b":\n\n")):
                self._drop(stream)

    # ------------------------------------------------------------ looking
    def _look(self, now: float) -> _News:
        """Return what changed. One query; if anything did two more, and one for the line."""
        if not self._members:
            return _News()
        # Most are as they were, and sets find the others several times faster than we could.
        found = _open_tasks()
        came, went = found - self._open, self._open - found
        stale = {key for key, user_id in map(_key_and_member, came) if user_id in self._members}
        if self._unknown:
            everybody = map(_key_and_member, found)
            stale.update(key for key, user_id in everybody if user_id in self._unknown)
        ended = {_key_and_member(line)[0] for line in went}
        ended -= {_key_and_member(line)[0] for line in came}
        ended &= self._followed.keys()
        stale |= ended | self._to_read
        news = self._read(stale) if stale else _News()
        self._open = found
        self._unknown.clear()
        self._to_read = (self._to_read | ended) & self._followed.keys()
        if self._to_read:
            self._to_read.difference_update(_key_and_member(line)[0] for line in found)
        news.cards |= self._place(now, news.cards)
        if now >= self._kick_at and self._followed:
            # A page that watches keeps the sweep going.
            self._kick_at = now + KICK_SECS
            polling.kick()
        return news

    def _read(self, keys: Iterable[str]) -> _News:
        news = _News()
        found = _cards(sorted(keys))
        for key in keys:
            known = self._followed.get(key)
            card = found.get(key)
            if card is None or card.task.user_id not in self._members:
                # Gone, or not of anybody who watches: pages may ask for what they like.
                self._forget(key)
                continue
            if known is not None and _waits_here(card):
                card = replace(card, position=known.position)
            if known is None or _looks(card) != _looks(known):
                news.cards[key] = card
            if known is None or card.mark != known.mark:
                news.marked.add(key)
            if card.is_live:
                self._followed[key] = card
                self._members[card.task.user_id].keys.add(key)
            else:
                self._forget(key)
        return news

    def _forget(self, key: str) -> None:
        if known := self._followed.pop(key, None):
            self._members[known.task.user_id].keys.discard(key)

    def _place(self, now: float, changed: Mapping[str, Card]) -> dict[str, Card]:
        """Return the cards whose place in our line is new: of those who came at once, of the
        others now and then."""
        everybody = now >= self._line_at
        keys = [
            key
            for key in (self._followed if everybody else changed.keys() & self._followed.keys())
            if _waits_here(card := self._followed[key]) and (everybody or card.position is None)
        ]
        if everybody:
            self._line_at = now + LINE_SECS
        moved: dict[str, Card] = {}
        places = line.all_places() if keys else {}
        for key in keys:
            card = self._followed[key]
            if places.get(key) != card.position:
                self._followed[key] = moved[key] = replace(card, position=places.get(key))
        return moved

    # ------------------------------------------------------------ telling
    def _tell(self, news: _News) -> None:
        cards: dict[int, dict[str, Card]] = {}
        for key, card in news.cards.items():
            cards.setdefault(card.task.user_id, {})[key] = card
        newcomers = {each for each in self._newcomers if not each.is_closed}
        self._newcomers = []
        for user_id, changed in cards.items():
            marked = changed.keys() & news.marked
            for stream in self._members[user_id].streams - newcomers:
                self._note(stream, changed, marked)
        for stream in newcomers:
            self._welcome(stream, cards.get(stream.user_id, {}))
        hearers: dict[str, list[Stream]] = {}
        for stream in self._behind | newcomers:
            hearers.setdefault(stream.language, []).append(stream)
        for language, listening in hearers.items():
            # Switching it for each would take longer than its words.
            with translation.override(language):
                words: dict[str, str] = {}
                for stream in listening:
                    if not stream.send(event(_next_of(stream), words=words)):
                        self._drop(stream)
                    elif not stream.untold:
                        self._behind.discard(stream)

    def _note(self, stream: Stream, changed: Mapping[str, Card], marked: Set[str]) -> None:
        """Note what a page has to be told of its member's cards that changed."""
        for key in marked - stream.follows:
            if len(stream.follows) >= MOST_AT_ONCE:
                break
            if changed[key].is_live:
                stream.follows.add(key)
        told = (changed.keys() & stream.follows) | marked
        if told:
            stream.untold.update({key: changed[key] for key in told})
            self._behind.add(stream)

    def _welcome(self, stream: Stream, changed: Mapping[str, Card]) -> None:
        """Note how the cards stand that a page named when it came."""
        keys = self._members[stream.user_id].keys
        if not stream.follows:
            stream.follows.update(islice(keys, MOST_AT_ONCE))
        stream.untold = {key: self._followed[key] for key in stream.follows & keys}
        # What has ended is not followed any more.
        stream.untold |= {key: changed[key] for key in stream.follows & changed.keys()}
        self._behind.add(stream)


def _next_of(stream: Stream) -> dict[str, Card]:
    """Take from what a page has to be told what one event holds, what it follows first."""
    keys = sorted(stream.untold, key=lambda key: key not in stream.follows)[:MOST_AT_ONCE]
    told = {key: stream.untold.pop(key) for key in keys}
    # What has ended makes room for what comes.
    stream.follows.difference_update(key for key, card in told.items() if not card.is_live)
    return told


_encode = json.JSONEncoder(separators=(",", ":")).encode


def event(shown: Mapping[str, Card], *, words: dict[str, str]) -> bytes:
    """Return the event that tells how cards look now, in the language that is active. What is
    said of each is kept in `words` for the next page."""
    for key in shown.keys() - words.keys():
        card = shown[key]
        content = {
            "mark": card.mark,
            "state": card.state,
            "text": card.status_text,
            "since": card.since.isoformat(),
        }
        words[key] = f"{_encode(key)}:{_encode(content)}"
    return f"data: {{{','.join(words[key] for key in shown)}}}\n\n".encode()


def _looks(card: Card) -> tuple[Any, ...]:
    """Return what a page can see of a card, whatever its language."""
    task = card.task
    words = (task.submission, task.retry_count, task.queue_position, card.position)
    return card.mark, card.since, words


def _waits_here(card: Card) -> bool:
    task = card.task
    unsent = FluxTask.Submission.UNSENT
    return task.status == FluxTask.Status.PENDING and task.submission == unsent


def _open_tasks() -> set[str]:
    """Return the lines of `LOOK`. In SQL, and taken apart only where one is new: it is asked
    several times a second."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK[connection.vendor])
        (lines,) = cursor.fetchone()
    return set(lines.split("\n")) if lines else set()


def _key_and_member(line: str) -> tuple[str, int]:
    key, user_id, _stamp = line.split(" ", 2)
    return key, int(user_id)


def _cards(keys: Sequence[str]) -> dict[str, Card]:
    """Return the cards of tasks that are there, without their places in line."""
    found: dict[str, Card] = {}
    for start in range(0, len(keys), READ_AT_A_TIME):
        tasks = _tasks(keys[start : start + READ_AT_A_TIME])
        drawn = [task.pk for task in tasks if task.status == FluxTask.Status.SUCCESS]
        images: dict[str, list[TaskImage]] = {}
        if drawn:
            for image in TaskImage.objects.of_tasks(source=TaskImage.Source.FLUX, ids=drawn):
                images.setdefault(image.task_id, []).append(image)
        for task in tasks:
            found[task.pk] = Card(task=task, images=images.get(task.pk, ()), position=None)
    return found


def _tasks(keys: Sequence[str]) -> list[FluxTask]:
    """Return tasks with what a card's state needs. In SQL: building the query and turning its
    times into times takes the ORM five times as long as all the rest."""
    with connection.cursor() as cursor:
        cursor.execute(READ.format(", ".join(["%s"] * len(keys))), keys)
        rows = cursor.fetchall()
    return [_task(_values(row)) for row in rows]


def _task(values: Sequence[Any]) -> FluxTask:
    """Return a task of `_NAMES`, what `from_db` does, without a look at its fifty fields."""
    task = FluxTask.__new__(FluxTask)
    task.__dict__.update(zip(_NAMES, values, strict=True), _state=ModelState())
    return task


def _values(row: Sequence[Any]) -> list[Any]:
    return [
        _moment(value) if is_time and value is not None else value
        for value, is_time in zip(row, _ARE_TIMES, strict=True)
    ]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    # SQLite keeps UTC, and does not say so.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


#: The one of this process. Its thread starts with the first page that watches.
pump = Pump()
atexit.register(pump.stop)


def hand_over(
    channel: socket.socket,
    *,
    response: HttpResponseBase,
    user_id: int,
    language: str,
    task_ids: Sequence[str],
) -> Iterator[bytes]:
    """Give the connection of a request to the pump, as soon as the web server wants the first
    bytes of the answer: then all middleware has seen it. Yields nothing."""
    ours = streams.take_over(channel, response=response)
    pump.add(Stream(ours, user_id=user_id, language=language, task_ids=task_ids))
    yield from ()
