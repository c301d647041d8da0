"""Fills the database of the environment with a history: `python -m benchmarks._history_rows N`;
without a number it tells how such a database is asked.

N tasks in three tables, of 1,000 members, one of whom made a twentieth of them; nine of ten are
finished, one of a hundred of these is a favourite or in the trash. Their rows do not lie in the
order of time. Prompts are of a pool, two of five in Chinese. Beside them the index of the
search, as `history.search` writes it, and the two baselines: `bare_history`, one table with the
same entries and every index that its pages want, and `spec_history`, the view of the
specification with our columns.

By SQL, because ten million objects take hours. What it tells is one line of JSON: the session of
that member, and the statements behind each page with their parameters, as the code sends them now.
"""

# ruff: noqa: E402 - Django's models need Django set up.
from __future__ import annotations

import json
import os
import random
import re
import sys
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
django.setup()

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import DEFAULT_DB_ALIAS, connection, models

from fluxsite.paging import Asked, Cursor
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage
from history import filters, search, view
from history.filters import Filters
from history.models import HistoryEntry

MEMBERS = 1000
HEAVY, STAFF = "member-0", "the-staff"
POOL = 20_000
#: Three years, in steps of 44 ms.
BEGIN = datetime(2023, 11, 26, tzinfo=UTC)
STEP_MS = 44
#: The table, its source, its share of ten and the expression of its model.
TABLES: list[tuple[type[models.Model], str, int, str]] = [
    (
        FluxTask,
        "flux",
        4,
        (
            "CASE WHEN {model} % 2000 = 0 THEN 'fal-ai/flux-kontext-lora'"
            " WHEN {model} % 3 = 0 THEN 'fal-ai/flux-1/dev' ELSE 'fal-ai/flux-1/schnell' END"
        ),
    ),
    (MidjourneyTask, "midjourney", 4, "'midjourney'"),
    (JimengTask, "jimeng", 2, "'jimeng-4.0'"),
]
RARE_MODEL = "fal-ai/flux-kontext-lora"
TEXTS = {
    "common": "light",
    "rare": "zebra",
    "none": "xylophone",
    "two_han": "宫殿",
    "several": "light fox river",
}
PAGE = 24
#: Pages that a single table with the right indexes could give as well.
BARE = ("first", "page_10000", "source", "favourite", "everybody")


def main() -> None:
    if len(sys.argv) > 1:
        fill(int(sys.argv[1]))
    else:
        print(json.dumps(described(), default=str))


def fill(count: int) -> None:
    prompts = make_prompts()
    if connection.vendor == "sqlite":
        execute(
            "PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -500000"
        )
    else:
        execute(
            "SET session_replication_role = replica",
            "SET maintenance_work_mem = '512MB'",
            "SET synchronous_commit = off",
        )
    heavy = make_members()
    execute("CREATE TEMPORARY TABLE prompts (number integer PRIMARY KEY, prompt text, tokens text)")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO prompts VALUES (%s, %s, %s)",
            [(n, p, " ".join(f"@{t}" for t in search.tokens_of(p))) for n, p in enumerate(prompts)],
        )
    execute(
        "CREATE TEMPORARY TABLE placed (position bigint, source text, id text, member integer,"
        " prompt integer, model text)"
    )
    for number, (model, source, share, name) in enumerate(TABLES):
        fill_table(model, source, count * share // 10, number=number, model_name=name)
    fill_index(prompts)
    make_pictures(heavy)
    make_baselines()
    execute("DROP TABLE prompts", "DROP TABLE placed")
    if connection.vendor == "postgresql":
        execute("VACUUM ANALYZE")


def described() -> dict[str, Any]:
    heavy, staff = (User.objects.get(username=name) for name in (HEAVY, STAFF))
    return {
        "session": make_session(heavy),
        "deep_cursor": deep_cursor(heavy).encode(),
        "pages": pages(heavy, staff),
        "bare": bare_pages(heavy, staff),
        "searches": {name: statements_of(heavy, Filters(text=t)) for name, t in TEXTS.items()},
    }


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


# ---------------------------------------------------------------- rows
def make_prompts() -> list[str]:
    chance = random.Random(1)
    syllables = ["ka", "lo", "mi", "ra", "te", "su", "no", "vi", "be", "do", "fa", "gu", "he"]
    words = list(
        {"".join(chance.choices(syllables, k=chance.choice([2, 3, 3]))): 0 for _ in range(2500)}
    )
    weights = [1 / (number + 5) for number in range(len(words))]
    han = [chr(0x4E00 + number) for number in range(1200)]
    han_weights = [1 / (number + 10) for number in range(len(han))]
    prompts = []
    for number in range(POOL):
        if number % 5 < 2:
            prompt = "，".join("".join(chance.choices(han, han_weights, k=6)) for _ in range(2))
            prompt += "宫殿" if number % 4 == 0 else ""
        else:
            prompt = " ".join(chance.choices(words, weights, k=chance.randint(4, 16)))
            prompt += (
                ", light" * (number % 2)
                + " fox" * (number % 7 == 0)
                + " river" * (number % 11 == 0)
            )
            prompt += " zebra" * (number % 2000 == 7)
        prompts.append(prompt)
    return prompts


def make_members() -> User:
    User.objects.bulk_create(User(username=f"member-{number}") for number in range(MEMBERS))
    User.objects.create(username=STAFF, is_staff=True, is_superuser=True)
    return User.objects.get(username=HEAVY)


def fill_table(
    model: type[models.Model], source: str, count: int, *, number: int, model_name: str
) -> None:
    """Insert `count` rows. Everything about a row is drawn from its number by arithmetic."""
    first_member = User.objects.order_by("pk").values_list("pk", flat=True)[0]
    columns = expressions(model)
    columns |= {
        "id": "id",
        "user_id": "member",
        "status": "status",
        "prompt": "prompts.prompt",
        "model": "model",
        "image_url": "CASE WHEN status = 'SUCCESS' THEN 'https://cdn.example/files/' || id || '.png' ELSE '' END",
        "is_favourite": "chance % 100 = 0",
        "trashed_at": "CASE WHEN chance % 100 = 1 THEN created_at END",
        "created_at": "created_at",
        "updated_at": "created_at",
        "external_id": "id",
        "origin": "'bench'",
    }
    if model is FluxTask:
        columns |= {
            "submission": "'ACCEPTED'",
            "request_id": "id",
            "endpoint": "model",
            "completed_at": "created_at",
            "task_type": "'text_to_image'",
        }
    execute(drawn(source, count, number=number, model_name=model_name, first_member=first_member))
    with without_indexes(model._meta.db_table):
        execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(columns)})"
            f" SELECT {', '.join(columns.values())}"
            " FROM drawn JOIN prompts ON prompts.number = drawn.prompt_number ORDER BY drawn.i"
        )
    execute(
        "INSERT INTO placed SELECT position, source, id, member, prompt_number, model FROM drawn"
        " WHERE status = 'SUCCESS'",
        "DROP TABLE drawn",
    )


def drawn(source: str, count: int, *, number: int, model_name: str, first_member: int) -> str:
    def chance(which: int) -> str:
        factor = [1103515245, 1664525, 69069, 1566083941, 742938285, 950706376, 1226874159][which]
        return f"((i + {number * 7919 + 1}) * {factor} % 2147483647)"

    milliseconds = f"({int(BEGIN.timestamp()) * 1000} + {chance(0)} * {STEP_MS})"
    if connection.vendor == "sqlite":
        series = (
            "(WITH RECURSIVE series (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM series"
            f" WHERE i < {count}) SELECT i FROM series)"
        )
        created_at = f"strftime('%Y-%m-%d %H:%M:%f000', {milliseconds} / 1000.0, 'unixepoch')"
        id_ = f"printf('{number}%031x', i)"
    else:
        series = f"(SELECT i FROM generate_series(1::bigint, {count}) AS i)"
        created_at = f"to_timestamp({milliseconds} / 1000.0)"
        id_ = f"'{number}' || lpad(to_hex(i), 31, '0')"
    return (
        "CREATE TEMPORARY TABLE drawn AS SELECT i,"
        f" '{source}' AS source, {id_} AS id,"
        f" CASE WHEN {chance(1)} % 20 = 0 THEN {first_member}"
        f" ELSE {first_member} + 1 + {chance(2)} % {MEMBERS - 1} END AS member,"
        f" CASE WHEN {chance(3)} % 100 < 91 THEN 'SUCCESS' WHEN {chance(3)} % 100 < 98"
        " THEN 'FAILED' ELSE 'CANCELLED' END AS status,"
        f" {model_name.format(model=chance(4))} AS model,"
        f" {chance(5)} % {POOL} AS prompt_number, {chance(6)} AS chance,"
        f" {created_at} AS created_at,"
        # No two are of one millisecond and have one number in it.
        f" ({milliseconds} << 16) + i % 21845 * 3 + {number} AS position"
        f" FROM {series} AS numbers"
    )


def expressions(model: type[models.Model]) -> dict[str, str]:
    """Return what each column has by default, as SQL."""
    literals: dict[str, str] = {}
    for field in model._meta.concrete_fields:
        value = field.get_default()
        if isinstance(field, models.JSONField):
            value = json.dumps(value)
        if isinstance(value, bool):
            literals[field.column] = str(value)
        elif value is None or isinstance(value, int | float):
            literals[field.column] = "NULL" if value is None else str(value)
        else:
            literals[field.column] = f"'{value}'"
    return literals


class without_indexes:  # noqa: N801
    """Make the indexes of a table anew after it is filled: one by one they are sorted."""

    def __init__(self, table: str) -> None:
        self.table = table

    def __enter__(self) -> None:
        listing = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql NOT NULL"
            if connection.vendor == "sqlite"
            else "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        )
        with connection.cursor() as cursor:
            cursor.execute(listing, [self.table])
            self.indexes = dict(cursor.fetchall())
        execute(*(f'DROP INDEX "{name}"' for name in self.indexes))

    def __exit__(self, *error: object) -> None:
        execute(*self.indexes.values())


# ---------------------------------------------------------------- the index of the search
def fill_index(prompts: list[str]) -> None:
    index = search.index_of(DEFAULT_DB_ALIAS)
    if isinstance(index, search.PostgresIndex):
        fill_numbers(index, [search.tokens_of(prompt) for prompt in prompts])
        return
    execute("CREATE TEMPORARY TABLE facets (source text, model text, tokens text)")
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT source, model FROM placed")
        facets = [(source, model, facets_of(source, model)) for source, model in cursor.fetchall()]
        cursor.executemany(
            "INSERT INTO facets VALUES (%s, %s, %s)",
            [(source, model, " ".join(f"@{t}" for t in own)) for source, model, own in facets],
        )
    execute(
        "INSERT INTO history_search SELECT position, source, id FROM placed ORDER BY position",
        "INSERT INTO history_search_words (rowid, tokens)"
        " SELECT position, replace(facets.tokens || ' ' || prompts.tokens, '@', member || '_')"
        " FROM placed JOIN prompts ON prompts.number = placed.prompt"
        " JOIN facets ON facets.source = placed.source AND facets.model = placed.model"
        " ORDER BY position",
        "DROP TABLE facets",
    )


def fill_numbers(index: search.PostgresIndex, tokens: list[list[str]]) -> None:
    number_of = lru_cache(1 << 20)(index.number)
    execute("DROP INDEX history_search_tokens", "CREATE INDEX ON placed (position)")
    last = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT * FROM placed WHERE position > %s ORDER BY position LIMIT 200000", [last]
            )
            rows = cursor.fetchall()
            if not rows:
                break
            last = rows[-1][0]
            statement = "COPY history_search (position, tokens, source, id) FROM STDIN"
            with cursor.copy(statement) as copy:
                for position, source, id_, member, prompt, model in rows:
                    mark = index.mark(position)
                    own = search.marked(member, [*facets_of(source, model), *tokens[prompt]])
                    numbers = [mark + number_of(token) for token in own]
                    copy.write_row((position, numbers, source, id_))
    execute(index.create[1])


@cache
def facets_of(source: str, model: str) -> list[str]:
    """Return the tokens that any entry of a source and a model has, without its member's mark."""
    document = search.Document(
        user_id=0, source=source, id="", model=model, prompt="", created_at=BEGIN
    )
    return [token.removeprefix("0_") for token in document.tokens()]


def make_pictures(heavy: User) -> None:
    """A picture for each entry of the first pages."""
    newest = filters.entries_of(user=heavy, filters=Filters()).newest(limit=100)
    TaskImage.objects.bulk_create(
        TaskImage(
            user=heavy,
            source=row.source,
            task_id=row.source_id,
            position=0,
            width=1024,
            height=1024,
            storage_key=f"generated/{row.source_id}/0.png",
            stored_at=row.created_at,
        )
        for row in newest
    )


# ---------------------------------------------------------------- baselines
def make_baselines() -> None:
    execute(
        "CREATE TABLE bare_history AS SELECT * FROM unified_image_history",
        *(
            f"CREATE INDEX bare_{number} ON bare_history ({columns}created_at DESC, id DESC){where}"
            for number, (columns, where) in enumerate(
                [
                    ("user_id, ", ""),
                    ("user_id, source, ", ""),
                    ("user_id, ", " WHERE is_favourite"),
                    ("", ""),
                ]
            )
        ),
    )
    arms = " UNION ALL ".join(
        f"SELECT '{source}:' || id AS key, '{source}' AS source, id, user_id, model, prompt,"
        f" {address} AS image_url, status, created_at, is_favourite"
        f" FROM {model._meta.db_table} WHERE status = 'SUCCESS' AND {given}"
        for model, source, address, given in (
            (MidjourneyTask, "midjourney", "image_url", "image_url IS NOT NULL"),
            (JimengTask, "jimeng", "image_url", "image_url IS NOT NULL"),
            (
                FluxTask,
                "flux",
                "COALESCE(cloud_image_url, image_url)",
                "(image_url IS NOT NULL OR cloud_image_url IS NOT NULL)",
            ),
        )
    )
    execute(f"CREATE VIEW spec_history AS {arms} ORDER BY created_at DESC")


# ---------------------------------------------------------------- what is asked
def make_session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    # The first ones only guard the door.
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


def pages(heavy: User, staff: User) -> dict[str, Any]:
    deep = deep_cursor(heavy)
    return {
        "first": statements_of(heavy, Filters()),
        "page_10000": statements_of(heavy, Filters(), cursor=deep),
        "source": statements_of(heavy, Filters(source="jimeng")),
        "favourite": statements_of(heavy, Filters(favourite=True)),
        "dates": statements_of(
            heavy, Filters(since=date(2024, 6, 1), until=date(2024, 6, 30)), cursor=None
        ),
        "everybody": statements_of(staff, Filters(member=filters.EVERYBODY)),
        "rare_model": statements_of(heavy, Filters(model=RARE_MODEL)),
        "common_model": statements_of(heavy, Filters(model="fal-ai/flux-1/dev")),
        "no_such_model": statements_of(heavy, Filters(model="none")),
        "failed": statements_of(heavy, Filters(status="FAILED")),
        "all_statuses": statements_of(heavy, Filters(status="ALL")),
    }


def bare_pages(heavy: User, staff: User) -> dict[str, Any]:
    """Return the same for the one table, which no function of ours knows."""
    functions = view.PAGES.copy()
    view.PAGES.clear()
    try:
        asked = pages(heavy, staff)
    finally:
        view.PAGES.update(functions)
    # Staff look into another view, of which the table has the same rows.
    views = re.compile("|".join(view.FILTERS))
    return {
        name: [(views.sub("bare_history", sql), params) for sql, params in statements]
        for name, statements in asked.items()
        if name in BARE
    }


def deep_cursor(heavy: User) -> Cursor:
    """Return the cursor of page 10,000, or of the last one but a few."""
    entries = HistoryEntry.objects.for_user(heavy)
    place = min(PAGE * 9999, int(entries.count() * 0.95))
    row = entries.order_by("-created_at", "-source_id")[place]
    return Cursor(created_at=row.created_at, id=row.source_id)


def statements_of(user: User, wanted: Filters, *, cursor: Cursor | None = None) -> list[Any]:
    kept: list[Any] = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        kept.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        filters.page_of(user=user, filters=wanted, asked=Asked(limit=PAGE, cursor=cursor))
    return kept


if __name__ == "__main__":
    main()
