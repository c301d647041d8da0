"""Reports: history, ledger and usage as files that are true, safe to open, and never held whole."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from credits import ledger as book
from credits.models import LedgerEntry
from fluxsite.audit_log.models import AuditEntry
from fluxsite.reports import history, index, ledger, usage, writing
from fluxsite.reports.base import Asked, BadRequest, months, read
from generation import lifecycle
from generation.models import FluxTask
from history.tests.rows import picture, task

MARCH = datetime(2026, 3, 10, 12, tzinfo=UTC)
APRIL = datetime(2026, 4, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _books(settings):
    settings.CREDITS_STARTING_GRANT = 0
    settings.TIME_ZONE = "UTC"


@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def body(answer):
    return b"".join(answer.streaming_content).decode()


def sheet(text):
    """The rows of a CSV file, by column."""
    assert text[0] == "\ufeff"
    return list(csv.DictReader(io.StringIO(text[1:])))


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def export(name, **asked):
    """What the command writes, as objects."""
    out = io.StringIO()
    options = [f"--{option}={value}" for option, value in asked.items()]
    call_command("export", name, "--format=json", *options, stdout=out)
    return objects(out.getvalue())


def drawn(user, *, reserved=0, charged=0, pictures=1, **fields):
    """A finished task with its pictures, of which the ledger knows."""
    made = task("flux", user, cost_reserved=reserved, cost_charged=charged, **fields)
    for position in range(pictures):
        picture("flux", made, position)
    if reserved:
        book.reserve(user=user, amount=reserved, reference=f"flux:{made.pk}")
        book.settle(reference=f"flux:{made.pk}", charged=charged)
    return made


# ---------------------------------------------------------------- history
def test_the_history_has_all_sources_newest_first(alice, bob):
    flux = task(
        "flux",
        alice,
        minutes=3,
        parameters={"num_images": 2},
        result_seed="42",
        generation_time=1.5,
        prompt="一只猫",
        is_favourite=True,
    )
    picture("flux", flux, 0)
    picture("flux", flux, 1)
    task("midjourney", bob, minutes=2)
    task("jimeng", bob, minutes=1)
    task("flux", bob, minutes=0, status="FAILED", image_url="")

    rows = export("history")

    assert [(row["source"], row["member"], row["status"]) for row in rows] == [
        ("flux", "alice", "SUCCESS"),
        ("midjourney", "bob", "SUCCESS"),
        ("jimeng", "bob", "SUCCESS"),
        ("flux", "bob", "FAILED"),
    ]
    assert rows[0] == {
        "created_at": "2026-05-04T12:03:00+00:00",
        "member": "alice",
        "source": "flux",
        "id": flux.pk,
        "model": "fal-ai/flux-1/schnell",
        "model_name": rows[0]["model_name"],
        "prompt": "一只猫",
        "status": "SUCCESS",
        "pictures": 2,
        "seed": "42",
        "parameters": {"num_images": 2},
        "seconds": 1.5,
        "image_url": flux.image_url,
        "is_favourite": True,
    }


def test_the_history_is_of_the_time_and_the_member_asked_for(alice, bob):
    march = task("flux", alice, created_at=MARCH)
    april = task("flux", alice, created_at=APRIL)
    task("flux", bob, created_at=MARCH)

    def ids(**asked):
        return [row["id"] for row in export("history", **asked)]

    assert ids(member="alice") == [april.pk, march.pk]
    assert ids(member="alice", until="2026-03") == [march.pk]
    assert ids(member="alice", since="2026-04") == [april.pk]
    assert ids(member="alice", since="2026-03-10", until="2026-03-10") == [march.pk]
    assert ids(since="2026-05") == []


def test_the_history_is_whole_over_many_pages(alice, monkeypatch):
    monkeypatch.setattr(history, "PAGE", 3)
    made = [task("flux", alice, minutes=n // 2).pk for n in range(8)]

    assert [row["id"] for row in export("history")] == sorted(made, reverse=True)


def test_a_page_of_the_history_costs_the_same_with_one_and_three_rows(alice, bob):
    def cost():
        with CaptureQueriesContext(connection) as queries:
            export("history")
        return len(queries)

    def one_of_each():
        for source in ("flux", "midjourney", "jimeng"):
            picture(source, task(source, alice))

    one_of_each()
    first = cost()
    one_of_each()
    one_of_each()

    # The page, whose they are, and of each source pictures and details.
    assert (first, cost()) == (8, 8)


# ---------------------------------------------------------------- ledger
def test_the_ledger_is_written_as_it_was_booked(alice, bob):
    book.grant(user=alice, amount=100, reference="pay", reason="=welcome", actor="staff")
    book.grant(user=bob, amount=1, reference="pay bob", reason="", actor="staff")
    drawn(alice, reserved=20, charged=15)

    rows = export("ledger", member="alice")

    assert [(row["kind"], row["amount"], row["charged"], row["actor"]) for row in rows] == [
        ("GRANT", 100, 0, "staff"),
        ("RESERVE", -20, 0, ""),
        ("SETTLE", 5, 15, ""),
    ]
    assert rows[2]["closes"] == rows[1]["id"]
    assert sum(row["amount"] for row in rows) == book.account_for(user=alice).credits_balance
    assert {row["member"] for row in export("ledger")} == {"alice", "bob"}


def test_the_ledger_is_whole_over_many_pages(alice, monkeypatch):
    monkeypatch.setattr(ledger, "PAGE", 3)
    for number in range(7):
        book.grant(user=alice, amount=number + 1, reference=f"g{number}", reason="", actor="")

    assert [row["amount"] for row in export("ledger")] == [1, 2, 3, 4, 5, 6, 7]


# ---------------------------------------------------------------- usage
def test_usage_sums_what_each_member_drew_in_a_month(alice, bob):
    alice.groups.set([Group.objects.create(name="painters"), Group.objects.create(name="ads")])
    for user in (alice, bob):
        book.grant(user=user, amount=100, reference=f"pay {user}", reason="", actor="")
    drawn(alice, created_at=MARCH, reserved=20, charged=10, pictures=2)
    drawn(alice, created_at=MARCH, reserved=10, charged=0, pictures=0, status="FAILED")
    drawn(alice, created_at=APRIL, reserved=10, charged=10)
    # Thrown away and paid for all the same.
    drawn(bob, created_at=APRIL, reserved=5, charged=5, trashed_at=APRIL)
    task("midjourney", bob, created_at=APRIL, credits_cost=3)

    rows = export("usage")

    assert [tuple(row.values()) for row in rows] == [
        ("2026-03", "alice", "ads; painters", "flux", "fal-ai/flux-1/schnell", 2, 1, 2, 10, 20),
        ("2026-04", "alice", "ads; painters", "flux", "fal-ai/flux-1/schnell", 1, 1, 1, 10, 0),
        ("2026-04", "bob", "", "flux", "fal-ai/flux-1/schnell", 1, 1, 1, 5, 0),
        ("2026-04", "bob", "", "midjourney", "midjourney", 1, 1, 0, 0, 0),
    ]
    settled = sum(LedgerEntry.objects.filter(kind="SETTLE").values_list("charged", flat=True))
    assert sum(row["credits_charged"] for row in rows) == settled == 25
    reserved = -sum(LedgerEntry.objects.filter(kind="RESERVE").values_list("amount", flat=True))
    assert sum(row["credits_refunded"] for row in rows) == reserved - settled


def test_what_staff_gave_back_is_not_charged_but_refunded(alice):
    book.grant(user=alice, amount=100, reference="pay", reason="", actor="")
    made = drawn(alice, created_at=MARCH, reserved=20, charged=15)
    task_row = FluxTask.objects.get(pk=made.pk)

    lifecycle.refund(task=task_row, reason="a mistake", actor="staff", now=MARCH)

    [row] = export("usage")
    assert (row["credits_charged"], row["credits_refunded"]) == (0, 20)


def test_what_is_still_being_drawn_is_not_refunded(alice):
    task("flux", alice, status="IN_PROGRESS", cost_reserved=10, image_url="")

    [row] = export("usage")

    assert (row["tasks"], row["succeeded"], row["credits_refunded"]) == (1, 0, 0)


def test_usage_by_group_counts_a_member_in_each_of_theirs(alice, bob):
    painters, ads = Group.objects.create(name="painters"), Group.objects.create(name="ads")
    alice.groups.set([painters, ads])
    bob.groups.set([painters])
    carol = User.objects.create_user("carol")
    for user in (alice, bob, carol):
        task("flux", user, created_at=MARCH, cost_reserved=5, cost_charged=5)

    rows = export("usage_by_group")

    assert [
        (row["group"], row["members"], row["tasks"], row["credits_charged"]) for row in rows
    ] == [
        ("ads", 1, 1, 5),
        ("painters", 2, 2, 10),
        ("", 1, 1, 5),
    ]
    assert [row["group"] for row in export("usage_by_group", member="bob")] == ["painters"]


def test_a_month_is_one_of_the_sites_time_zone(alice, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    late = datetime(2026, 3, 31, 16, 30, tzinfo=UTC)
    made = task("flux", alice, created_at=late)

    assert [row["month"] for row in export("usage")] == ["2026-04"]
    assert export("usage", until="2026-03") == []
    assert [row["id"] for row in export("history", since="2026-04")] == [made.pk]
    out = io.StringIO()
    call_command("export", "history", stdout=out)
    assert sheet(out.getvalue())[0]["created_at"] == "2026-04-01 00:30:00"


def test_a_span_inside_a_month_is_cut_at_both_ends(alice):
    for day in (1, 10, 20):
        task("flux", alice, created_at=datetime(2026, 3, day, tzinfo=UTC))

    [row] = export("usage", since="2026-03-05", until="2026-03-15")

    assert (row["month"], row["tasks"]) == ("2026-03", 1)


def test_usage_asks_the_same_for_one_and_three_members(alice, bob):
    def cost():
        with CaptureQueriesContext(connection) as queries:
            export("usage", since="2026-03", until="2026-03")
        return len(queries)

    task("flux", alice, created_at=MARCH)
    first = cost()
    task("flux", bob, created_at=MARCH)
    task("flux", User.objects.create_user("carol"), created_at=MARCH)

    # When the first task was made, in three tables; the members; their tasks; their groups.
    assert (first, cost()) == (8, 8)


def test_usage_is_whole_over_many_pages_of_members(monkeypatch, db):
    monkeypatch.setattr(usage, "PAGE", 2)
    for number in range(5):
        task("flux", User.objects.create_user(f"m{number}"), created_at=MARCH)

    assert [row["member"] for row in export("usage")] == ["m0", "m1", "m2", "m3", "m4"]


def test_months_before_the_first_task_and_after_now_are_not_gone_through(alice):
    task("flux", alice, created_at=MARCH)
    asked = read(since="1000-01", until="2999-12")

    names = [name for name, _within in months(asked, earliest=MARCH)]

    assert names[0] == "2026-03"
    assert len(names) < 1000
    assert [row["month"] for row in export("usage", since="1000-01", until="2999-12")] == [
        "2026-03"
    ]


def test_a_site_without_tasks_has_no_months():
    assert list(months(Asked(), earliest=None)) == []


# ---------------------------------------------------------------- what is asked for
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": "2026-13"}, "since"),
        ({"since": "2026"}, "since"),
        ({"until": "2026-02-30"}, "until"),
        ({"until": "9999-12"}, "until"),
        ({"until": "２０２６-01"}, "until"),
        ({"since": "2026-02", "until": "2026-01"}, "until"),
        ({"member": "nobody"}, "member"),
        ({"member": "a\0b"}, "member"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(db, asked, field):
    with pytest.raises(BadRequest) as refusal:
        read(**asked)
    assert refusal.value.field == field

    [(name, value)] = list(asked.items())[-1:]
    with pytest.raises(CommandError, match=f"--{field}: "):
        call_command("export", "ledger", **{**asked, name: value})


# ---------------------------------------------------------------- the file
def test_a_spreadsheet_gets_text_it_can_read_and_no_formula(admin, alice):
    task("flux", alice, prompt='=HYPERLINK("http://evil.example")', minutes=2)
    task("flux", alice, prompt="＝1+1", minutes=1)
    task("flux", alice, prompt="一只猫,\n在桥上", minutes=0)

    answer = admin.get("/admin/exports/?report=history&file=csv")

    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in answer["Cache-Control"]
    rows = sheet(body(answer))
    assert [row["prompt"] for row in rows] == [
        '\'=HYPERLINK("http://evil.example")',
        "'＝1+1",
        "一只猫,\n在桥上",
    ]


def test_numbers_of_the_ledger_stay_numbers(admin, alice):
    book.grant(user=alice, amount=100, reference="pay", reason="-1", actor="=staff")
    drawn(alice, reserved=20, charged=20)

    rows = sheet(body(admin.get("/admin/exports/?report=ledger&file=csv")))

    assert [row["amount"] for row in rows] == ["100", "-20", "0"]
    assert (rows[0]["reason"], rows[0]["actor"]) == ("'-1", "'=staff")


def test_a_file_is_named_for_what_is_in_it(admin, staff):
    User.objects.create_user("李雷")

    answer = admin.get(
        "/admin/exports/",
        {
            "report": "ledger",
            "file": "json",
            "since": "2026-01",
            "until": "2026-02",
            "member": "李雷",
        },
    )

    assert answer["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert answer["Content-Disposition"] == (
        "attachment; filename*=utf-8''ledger_2026-01_2026-02_%E6%9D%8E%E9%9B%B7.jsonl"
    )


def test_an_export_is_written_into_the_audit_log(admin):
    admin.get("/admin/exports/?report=ledger&file=csv&since=2026-01")

    entry = AuditEntry.objects.get(action="export")
    assert entry.actor == "staff"
    assert entry.changes["report"] == [None, "ledger"]
    assert entry.changes["since"] == [None, "2026-01"]


# ---------------------------------------------------------------- the page
def test_the_page_offers_all_reports_to_those_who_may_have_them(admin):
    page = admin.get("/admin/exports/")

    names = [name for name, _label in page.context["form"].fields["report"].choices]
    assert names == ["history", "ledger", "usage", "usage_by_group"]
    assert "/admin/exports/" in admin.get("/admin/").content.decode()


def test_a_mistake_is_explained_on_the_page(admin):
    answer = admin.get("/admin/exports/?report=ledger&file=csv&since=yesterday&member=nobody")

    assert answer.status_code == 422
    assert "A month such as 2026-01" in answer.content.decode()
    assert not AuditEntry.objects.filter(action="export").exists()


def test_a_report_nobody_knows_is_explained(admin):
    assert admin.get("/admin/exports/?report=passwords&file=csv").status_code == 422


def test_staff_get_only_what_they_may_see(client, db):
    helper = User.objects.create_user("helper", is_staff=True)
    client.force_login(helper)
    assert client.get("/admin/exports/").status_code == 403
    assert "/admin/exports/" not in client.get("/admin/").content.decode()

    helper.user_permissions.add(Permission.objects.get(codename="view_ledgerentry"))

    page = client.get("/admin/exports/")
    assert [name for name, _ in page.context["form"].fields["report"].choices] == ["ledger"]
    assert client.get("/admin/exports/?report=ledger&file=csv").status_code == 200
    for other in ("history", "usage", "usage_by_group"):
        assert client.get(f"/admin/exports/?report={other}&file=csv").status_code == 422


def test_members_and_strangers_get_nothing(client, alice):
    assert client.get("/admin/exports/?report=ledger&file=csv").status_code == 302
    client.force_login(alice)
    answer = client.get("/admin/exports/?report=ledger&file=csv")
    assert (answer.status_code, answer.streaming) == (302, False)


def test_without_credits_there_is_no_ledger_to_export(admin, settings):
    settings.CREDITS_ENABLED = False

    assert admin.get("/admin/exports/?report=ledger&file=csv").status_code == 422


# ---------------------------------------------------------------- never held whole
def fill(alice, count):
    """Write so many grants at once, past the ledger's door."""
    account = book.account_for(user=alice)
    rows = [
        (account.pk, "GRANT", 1, 0, f"fill:{count}:{n}", "x" * 100, "", datetime.now(tz=UTC))
        for n in range(count)
    ]
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO credit_ledger"
            " (account_id, kind, amount, charged, reference, reason, actor, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [(*row[:-1], adapt(row[-1])) for row in rows],
        )


@pytest.mark.parametrize("file", ["csv", "json"])
def test_twenty_times_the_rows_do_not_take_many_times_the_memory(alice, monkeypatch, file):
    monkeypatch.setattr(ledger, "PAGE", 100)

    def peak():
        report = index.REPORTS["ledger"]
        count = 0
        tracemalloc.start()
        for piece in writing.pieces(report, asked=Asked(), format_name=file):
            count += piece.count("\n")
        _now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return count, most

    fill(alice, 200)
    peak()  # Fills the caches of the machinery.
    few, little = peak()
    fill(alice, 3800)
    many, much = peak()

    assert (few, many) == (200 + (file == "csv"), 4000 + (file == "csv"))
    # What Python has not swept yet makes some difference.
    assert much < 4 * little


def test_a_page_is_asked_for_when_its_turn_has_come_and_not_after_the_client_has_left(
    admin, alice, monkeypatch
):
    monkeypatch.setattr(ledger, "PAGE", 2)
    fill(alice, 9)
    answer = admin.get("/admin/exports/?report=ledger&file=json")

    with CaptureQueriesContext(connection) as queries:
        pieces = iter(answer.streaming_content)
        next(pieces)
        next(pieces)
        assert len(queries) == 2
        answer.close()
        assert list(pieces) == []
    assert len(queries) == 2


def test_no_transaction_is_open_between_two_pages(transactional_db, monkeypatch):
    monkeypatch.setattr(ledger, "PAGE", 2)
    alice = User.objects.create_user("alice")
    fill(alice, 5)
    pieces = writing.pieces(index.REPORTS["ledger"], asked=Asked(), format_name="json")

    next(pieces)

    assert not connection.in_atomic_block
    if connection.vendor == "sqlite":
        assert not connection.connection.in_transaction
        with connection.cursor() as cursor:
            # A statement that is still being read would keep the log from being emptied.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert cursor.fetchone()[0] == 0
    assert len("".join(pieces).splitlines()) == 3


def test_what_no_encoding_knows_is_replaced(admin, alice):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL refuses it already")
    task("flux", alice, parameters={"style": "a\ud800b"})

    [row] = sheet(body(admin.get("/admin/exports/?report=history&file=csv")))

    assert row["parameters"] == '{"style": "a?b"}'


def test_what_no_encoding_knows_is_replaced_by_the_command_as_well(alice, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL refuses it already")
    task("flux", alice, parameters={"style": "a\ud800b"})
    place = tmp_path / "history.csv"

    with place.open("w", encoding="utf-8") as file:
        call_command("export", "history", stdout=file)

    [row] = sheet(place.read_text())
    assert row["parameters"] == '{"style": "a?b"}'
