"""Finding entries by the words of their prompts: what words are, and the index of them.

The index proposes, the prompt decides. An entry is written into the index once, when it
becomes one, as a set of tokens; a search asks the index for the newest entries with certain
tokens and shows those whose prompts, as they are now, really hold what was asked. So the
index may know too much: what was trashed, removed or changed needs no word here. What it
knows too little is made good by `fill`, every night and whenever the index is new.

    words: compared whole, in any case and width (NFKC), up to the first MAX_TOKENS of a prompt
    scripts without spaces, such as 中文: any piece of a run, down to one character
    "in quotes": these words, one after the other
    everything else (punctuation, symbols, operators of any kind) parts words and is ignored

The tables are made after every migrate, like the view and for the same reason, and hang on
no other table (docs/adr/0011).
"""

# ruff: noqa: S608 - the names of tables are ours, values are parameters
from __future__ import annotations

import logging
import re
import time
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.db import connections, router, transaction
from django.db.utils import DEFAULT_DB_ALIAS

from fluxsite import paging
from history.models import HistoryTask, ViewRow
from history.rows import Row, Rows

logger = logging.getLogger(__name__)

#: Raised when `tokens_of` or the tables change: the index is then made anew.
VERSION = 1
TABLE = "history_search"
STATE = "history_search_state"
#: Of a prompt; what follows is not found.
MAX_TOKENS = 2000
MAX_TOKEN_LENGTH = 40
#: Of what is searched for; what follows is ignored.
MAX_TEXT = 2000
MAX_CLAUSES = 50

#: Scripts that put no spaces between words: Han, kana, bopomofo, Hangul, Thai, Lao, Burmese and
#: Khmer, which NFKC has made the only forms of their characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W_{_UNSPACED}]"
_BETWEEN = rf"(?:[^\w{_UNSPACED}]|_)"
_is_unspaced = re.compile(f"[{_UNSPACED}]").match
_pieces = re.compile(f"[{_UNSPACED}]+|{_LETTER}+").findall
_quoted_or_not = re.compile('["“”]([^"“”]*)["“”]|([^"“”]+)').findall


# ---------------------------------------------------------------- words
def fold(text: str) -> str:
    """Return a text in the form in which texts are compared."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def tokens_of(prompt: str) -> list[str]:
    """Return the different tokens a prompt is found by: its words, and of scripts without
    spaces each character and each two neighbours."""
    found: dict[str, None] = {}
    for piece in _pieces(fold(prompt)):
        if _is_unspaced(piece):
            found.update(dict.fromkeys(piece))
        found.update(dict.fromkeys(_needed(piece)))
        if len(found) > MAX_TOKENS:
            break
    return list(found)[:MAX_TOKENS]


def _needed(piece: str) -> list[str]:
    """Return the tokens of a prompt in which this word or run of characters occurs."""
    if not _is_unspaced(piece):
        return [piece[:MAX_TOKEN_LENGTH]]
    return [piece[i : i + 2] for i in range(len(piece) - 1)] or [piece]


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched for. No `tokens`: there was nothing but punctuation, nothing is found."""

    tokens: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    def matches(self, prompt: str) -> bool:
        text = fold(prompt)
        return bool(self.tokens) and all(pattern.search(text) for pattern in self.patterns)


def parse(text: str) -> Query:
    """Read what a person typed. Anything may be in it, and nothing in it is an operator."""
    clauses: dict[tuple[str, ...], None] = {}
    for quoted, plain in _quoted_or_not(fold(text[:MAX_TEXT])):
        if quoted:
            clauses[tuple(_pieces(quoted))] = None
        else:
            clauses.update(((piece,), None) for piece in _pieces(plain))
    clauses.pop((), None)
    wanted = list(clauses)[:MAX_CLAUSES]
    tokens = dict.fromkeys(
        token for clause in wanted for piece in clause for token in _needed(piece)
    )
    return Query(
        tokens=tuple(tokens)[:MAX_CLAUSES],
        patterns=tuple(re.compile(_pattern(clause)) for clause in wanted),
    )


def _pattern(clause: Sequence[str]) -> str:
    """Return the expression that finds these pieces one after the other in a folded text."""
    expression = ""
    before = None
    for piece in clause:
        unspaced = bool(_is_unspaced(piece))
        if before is not None:
            expression += _BETWEEN + ("+" if unspaced == before else "*")
        whole = re.escape(piece)
        expression += whole if unspaced else f"(?<!{_LETTER}){whole}(?!{_LETTER})"
        before = unspaced
    return expression


# ---------------------------------------------------------------- places in time
# Documents are numbered in the order of time, whenever they come: milliseconds, then a number
# that tells apart those of one millisecond, not in any order.
_SLOT_BITS = 16
_SLOTS = 1 << _SLOT_BITS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
#: Some two thousand years around the epoch, within 63 bits.
_MOST_MILLISECONDS = (1 << 46) - 1


def _milliseconds(moment: datetime) -> int:
    number = (moment - _EPOCH) // _MILLISECOND
    return max(-_MOST_MILLISECONDS, min(_MOST_MILLISECONDS, number))


def _first_position(moment: datetime) -> int:
    return _milliseconds(moment) << _SLOT_BITS


@dataclass(frozen=True, kw_only=True)
class Document:
    """A task that has become an entry. `created_at` decides its place, late or not."""

    user_id: int
    source: str
    id: str
    model: str
    prompt: str
    created_at: datetime

    @property
    def position(self) -> int:
        """Return where it lies, or near by if another one does already."""
        slot = zlib.crc32(f"{self.source}:{self.id}".encode()) % _SLOTS
        return _first_position(self.created_at) + slot

    def tokens(self) -> list[str]:
        """Return its tokens. Each bears its member's mark: a search then costs what it finds
        of the member's own, however common a word is with others."""
        own = [_of_source(self.source), _of_model(self.model), *tokens_of(self.prompt)]
        return marked(self.user_id, own)


def marked(user_id: int, tokens: Iterable[str]) -> list[str]:
    """Return tokens with the mark of their member."""
    return [f"{user_id}_{token}" for token in tokens]


# No word has the underscore.
def _of_source(source: str) -> str:
    return f"s_{''.join(_pieces(fold(source)))}"


def _of_model(model: str) -> str:
    return f"m_{''.join(_pieces(fold(model)))}"


class Place(NamedTuple):
    """Which entry lies where in the index."""

    position: int
    source: str
    id: str


# ---------------------------------------------------------------- the two indexes
class SqliteIndex:
    """A table of places, and the tokens in a full-text table with the same row numbers, which
    keeps no texts and gives what it finds in the order of these numbers, from either end."""

    words = f"{TABLE}_words"
    create: tuple[str, ...] = (
        (
            f"CREATE TABLE IF NOT EXISTS {TABLE}"
            " (position INTEGER PRIMARY KEY, source TEXT NOT NULL, id TEXT NOT NULL)"
        ),
        # The plainest tokenizer: beyond ASCII all is kept as it is.
        (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {words} USING fts5"
            " (tokens, content='', columnsize=0, detail=none, tokenize=\"ascii tokenchars '_'\")"
        ),
    )
    drop: tuple[str, ...] = (f"DROP TABLE IF EXISTS {words}", f"DROP TABLE IF EXISTS {TABLE}")
    clear: tuple[str, ...] = (
        f"DELETE FROM {TABLE}",
        f"INSERT INTO {words} ({words}) VALUES ('delete-all')",
    )
    place = f"INSERT INTO {TABLE} (position, source, id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
    search = (
        f"SELECT place.position, place.source, place.id FROM {words}"
        f" CROSS JOIN {TABLE} AS place ON place.position = {words}.rowid"
        f" WHERE {words} MATCH %s AND {words}.rowid >= %s AND {words}.rowid < %s"
        f" ORDER BY {words}.rowid DESC LIMIT %s"
    )

    def insert(self, cursor: Any, document: Document, position: int) -> bool:
        cursor.execute(self.place, [position, document.source, document.id])
        placed: bool = cursor.rowcount == 1
        if placed:
            cursor.execute(
                f"INSERT INTO {self.words} (rowid, tokens) VALUES (%s, %s)",
                [position, " ".join(document.tokens())],
            )
        return placed

    def delete(self, cursor: Any, document: Document, position: int) -> None:
        # A table that keeps no texts has to be told what it had.
        cursor.execute(
            f"INSERT INTO {self.words} ({self.words}, rowid, tokens) VALUES ('delete', %s, %s)",
            [position, " ".join(document.tokens())],
        )
        cursor.execute(f"DELETE FROM {TABLE} WHERE position = %s", [position])

    def insert_many(self, cursor: Any, documents: Sequence[tuple[int, Document]]) -> None:
        cursor.executemany(self.place, [(at, d.source, d.id) for at, d in documents])
        cursor.executemany(
            f"INSERT INTO {self.words} (rowid, tokens) VALUES (%s, %s)",
            [(position, " ".join(document.tokens())) for position, document in documents],
        )

    def find(self, cursor: Any, tokens: list[str], *, low: int, high: int, most: int) -> list[Any]:
        # In double quotes a token is a text and nothing else.
        wanted = " ".join(f'"{token}"' for token in tokens)
        cursor.execute(self.search, [wanted, low, high, most])
        return list(cursor.fetchall())


class PostgresIndex:
    """A table of places with their tokens as numbers, in an inverted index (GIN).

    Such an index gives all there is of a token, in no order. So a token bears a mark of its
    time as well, some twelve days, and a search goes back through these until it has enough.
    """

    function = f"{TABLE}_find"
    #: Bits of a position within such a time, and of a token without its mark.
    SPAN_BITS = _SLOT_BITS + 30
    HASH_BITS = 50
    SPANS = 1 << 13
    # The planner knows nothing of these tokens, so it is left no choice: what is computed
    # cannot be read from the index of positions. Compiling would take it longer than all else.
    create: tuple[str, ...] = (
        (
            f"CREATE TABLE IF NOT EXISTS {TABLE} (position bigint PRIMARY KEY,"
            " tokens bigint[] NOT NULL, source text NOT NULL, id text NOT NULL)"
        ),
        # A list of what is not in the index yet would be read through for each span.
        (
            f"CREATE INDEX IF NOT EXISTS {TABLE}_tokens ON {TABLE}"
            " USING gin (tokens) WITH (fastupdate = off)"
        ),
        f"""
        CREATE OR REPLACE FUNCTION {function}
            (wanted bigint[], low bigint, high bigint, most integer)
            RETURNS TABLE (f_position bigint, f_source text, f_id text)
            LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off
        AS $$
            SELECT found.* FROM
                generate_series(
                    LEAST(high - 1, (SELECT max(position) FROM {TABLE})) >> {SPAN_BITS},
                    GREATEST(low, (SELECT min(position) FROM {TABLE})) >> {SPAN_BITS},
                    -1
                ) AS span,
                LATERAL (
                    SELECT position, source, id FROM {TABLE}
                    WHERE tokens @> (
                        SELECT array_agg(token + ((span & {SPANS - 1}) << {HASH_BITS}))
                        FROM unnest(wanted) AS token
                    )
                    AND position + 0 >= GREATEST(low, span << {SPAN_BITS})
                    AND position + 0 < LEAST(high, (span + 1) << {SPAN_BITS})
                    ORDER BY position + 0 DESC LIMIT most
                ) AS found
            LIMIT most
        $$
        """,
    )
    drop: tuple[str, ...] = (
        f"DROP FUNCTION IF EXISTS {function}",
        f"DROP TABLE IF EXISTS {TABLE}",
    )
    clear: tuple[str, ...] = (f"TRUNCATE {TABLE}",)
    place = (
        f"INSERT INTO {TABLE} (position, source, id, tokens) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING"
    )

    def insert(self, cursor: Any, document: Document, position: int) -> bool:
        cursor.execute(self.place, self._row(position, document))
        return bool(cursor.rowcount == 1)

    def delete(self, cursor: Any, document: Document, position: int) -> None:
        cursor.execute(f"DELETE FROM {TABLE} WHERE position = %s", [position])

    def insert_many(self, cursor: Any, documents: Sequence[tuple[int, Document]]) -> None:
        cursor.executemany(self.place, [self._row(at, document) for at, document in documents])

    def find(self, cursor: Any, tokens: list[str], *, low: int, high: int, most: int) -> list[Any]:
        wanted = [self.number(token) for token in tokens]
        cursor.execute(
            f"SELECT * FROM {self.function}(%s::bigint[], %s, %s, %s)",
            [wanted, low, high, most],
        )
        return list(cursor.fetchall())

    def _row(self, position: int, document: Document) -> tuple[Any, ...]:
        mark = self.mark(position)
        tokens = [mark + self.number(token) for token in document.tokens()]
        return position, document.source, document.id, tokens

    def mark(self, position: int) -> int:
        """Return what a position's time adds to the numbers of its tokens."""
        return (position >> self.SPAN_BITS) % self.SPANS << self.HASH_BITS

    def number(self, token: str) -> int:
        """Return a token as a number. Two that have the same are told apart by the prompt."""
        digest = blake2b(token.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> (64 - self.HASH_BITS)


_INDEXES: dict[str, SqliteIndex | PostgresIndex] = {
    "sqlite": SqliteIndex(),
    "postgresql": PostgresIndex(),
}


def index_of(using: str) -> SqliteIndex | PostgresIndex:
    return _INDEXES[connections[using].vendor]


# ---------------------------------------------------------------- writing
def add(document: Document, *, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Write a new entry into the index, in the caller's transaction: a statement or two.

    False: it was there already.
    """
    index = index_of(using)
    first = document.position
    with connections[using].cursor() as cursor:
        for position in _places_near(first):
            if index.insert(cursor, document, position):
                return True
            cursor.execute(f"SELECT source, id FROM {TABLE} WHERE position = %s", [position])
            if cursor.fetchone() == (document.source, document.id):
                return False
    logger.error("search: too many entries of one moment: %s:%s", document.source, document.id)
    return False


def _places_near(position: int) -> Iterator[int]:
    """Return all places of the same millisecond, that one first."""
    start = position >> _SLOT_BITS << _SLOT_BITS
    return (start + (position - start + step) % _SLOTS for step in range(_SLOTS))


def add_many(documents: Iterable[Document], *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Write entries into the index, in the caller's transaction; those it has are let be.

    Returns how many were new. Best some hundreds at a time.
    """
    # The full-text table takes them quickest in the order of time.
    wanted = sorted(((d.position, d) for d in documents), key=lambda pair: pair[0])
    known = _known_among([position for position, _document in wanted], using=using)
    free: dict[int, Document] = {}
    others: list[Document] = []
    for position, document in wanted:
        if position in known or position in free:
            others.append(document)
        else:
            free[position] = document
    with connections[using].cursor() as cursor:
        index_of(using).insert_many(cursor, list(free.items()))
    others = [d for d in others if known.get(d.position) != (d.source, d.id)]
    return len(free) + sum(add(document, using=using) for document in others)


def forget(document: Document, *, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Take an entry out of the index, in the caller's transaction: of what is removed for ever,
    no word stays. `document` is as it was added. False: it is not there."""
    first = document.position >> _SLOT_BITS << _SLOT_BITS
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT position FROM {TABLE}"
            " WHERE position >= %s AND position < %s AND source = %s AND id = %s",
            [first, first + _SLOTS, document.source, document.id],
        )
        row = cursor.fetchone()
        if row is None:
            return False
        index_of(using).delete(cursor, document, row[0])
    return True


def _known_among(positions: Sequence[int], *, using: str) -> dict[int, tuple[str, str]]:
    known: dict[int, tuple[str, str]] = {}
    with connections[using].cursor() as cursor:
        for start in range(0, len(positions), _BATCH):
            some = positions[start : start + _BATCH]
            holes = ", ".join(["%s"] * len(some))
            cursor.execute(
                f"SELECT position, source, id FROM {TABLE} WHERE position IN ({holes})",
                some,
            )
            known |= {position: (source, id_) for position, source, id_ in cursor.fetchall()}
    return known


# ---------------------------------------------------------------- searching
#: Asked of the index at a time: a few more than a page, for those that are in the trash.
_SPARE = 10
_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Where to search: the entries of a member, of a source, of a model ("": of any), from
    `since` on and before `until`."""

    user_id: int
    source: str = ""
    model: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def tokens(self, query: Query) -> list[str]:
        own = [_of_source(self.source)] if self.source else []
        own += [_of_model(self.model)] if self.model else []
        return marked(self.user_id, [*query.tokens, *own])


def paginate(entries: Rows, *, query: Query, scope: Scope, asked: paging.Asked) -> paging.Page[Row]:
    """Fetch the page of what is found, newest first, in two queries and seldom more.

    `entries` are those that may be shown, of all members and times: they are asked for by
    their ids, and any other condition would lead the database elsewhere.
    """
    wanted = paging.first_row(asked) + asked.limit + 1
    found = _newest(entries, query=query, scope=scope, cursor=asked.cursor, wanted=wanted)
    return paging.cut(found[paging.first_row(asked) :], asked=asked, id_field="source_id")


def _newest(
    entries: Rows, *, query: Query, scope: Scope, cursor: paging.Cursor | None, wanted: int
) -> list[Row]:
    using = entries.using
    tokens = scope.tokens(query)
    low = _first_position(scope.since) if scope.since else -(1 << 62)
    high = _first_position(scope.until) if scope.until else 1 << 62
    if cursor is not None:
        high = min(high, _first_position(cursor.created_at) + _SLOTS)
    found: list[Row] = []
    most = min(wanted + _SPARE, _BATCH)
    while query.tokens:
        with connections[using].cursor() as db:
            places = [
                Place(*row)
                for row in index_of(using).find(db, tokens, low=low, high=high, most=most)
            ]
        rows = _rows_at(places, entries)
        found += [
            row
            for row in rows
            if row.user_id == scope.user_id
            and (cursor is None or _place_in_list(row) < (cursor.created_at, cursor.id))
            and query.matches(row.prompt)
        ]
        if len(places) < most:
            break
        high = places[-1].position
        # Of the last millisecond there may be more, which belong between those we have.
        settled = [row for row in found if _first_position(row.created_at) > high]
        if len(settled) >= wanted:
            found = settled
            break
        most = min(2 * most, _BATCH)
    return sorted(found, key=_place_in_list, reverse=True)[:wanted]


def _place_in_list(row: Row) -> tuple[datetime, str]:
    return row.created_at, row.source_id


def _rows_at(places: Sequence[Place], entries: Rows) -> list[Row]:
    keys = {(place.position >> _SLOT_BITS, place.source, place.id) for place in places}
    rows = entries.with_ids([place.id for place in places])
    # An entry whose time was changed has two places, the older one in vain.
    return [
        row for row in rows if (_milliseconds(row.created_at), row.source, row.source_id) in keys
    ]


def walk(entries: Rows, *, query: Query, asked: paging.Asked) -> paging.Page[Row]:
    """Fetch the same page by reading through the entries: for where these are few."""
    wanted = paging.first_row(asked) + asked.limit + 1
    found: list[Row] = []
    cursor = asked.cursor
    while query.tokens and len(found) < wanted:
        some = entries.page(paging.Asked(limit=_BATCH, cursor=cursor))
        found += [row for row in some.rows if query.matches(row.prompt)]
        if not some.next_cursor:
            break
        cursor = paging.Cursor.decode(some.next_cursor)
    return paging.cut(found[paging.first_row(asked) :], asked=asked, id_field="source_id")


# ---------------------------------------------------------------- filling
#: What `migrate`, and each job in the background, may spend on it, in seconds.
MIGRATE_SECONDS = 5.0
JOB_SECONDS = 100.0


@dataclass(frozen=True, kw_only=True)
class Filled:
    """How far the index is. `seen` and `added` count this time only."""

    seen: int
    added: int
    finished: bool


def fill(*, seconds: float = float("inf"), using: str = DEFAULT_DB_ALIAS) -> Filled:
    """Add what the index has not got, newest first, for some time.

    Goes on where it was when it was last cut off; having finished, it begins again.
    """
    end = time.monotonic() + seconds
    seen = added = 0
    place = _state(using)
    entries = HistoryTask.objects.using(using).finished()
    while True:
        cursor = paging.Cursor.decode(place) if place else None
        page = paging.paginate(
            entries, asked=paging.Asked(limit=_BATCH, cursor=cursor), id_field="source_id"
        )
        seen += len(page.rows)
        place = page.next_cursor
        is_over = not place or time.monotonic() > end
        missing = _missing([_document(row) for row in page.rows], using=using)
        # Most nights nothing is missing; then nobody's writing is held up.
        if missing or is_over:
            with transaction.atomic(using=using):
                added += add_many(missing, using=using)
                _set_state(place, finished=not place, using=using)
        if is_over:
            return Filled(seen=seen, added=added, finished=not place)


def _missing(documents: Sequence[Document], *, using: str) -> list[Document]:
    known = _known_among([document.position for document in documents], using=using)
    return [d for d in documents if known.get(d.position) != (d.source, d.id)]


def _document(row: ViewRow) -> Document:
    return Document(
        user_id=row.user_id,
        source=row.source,
        id=row.source_id,
        model=row.model,
        prompt=row.prompt,
        created_at=row.created_at,
    )


def is_complete(*, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Tell whether the index has been filled from one end to the other since it was made."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT finished FROM {STATE} WHERE version = %s", [VERSION])
        row = cursor.fetchone()
    return bool(row and row[0])


def in_background() -> None:
    """A job: fill for a while, and leave the rest to another one."""
    filled = fill(seconds=JOB_SECONDS)
    if filled.added:
        logger.info("search: added %d entries to the index", filled.added)
    if not filled.finished:
        _go_on_in_background()


def _go_on_in_background() -> None:
    from django_q.tasks import async_task  # wants the apps to be ready

    async_task("history.search.in_background")


def _state(using: str) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT place FROM {STATE}")
        return str(cursor.fetchone()[0])


def _set_state(place: str, *, finished: bool, using: str) -> None:
    # Once complete it stays so: afterwards only what was missed is looked for.
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"UPDATE {STATE} SET place = %s, finished = (finished OR %s)",
            [place, finished],
        )


# ---------------------------------------------------------------- after every migration
def after_migrate(*, using: str, apps: Apps = current_apps, **kwargs: Any) -> None:
    """Make the index if it is not there, or of another version; fill it, as far as that is
    quick. `flush` sends this signal too, and without a plan: it has emptied all tables."""
    if not router.allow_migrate(using, "history", model_name="historyentry"):
        return
    try:
        apps.get_model("history", "HistoryEntry")
    except LookupError:
        _run(index_of(using).drop, using=using)
        _run((f"DROP TABLE IF EXISTS {STATE}",), using=using)
        return
    make(using=using)
    if "plan" not in kwargs:
        clear(using=using)
    if is_complete(using=using) or HistoryTask._meta.db_table not in _views(using):
        return
    if not fill(seconds=MIGRATE_SECONDS, using=using).finished:
        logger.warning(
            "The index of the search is being made in the background; until it is done, not "
            "everything is found. `manage.py rebuild_search` makes it now."
        )
        _go_on_in_background()


def _views(using: str) -> list[str]:
    connection = connections[using]
    return connection.introspection.table_names(include_views=True)


def make(*, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the index, empty, unless it is there in this version."""
    index = index_of(using)
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {STATE}"
            " (version integer NOT NULL, place text NOT NULL, finished boolean NOT NULL)"
        )
        cursor.execute(f"SELECT version FROM {STATE}")
        if cursor.fetchone() == (VERSION,):
            return
        cursor.execute(f"DELETE FROM {STATE}")
        for statement in (*index.drop, *index.create):
            cursor.execute(statement)
        cursor.execute(
            f"INSERT INTO {STATE} (version, place, finished) VALUES (%s, '', %s)",
            [VERSION, False],
        )


def clear(*, using: str = DEFAULT_DB_ALIAS) -> None:
    """Forget everything, so that `fill` begins anew."""
    _run(index_of(using).clear, using=using)
    with connections[using].cursor() as cursor:
        cursor.execute(f"UPDATE {STATE} SET place = '', finished = %s", [False])


def _run(statements: Iterable[str], *, using: str) -> None:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
