"""Finding entries by the words of their prompts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from fluxsite.paging import Asked, Cursor
from history import filters, search
from history.filters import Filters
from history.models import HistoryEntry
from history.tests import rows


def found(user, text, **others):
    page = filters.page_of(user=user, filters=Filters(text=text, **others), asked=Asked())
    return [row.source_id for row in page.rows]


def documents_known():
    with connection.cursor() as cursor:
        cursor.execute("SELECT source, id FROM history_search")
        return sorted(f"{source}:{id_}" for source, id_ in cursor.fetchall())


# ---------------------------------------------------------------- what is a word
@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("A Red-Fox", ["a", "red", "fox"]),
        ("一只猫", ["一", "只", "猫", "一只", "只猫"]),
        ("猫", ["猫"]),
        ("3D渲染", ["3d", "渲", "染", "渲染"]),
        ("ＦＬＵＸ Straße ﬁne", ["flux", "strasse", "fine"]),
        ("snake_case 🦊 !!", ["snake", "case"]),
        ("cat cat", ["cat"]),
        ("x" * 50, ["x" * 40]),
        ("", []),
    ],
)
def test_a_prompt_is_taken_apart(prompt, tokens):
    assert search.tokens_of(prompt) == tokens


def test_a_prompt_of_many_words_is_known_by_the_first():
    tokens = search.tokens_of(" ".join(str(number) for number in range(9000)))

    assert (len(tokens), tokens[-1]) == (2000, "1999")


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a red fox at dusk", "fox"),
        ("a red fox at dusk", "DUSK red"),
        ("a red fox at dusk", '"red fox"'),
        ("a red, fox at dusk", "“red fox”"),
        ("a red fox at dusk", "red-fox"),
        ("雪山下的宫殿，黄昏", "宫殿"),
        ("雪山下的宫殿，黄昏", "雪"),
        ("雪山下的宫殿，黄昏", "黄昏 雪山"),
        ("雪山下的宫殿，黄昏", "下的宫殿"),
        ("雪山下的宫殿，黄昏", '"宫殿 黄昏"'),
        ("3D渲染 cat", '"渲染cat"'),
        ("3D渲染 cat", '"3d 渲染"'),
        ("ﾈｺ", "ネコ"),
        ("มะม่วง", "ม่วง"),
        ("x" * 60, "x" * 60),
        ('say "cheese"', '"cheese'),
    ],
)
def test_a_text_finds(alice, prompt, text):
    rows.task("flux", alice, id="t1", prompt=prompt)
    search.fill()

    assert found(alice, text) == ["t1"]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a red fox", "foxes"),
        ("a red foxes", "fox"),
        ("a red fox", "red cat"),
        ("a red fox", '"fox red"'),
        ("a red big fox", '"red fox"'),
        ("a red fox", '"red f"'),
        ("宫女的殿", "宫殿"),
        ("雪山，宫殿", "山宫"),
        ("红色的汽车，色汽", "红色汽车"),
        ("x" * 60, "x" * 50),
        ("a red fox", "!?"),
        ("a red fox", '""'),
        ("a red fox", "🦊"),
    ],
)
def test_a_text_does_not_find(alice, prompt, text):
    rows.task("flux", alice, id="t1", prompt=prompt)
    search.fill()

    assert found(alice, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "fox OR cat",
        "fox AND",
        "NOT fox",
        "fox NEAR(cat, 2)",
        "tokens:fox",
        "fox*",
        "^fox",
        "fox + cat",
        'fox"',
        '"',
        '"""',
        "'; DROP TABLE history_search; --",
        "fox\0cat",
        "fox & !cat | (dog:*",
        "%s %(a)s %",
        "{fox}",
        "fox" * 5000,
        "狐" * 5000,
        " ".join(str(number) for number in range(3000)),
        "🦊" * 3000,
        "\u202e\ufeff\u0301",
        "\ud83d",
        "(" * 3000,
    ],
)
def test_nothing_that_is_typed_is_an_operator(alice, text):
    rows.task("flux", alice, id="fox", prompt="a fox")
    search.fill()

    wanted = filters.read({"text": text})

    # What is left of the operators are words, and this prompt has none of them.
    expected = ["fox"] if set(search.parse(text).tokens) == {"fox"} else []
    assert found(alice, wanted.text) == expected


# ---------------------------------------------------------------- whose, which, how many
def test_only_ones_own_entries_are_found(alice, bob):
    rows.task("flux", alice, id="mine", prompt="a fox")
    rows.task("flux", bob, id="his", prompt="a fox")
    search.fill()

    assert (found(alice, "fox"), found(bob, "fox")) == (["mine"], ["his"])


def test_what_is_in_the_trash_is_not_found_until_it_is_restored(alice):
    task = rows.task("flux", alice, id="t1", prompt="a fox")
    search.fill()

    task.trashed_at = rows.NOON
    task.save()
    trashed = found(alice, "fox")
    task.trashed_at = None
    task.save()

    assert (trashed, found(alice, "fox")) == ([], ["t1"])


def test_a_prompt_that_was_changed_is_not_found_by_its_old_words(alice):
    task = rows.task("flux", alice, prompt="a fox")
    search.fill()

    task.prompt = "a cat"
    task.save()

    assert found(alice, "fox") == []


def test_an_entry_whose_time_was_changed_is_found_once_and_in_its_new_place(alice):
    task = rows.task("jimeng", alice, id="t1", prompt="fox")
    rows.task("jimeng", alice, id="t2", minutes=5, prompt="fox")
    search.fill()

    task.created_at += timedelta(minutes=9)
    task.save()
    search.fill()

    assert found(alice, "fox") == ["t1", "t2"]


def test_entries_that_come_late_are_found_in_the_order_of_time(alice):
    for minutes in (3, 1, 2):
        rows.task("midjourney", alice, id=f"t{minutes}", minutes=minutes, prompt="fox")
        search.fill()

    assert found(alice, "fox") == ["t3", "t2", "t1"]


def test_a_search_reads_past_what_may_not_be_shown(alice):
    for minutes in range(50):
        trashed = rows.NOON if minutes > 2 else None
        rows.task("flux", alice, id=f"t{minutes}", minutes=minutes, prompt="fox", trashed_at=None)
        rows.model("flux").objects.filter(pk=f"t{minutes}").update(prompt="fox")
        search.fill()
        rows.model("flux").objects.filter(pk=f"t{minutes}").update(trashed_at=trashed)

    assert found(alice, "fox") == ["t2", "t1", "t0"]


def test_entries_of_one_moment_are_paged_in_the_order_of_their_ids(alice, monkeypatch):
    """In the index they lie in any order."""
    monkeypatch.setattr(search, "_SPARE", 1)
    for number in range(20):
        moment = rows.NOON + timedelta(microseconds=number // 5)
        rows.task("jimeng", alice, id=f"t{number:02}", prompt="fox", created_at=moment)
    rows.task("jimeng", alice, id="older", prompt="fox", minutes=-1)
    search.fill()

    pages, cursor = [], None
    while not pages or cursor:
        asked = Asked(limit=4, cursor=cursor)
        page = filters.page_of(user=alice, filters=Filters(text="fox"), asked=asked)
        pages.append([row.source_id for row in page.rows])
        cursor = Cursor.decode(page.next_cursor) if page.next_cursor else None

    newest_first = [*(f"t{number:02}" for number in reversed(range(20))), "older"]
    assert pages == [newest_first[start : start + 4] for start in range(0, 21, 4)]


@pytest.mark.parametrize("favourites", [1, 3])
def test_favourites_are_found_whether_few_or_many(alice, favourites, monkeypatch):
    monkeypatch.setattr(filters, "FEW_FAVOURITES", 2)
    for minutes in range(4):
        rows.task(
            "flux",
            alice,
            id=f"t{minutes}",
            minutes=minutes,
            prompt="fox",
            is_favourite=minutes < favourites,
        )
    search.fill()

    expected = [f"t{minutes}" for minutes in reversed(range(favourites))]
    assert found(alice, "fox", favourite=True) == expected


@pytest.mark.parametrize("count", [1, 3])
def test_a_search_takes_two_queries(alice, count, django_assert_num_queries):
    for minutes in range(count):
        for source in ("flux", "midjourney", "jimeng"):
            rows.task(source, alice, minutes=minutes, prompt="fox")
    search.fill()

    with django_assert_num_queries(2):
        page = filters.page_of(user=alice, filters=Filters(text="fox"), asked=Asked())

    assert len(page.rows) == 3 * count


# ---------------------------------------------------------------- writing
def document(**fields):
    values = {
        "user_id": 1,
        "source": "flux",
        "id": "t1",
        "model": "m",
        "prompt": "fox",
        "created_at": rows.NOON,
    }
    return search.Document(**{**values, **fields})


def test_a_document_is_written_once(db):
    written = [search.add(document()), search.add(document())]

    assert (written, documents_known()) == ([True, False], ["flux:t1"])


def test_documents_whose_places_are_the_same_lie_side_by_side(db, monkeypatch):
    monkeypatch.setattr("zlib.crc32", lambda data: 0xFFFF)
    several = [document(id=f"t{number}") for number in range(3)]

    count = search.add_many([*several, *several])

    assert (count, documents_known()) == (3, ["flux:t0", "flux:t1", "flux:t2"])
    assert search.add_many(several) == 0


def test_more_documents_of_a_moment_than_there_are_places_are_let_be(db, monkeypatch, caplog):
    monkeypatch.setattr(search, "_SLOTS", 1)
    search.add(document())

    assert search.add(document(id="t2")) is False
    assert "too many entries of one moment: flux:t2" in caplog.text


@pytest.mark.parametrize("year", [1, 1969, 1970, 2200, 9999])
def test_any_time_has_a_place(alice, year):
    task = rows.task("flux", alice, prompt="fox", created_at=rows.NOON.replace(year=year))
    search.fill()

    assert found(alice, "fox") == [task.pk]


# ---------------------------------------------------------------- filling
def test_filling_adds_only_what_is_missing(alice):
    rows.task("flux", alice, id="t1", prompt="fox")
    search.fill()
    rows.task("jimeng", alice, id="t2", prompt="fox", minutes=-9)

    assert search.fill() == search.Filled(seen=2, added=1, finished=True)
    assert documents_known() == ["flux:t1", "jimeng:t2"]


def test_filling_goes_on_where_it_was_cut_off(alice, monkeypatch):
    monkeypatch.setattr(search, "_BATCH", 2)
    for minutes in range(3):
        rows.task("flux", alice, id=f"t{minutes}", minutes=minutes)

    first, second = search.fill(seconds=0), search.fill(seconds=0)

    assert first == search.Filled(seen=2, added=2, finished=False)
    assert second == search.Filled(seen=1, added=1, finished=True)
    assert documents_known() == ["flux:t0", "flux:t1", "flux:t2"]


def test_the_index_is_complete_once_it_has_been_filled(alice):
    search.clear()
    before = search.is_complete()
    search.fill()

    assert (before, search.is_complete()) == (False, True)


def test_a_job_in_the_background_leaves_the_rest_to_another(alice, monkeypatch):
    from django_q.models import OrmQ

    monkeypatch.setattr(search, "_BATCH", 1)
    monkeypatch.setattr(search, "JOB_SECONDS", 0)
    for minutes in range(2):
        rows.task("flux", alice, minutes=minutes)

    search.in_background()
    waiting = [message.func() for message in OrmQ.objects.all()]
    search.in_background()

    assert waiting == ["history.search.in_background"]
    assert OrmQ.objects.count() == 1


def test_an_index_of_another_version_is_made_anew_and_filled_by_migrate(alice, monkeypatch):
    rows.task("flux", alice, id="t1", prompt="fox")
    search.add(document(user_id=alice.pk, id="gone"))
    monkeypatch.setattr(search, "VERSION", search.VERSION + 1)

    with transaction.atomic():
        search.after_migrate(using="default", plan=[])
        known = documents_known()
        transaction.set_rollback(True)

    assert known == ["flux:t1"]


def test_a_large_site_is_filled_in_the_background(alice, monkeypatch, caplog):
    from django_q.models import OrmQ

    monkeypatch.setattr(search, "_BATCH", 1)
    monkeypatch.setattr(search, "MIGRATE_SECONDS", 0)
    for minutes in range(2):
        rows.task("flux", alice, minutes=minutes)
    search.clear()

    with caplog.at_level("WARNING", logger="history.search"):
        search.after_migrate(using="default", plan=[])

    assert "is being made in the background" in caplog.text
    assert [message.func() for message in OrmQ.objects.all()] == ["history.search.in_background"]


@pytest.mark.django_db(transaction=True)
def test_flush_empties_the_index(django_user_model):
    rows.task("flux", django_user_model.objects.create_user("alice"), prompt="fox")
    search.fill()

    call_command("flush", interactive=False, verbosity=0)

    assert (documents_known(), search.is_complete()) == ([], True)


@pytest.mark.django_db(transaction=True)
def test_the_index_goes_and_returns_with_the_history():
    try:
        call_command("migrate", "history", "zero", verbosity=0, skip_checks=True)
        with connection.cursor() as cursor:
            tables = [table.name for table in connection.introspection.get_table_list(cursor)]
    finally:
        call_command("migrate", verbosity=0, skip_checks=True)

    assert [name for name in tables if name.startswith("history_search")] == []
    assert search.is_complete()


def test_the_command_fills_and_makes_anew(alice, capsys):
    rows.task("flux", alice, id="t1")
    search.add(document(id="gone"))

    call_command("rebuild_search")
    kept = documents_known()
    call_command("rebuild_search", "--anew")

    assert (kept, documents_known()) == (["flux:gone", "flux:t1"], ["flux:t1"])
    assert capsys.readouterr().out == "entries seen: 1, added: 1\n" * 2


def test_the_prompt_decides_whatever_the_index_says(alice):
    task = rows.task("flux", alice, id="t1", prompt="cat", created_at=rows.NOON)
    search.add(document(user_id=alice.pk, id=task.pk, prompt="fox"))

    assert found(alice, "fox") == []
    assert HistoryEntry.objects.get().created_at - rows.NOON == timedelta()


def test_of_what_is_removed_for_ever_no_word_stays(alice):
    kept = rows.task("flux", alice, prompt="a fox in the snow")
    gone = rows.task("flux", alice, prompt="a fox at home")
    search.fill()
    document = search.Document(
        user_id=alice.pk,
        source="flux",
        id=gone.pk,
        model=gone.model,
        prompt=gone.prompt,
        created_at=gone.created_at,
    )

    assert search.forget(document) is True
    assert search.forget(document) is False

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {search.TABLE}")
        assert cursor.fetchall() == [(kept.pk,)]
    assert search.add(document) is True
