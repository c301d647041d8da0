"""The gate in front of SQLite's write lock: real threads, real processes, real signals."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connections, transaction

from fluxsite.sqlite.gate import Gate

ALIAS = "gated"

# Uses the database named by its first argument. The second one is what to do.
OTHER_PROCESS = """
import os, signal, sys, threading
from django.conf import settings

options = {"transaction_mode": "IMMEDIATE", "timeout": 20}
database = {"ENGINE": "fluxsite.sqlite", "NAME": sys.argv[1], "OPTIONS": options}
settings.configure(DATABASES={"default": database})
import django

django.setup()
from django.db import connection, transaction
from fluxsite.sqlite.gate import gate_of

def tell(what):
    print(what, flush=True)

def write(kind):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO notes (kind) VALUES (%s)", [kind])

def hold():
    with transaction.atomic():
        write("held")
        tell("holding")
        sys.stdin.readline()

def count(times):
    for _ in range(times):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT n FROM counter")
            (n,) = cursor.fetchone()
            cursor.execute("UPDATE counter SET n = %s", [n + 1])
    connection.close()

def count_in_threads():
    threads = [threading.Thread(target=count, args=(10,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def fork_while_holding():
    with transaction.atomic():
        write("held")
        child = os.fork()
        if child == 0:
            signal.pause()
        tell(child)
        signal.pause()

def fork_beside_a_holder():
    holding = threading.Event()

    # Of the gate alone: what SQLite itself knows of locks does not survive a fork.
    def hold_in_thread():
        gate = gate_of(sys.argv[1])
        gate.enter(timeout=20)
        holding.set()
        sys.stdin.readline()
        gate.leave()

    thread = threading.Thread(target=hold_in_thread)
    thread.start()
    holding.wait()
    if os.fork() == 0:
        tell("waiting")
        write("child")
        tell("written")
        os._exit(0)
    thread.join()
    os.wait()

globals()[sys.argv[2]]()
"""


@pytest.fixture
def database(tmp_path, django_db_blocker):
    """A database of its own, whatever the suite runs on."""
    path = tmp_path / "some.sqlite3"
    connections.settings[ALIAS] = {
        **connections.settings["default"],
        "ENGINE": "fluxsite.sqlite",
        "NAME": path,
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 0.3},
    }
    with django_db_blocker.unblock():
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("CREATE TABLE counter (n INTEGER)")
            cursor.execute("INSERT INTO counter VALUES (0)")
            cursor.execute(
                "CREATE TABLE notes (id INTEGER PRIMARY KEY, kind TEXT, parent INTEGER"
                " REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)"
            )
        yield path
        connections[ALIAS].close()
    del connections[ALIAS]
    del connections.settings[ALIAS]


@pytest.fixture
def other_process(database):
    """Start a process that works on the database too; it is killed at the end."""
    with ExitStack() as stack:

        def start(what):
            process = subprocess.Popen(
                [sys.executable, "-c", OTHER_PROCESS, str(database), what],
                cwd=settings.BASE_DIR,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def holder(other_process):
    """Another process in the middle of a transaction. A line lets it commit."""
    process = other_process("hold")
    assert process.stdout.readline() == "holding\n"
    return process


def patience(seconds):
    connections.settings[ALIAS]["OPTIONS"]["timeout"] = seconds
    connections[ALIAS].close()


def write(kind="ours"):
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("INSERT INTO notes (kind) VALUES (%s)", [kind])


def notes():
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT kind FROM notes ORDER BY id")
        return [kind for (kind,) in cursor.fetchall()]


def in_thread(function):
    """Run a function in a thread with a connection of its own; return or raise what it does."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except Exception as error:  # noqa: BLE001 - raised again below
            outcome.append(error)
        finally:
            connections[ALIAS].close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


# ---------------------------------------------------------------- taking turns
def test_many_threads_of_many_processes_lose_no_update(database, other_process):
    processes = [other_process("count_in_threads") for _ in range(3)]

    assert [process.wait() for process in processes] == [0, 0, 0]

    with connections[ALIAS].cursor() as cursor:
        assert cursor.execute("SELECT n FROM counter").fetchone() == (150,)


def test_a_transaction_waits_for_one_of_another_process(holder):
    patience(20)
    threading.Timer(0.2, lambda: (holder.stdin.write("\n"), holder.stdin.flush())).start()

    with transaction.atomic(using=ALIAS):
        write()

    assert notes() == ["held", "ours"]


def test_a_single_statement_waits_too(holder):
    patience(20)
    threading.Timer(0.2, lambda: (holder.stdin.write("\n"), holder.stdin.flush())).start()

    write()

    assert notes() == ["held", "ours"]


def test_a_single_statement_that_reads_does_not_wait(holder):
    assert notes() == []


def test_a_transaction_holds_its_turn_through_its_savepoints(database):
    with transaction.atomic(using=ALIAS):
        with transaction.atomic(using=ALIAS):
            write("inner")
        with pytest.raises(OperationalError, match="database is locked"):
            in_thread(write)

    assert notes() == ["inner"]


def test_whoever_knows_no_gate_is_waited_for_as_ever(database):
    patience(20)
    outsider = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    outsider.execute("BEGIN IMMEDIATE")
    outsider.execute("INSERT INTO notes (kind) VALUES ('outsider')")
    threading.Timer(0.2, outsider.commit).start()

    write()

    outsider.close()
    assert notes() == ["outsider", "ours"]


# ---------------------------------------------------------------- when somebody does not end
def test_a_killed_holder_is_out_of_the_way(holder):
    patience(20)
    holder.kill()

    with transaction.atomic(using=ALIAS):
        write()

    assert notes() == ["ours"]


@pytest.mark.parametrize("behind", [write, transaction.atomic(using=ALIAS)(write)])
def test_behind_a_stopped_holder_the_wait_ends_and_nothing_is_half_done(holder, behind):
    holder.send_signal(signal.SIGSTOP)

    with pytest.raises(OperationalError, match="database is locked"):
        behind()

    assert not connections[ALIAS].in_atomic_block
    assert notes() == []
    holder.send_signal(signal.SIGCONT)
    holder.communicate("\n")
    write()
    assert notes() == ["held", "ours"]


def test_behind_a_thread_that_does_not_end_the_wait_ends_too(database):
    with transaction.atomic(using=ALIAS):
        with pytest.raises(OperationalError, match="database is locked"):
            in_thread(write)
        write()

    in_thread(write)
    assert notes() == ["ours", "ours"]


# ---------------------------------------------------------------- every way to end a turn
def commit():
    with transaction.atomic(using=ALIAS):
        write("kept")


@transaction.atomic(using=ALIAS)
def write_and_raise(exception):
    write()
    raise exception


def raise_an_exception():
    with pytest.raises(ZeroDivisionError):
        write_and_raise(ZeroDivisionError)


def roll_back():
    with transaction.atomic(using=ALIAS):
        write()
        transaction.set_rollback(True, using=ALIAS)


def fail_to_commit():
    with (
        pytest.raises(IntegrityError),
        transaction.atomic(using=ALIAS),
        connections[ALIAS].cursor() as cursor,
    ):
        cursor.execute("INSERT INTO notes (parent) VALUES (12345)")


def close_in_the_middle():
    with transaction.atomic(using=ALIAS):
        write()
        connections[ALIAS].close()


def fail_to_begin():
    connections[ALIAS].ensure_connection()
    outsider = sqlite3.connect(connections[ALIAS].settings_dict["NAME"], isolation_level=None)
    outsider.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"), transaction.atomic(using=ALIAS):
        write()
    outsider.close()


def fail_in_a_single_statement():
    with pytest.raises(OperationalError), connections[ALIAS].cursor() as cursor:
        cursor.execute("INSERT INTO nowhere VALUES (1)")


def interrupt_the_commit():
    def interrupted():
        raise KeyboardInterrupt

    wrapper = connections[ALIAS]
    wrapper.commit = interrupted
    with pytest.raises(KeyboardInterrupt), transaction.atomic(using=ALIAS):
        write("kept")
    del wrapper.commit


def switch_autocommit_off_and_on():
    wrapper = connections[ALIAS]
    wrapper.set_autocommit(False)
    write("kept")
    wrapper.commit()
    wrapper.set_autocommit(True)


def begin_and_commit_by_hand():
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("BEGIN")
        write("kept")
        cursor.execute("COMMIT")


def die_in_a_thread():
    thread = threading.Thread(target=transaction.atomic(using=ALIAS).__enter__)
    thread.start()
    thread.join()
    gc.collect()


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (commit, ["kept"]),
        (raise_an_exception, []),
        (roll_back, []),
        (fail_to_commit, []),
        (close_in_the_middle, []),
        (fail_to_begin, []),
        (fail_in_a_single_statement, []),
        (interrupt_the_commit, ["kept"]),
        (switch_autocommit_off_and_on, ["kept"]),
        (begin_and_commit_by_hand, ["kept"]),
        (die_in_a_thread, []),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the thread that dies
def test_the_turn_ends_however_a_transaction_does(database, other_process, end, kept):
    end()

    in_thread(lambda: write("next"))
    process = other_process("hold")
    assert process.stdout.readline() == "holding\n"
    process.communicate("\n")
    assert notes() == [*kept, "next", "held"]


# ---------------------------------------------------------------- forks
def test_a_child_does_not_keep_the_turn_of_its_killed_parent(database, other_process):
    parent = other_process("fork_while_holding")
    child = int(parent.stdout.readline())
    try:
        patience(20)
        parent.kill()
        parent.wait()

        write()

        assert notes() == ["ours"]
        os.kill(child, 0)  # It lives.
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_waits_for_a_thread_of_its_parent(database, other_process):
    parent = other_process("fork_beside_a_holder")
    assert parent.stdout.readline() == "waiting\n"
    time.sleep(0.1)

    write_in_the_way = notes()
    out, _err = parent.communicate("\n")

    assert write_in_the_way == []
    assert (out, parent.returncode) == ("written\n", 0)
    assert notes() == ["child"]


# ---------------------------------------------------------------- files
def test_the_file_is_as_accessible_as_the_database(tmp_path):
    path = tmp_path / "some.sqlite3"
    path.touch()
    path.chmod(0o640)

    Gate(str(path)).close()

    gate = path.with_name("some.sqlite3-gate")
    assert stat.S_IMODE(gate.stat().st_mode) == 0o640


def test_a_gate_that_cannot_be_opened_is_an_operational_error(database):
    connections[ALIAS].close()
    moved = database.rename(database.with_name("moved.sqlite3"))
    moved.with_name("moved.sqlite3-gate").symlink_to("/nowhere/gate")
    connections[ALIAS].settings_dict["NAME"] = moved

    with pytest.raises(OperationalError, match="unable to open the gate"):
        write()

    assert notes() == []


def test_a_database_in_memory_has_no_gate(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    connections.settings[ALIAS]["NAME"] = ":memory:"
    del connections[ALIAS]

    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, kind TEXT)")
        write()

    assert notes() == ["ours"]
    assert sorted(path.name for path in tmp_path.glob("*memory*")) == []
