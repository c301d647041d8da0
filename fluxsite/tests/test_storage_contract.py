"""What the rest of the site may expect of a storage, whichever it is.

One suite for all: the disk, Tencent COS (the emulator, and a real bucket if there is one), and
Django's storage in memory, which shows that nothing here is peculiar to ours.
"""

from __future__ import annotations

import io
import os
import pickle
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage, Storage

from fluxsite.cos import COSStorage
from fluxsite.disk import DiskStorage
from fluxsite.tests.cos_emulator import CosEmulator


@dataclass
class Place:
    """A storage to test. `seed` puts a file there without the storage's help."""

    kind: str
    storage: Any
    overwrites: bool
    seed: Callable[[str, bytes], object]

    def lacks(self, *kinds: str, because: str) -> None:
        if self.kind in kinds:
            pytest.skip(because)


def disk(tmp_path: Path, *, overwrites: bool) -> Place:
    root = tmp_path / "media"
    root.mkdir()

    def seed(name: str, content: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    storage = DiskStorage(location=root, allow_overwrite=overwrites)
    return Place("disk", storage, overwrites, seed)


def bucket(cos: CosEmulator, *, overwrites: bool, location: str = "studio/pictures") -> Place:
    storage = COSStorage(**cos.options(file_overwrite=overwrites, location=location))
    return Place("cos", storage, overwrites, lambda n, c: cos.bucket.put(f"{location}/{n}", c, {}))


def memory() -> Place:
    storage = InMemoryStorage()
    return Place("memory", storage, False, lambda n, c: storage.save(n, ContentFile(c)))


@pytest.fixture(
    params=[
        *("disk", "disk that keeps", "memory", "cos", "cos that keeps"),
        pytest.param("real bucket", marks=[pytest.mark.real_bucket, pytest.mark.enable_socket]),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    kind, overwrites = request.param, "keeps" not in request.param
    if kind == "memory":
        yield memory()
    elif kind.startswith("disk"):
        yield disk(tmp_path, overwrites=overwrites)
    elif kind.startswith("cos"):
        yield bucket(request.getfixturevalue("cos"), overwrites=overwrites)
    else:
        options = request.getfixturevalue("real_bucket")
        storage = COSStorage(**options, location=f"fluxsite-test/{uuid.uuid4().hex}")
        yield Place("cos", storage, True, lambda n, c: storage.save(n, ContentFile(c)))
        for name, *_ in list(storage.walk()):
            storage.delete(name)


@pytest.fixture
def storage(place: Place) -> Any:
    return place.storage


def read(storage: Storage, name: str) -> bytes:
    with storage.open(name) as file:
        return file.read()


# ---------------------------------------------------------------- saving and reading
def test_what_is_saved_is_read_back(storage):
    name = storage.save("generated/2026/11/a.png", ContentFile(b"\x89PNG\r\n\x1a\n\x00\xff"))

    assert name == "generated/2026/11/a.png"
    assert read(storage, name) == b"\x89PNG\r\n\x1a\n\x00\xff"
    assert storage.exists(name)
    assert storage.size(name) == 10


def test_a_file_brings_its_own_name(storage):
    assert storage.save(None, ContentFile(b"1", name="own.txt")) == "own.txt"


def test_text_is_stored_whole_as_utf_8(storage):
    name = storage.save("poem.txt", ContentFile("床前明月光，疑是地上霜。"))

    assert read(storage, name) == "床前明月光，疑是地上霜。".encode()
    assert storage.size(name) == 36


@pytest.mark.parametrize("content", [b"", ""], ids=["bytes", "text"])
def test_an_empty_file_is_a_file(storage, content):
    name = storage.save("empty.txt", ContentFile(content))

    assert storage.exists(name)
    assert storage.size(name) == 0
    assert read(storage, name) == b""


def test_twenty_megabytes_pass_unchanged(storage):
    content = os.urandom(1_000_003) * 20
    with tempfile.TemporaryFile() as file:
        file.write(content)

        name = storage.save("large.bin", File(file))

    assert storage.size(name) == 20_000_060
    assert read(storage, name) == content


class Pipe(io.RawIOBase):
    """Can be read once, from front to back, and no more than asked for."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.readinto(memoryview(buffer)[:1000])


def test_content_that_can_be_read_only_once_is_stored(storage):
    content = bytes(range(256)) * 300
    source = Pipe(content)
    source.name = "pipe"

    name = storage.save("piped.bin", File(io.BufferedReader(source), name="pipe"))

    assert read(storage, name) == content


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_file_is_stored_from_its_beginning_wherever_it_stands(storage, tmp_path, kind):
    if kind == "memory":
        file: Any = io.BytesIO(b"from the beginning")
    else:
        (tmp_path / "source").write_bytes(b"from the beginning")
        file = (tmp_path / "source").open("rb")
    with file:
        file.seek(9)

        name = storage.save("whole.txt", File(file))

    assert read(storage, name) == b"from the beginning"


def test_what_a_file_has_not_written_yet_is_stored_too(storage):
    with tempfile.TemporaryFile() as file:
        file.write(b"written" * 5000)
        file.write(b"still in a buffer")

        name = storage.save("buffered.txt", File(file))

    assert read(storage, name) == b"written" * 5000 + b"still in a buffer"


def test_a_file_that_unpacks_is_stored_unpacked(storage, tmp_path):
    import gzip

    with gzip.open(tmp_path / "packed.gz", "wb") as packed:
        packed.write(b"what was packed")

    with gzip.open(tmp_path / "packed.gz", "rb") as packed:
        name = storage.save("unpacked.txt", File(packed))

    assert read(storage, name) == b"what was packed"


class Broken(io.BytesIO):
    """Half of a file, then the disk it is on is gone."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError("the source is gone")
        return super().read(1000)


def test_content_that_breaks_off_leaves_what_was_there(place, storage):
    place.lacks("memory", because="writes as it reads")
    storage.save("kept.txt", ContentFile(b"as it was"))

    with pytest.raises(OSError, match="the source is gone"):
        storage.save("kept.txt", File(Broken(b"x" * 5000), name="broken"))
    with pytest.raises(OSError, match="the source is gone"):
        storage.save("never.txt", File(Broken(b"x" * 5000), name="broken"))

    assert read(storage, "kept.txt") == b"as it was"
    assert storage.listdir("")[1] == ["kept.txt"]


# ---------------------------------------------------------------- names that are taken
def test_a_taken_name_is_taken_over_or_left_alone(place, storage):
    first = storage.save("a/same.tar.gz", ContentFile(b"first"))

    second = storage.save("a/same.tar.gz", ContentFile(b"second, and longer"))

    if place.overwrites:
        assert second == first == "a/same.tar.gz"
        assert read(storage, first) == b"second, and longer"
    else:
        assert second != first
        assert (second[:7], second[-7:]) == ("a/same_", ".tar.gz")
        assert (read(storage, first), read(storage, second)) == (b"first", b"second, and longer")


def test_a_file_can_be_saved_over_itself(place, storage):
    content = os.urandom(200_000)
    name = storage.save("self.bin", ContentFile(content))

    with storage.open(name) as file:
        again = storage.save(name, file)

    assert (again == name) is place.overwrites
    assert read(storage, name) == read(storage, again) == content


def test_savers_of_one_name_do_not_mix(place, storage):
    place.lacks("memory", because="is for one thread")
    contents = [bytes([number]) * 300_000 for number in range(8)]
    saved: dict[str, bytes] = {}
    ready = threading.Barrier(len(contents))

    def save(content: bytes) -> None:
        ready.wait()
        saved[storage.save("race.bin", ContentFile(content))] = content

    threads = [threading.Thread(target=save, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    if place.overwrites:
        assert list(saved) == ["race.bin"]
        assert read(storage, "race.bin") in contents
    else:
        assert sorted(saved.values()) == contents
        assert {name: read(storage, name) for name in saved} == saved


# ---------------------------------------------------------------- names
NAMES = [
    "with space.txt",
    "per%cent%20%2F.txt",
    "what?really=1&x.txt",
    "hash#1.txt",
    "plus+plus.txt",
    "图片/床前明月光.png",
    "emoji-🎨-👩🏽‍🎨.png",
    'it\'s "quoted" `here`.txt',
    "a;b=c,d:e@f$g!.txt",
    "<tag> & [brackets] {braces} | ^.txt",
    "dot./dot.txt",
    "..two.dots..txt",
    "~home.txt",
    ".hidden",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_is_a_name(storage, name):
    directory, _, last = name.rpartition("/")

    assert storage.save(name, ContentFile(name)) == name

    assert read(storage, name) == name.encode()
    assert storage.exists(name)
    assert storage.size(name) == len(name.encode())
    assert storage.listdir(directory)[1] == [last]
    storage.delete(name)
    assert not storage.exists(name)


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt"])
def test_a_name_that_leads_out_is_refused(storage, name):
    acts = [
        lambda: storage.save(name, ContentFile(b"x")),
        lambda: storage.open(name),
        lambda: storage.exists(name),
        lambda: storage.size(name),
        lambda: storage.get_modified_time(name),
        lambda: storage.delete(name),
        lambda: storage.listdir(name),
    ]
    for act in acts:
        with pytest.raises(SuspiciousFileOperation):
            act()


def test_a_name_that_is_too_long_is_shortened_before_its_ending(storage):
    name = storage.save(f"a/{'long' * 20}.png", ContentFile(b"x"), max_length=20)

    assert name.startswith("a/long")
    assert name.endswith(".png")
    assert len(name) == 20
    assert storage.exists(name)


def test_a_taken_name_stays_short_as_well(place, storage):
    name = f"a/{'b' * 14}.png"
    storage.save(name, ContentFile(b"1"), max_length=20)

    again = storage.save(name, ContentFile(b"2"), max_length=20)

    assert len(again) <= 20
    assert read(storage, again) == b"2"
    assert (read(storage, name) == b"1") is not place.overwrites


def test_a_name_that_cannot_be_shortened_is_refused(storage):
    with pytest.raises(SuspiciousFileOperation):
        storage.save("directory/name.png", ContentFile(b"x"), max_length=12)


def test_a_name_no_file_system_takes_is_an_error(place, storage):
    place.lacks("memory", because="takes it")
    with pytest.raises(OSError, match="name too long"):
        storage.save("x" * 900, ContentFile(b"x"))


# ---------------------------------------------------------------- opening
def test_what_is_not_there_cannot_be_opened(storage):
    with pytest.raises(FileNotFoundError):
        storage.open("missing.txt")
    with pytest.raises(FileNotFoundError):
        storage.size("missing.txt")
    with pytest.raises(FileNotFoundError):
        storage.get_modified_time("missing.txt")


def test_a_file_is_read_in_pieces(place, storage):
    storage.save("pieces.txt", ContentFile(b"one\ntwo\nthree\n" * 10_000))

    with storage.open("pieces.txt") as file:
        assert file.read(5) == b"one\nt"
        assert file.tell() == 5
        assert file.readline() == b"wo\n"
        assert file.seek(-6, io.SEEK_END) == 139_994
        assert file.read() == b"three\n"
        assert file.read() == b""
        file.seek(0)
        assert len(list(file)) == 30_000
        assert [len(chunk) for chunk in file.chunks(65_536)] == [65_536, 65_536, 8928]
        assert file.size == 140_000
        assert file.name.endswith("pieces.txt")
    assert file.closed or place.kind == "memory"


def test_a_file_opened_to_read_is_not_written(place, storage):
    place.lacks("memory", because="lets it be written")
    storage.save("fixed.txt", ContentFile(b"fixed"))

    with storage.open("fixed.txt") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")

    assert read(storage, "fixed.txt") == b"fixed"


def test_a_file_can_be_written_in_pieces(place, storage):
    place.lacks("memory", because="writes into what was there")
    storage.save("written.txt", ContentFile(b"something longer from before"))

    with storage.open("written.txt", "wb") as file:
        file.write(b"one, ")
        file.write(b"two")

    assert read(storage, "written.txt") == b"one, two"


def test_a_file_opened_to_write_and_left_is_empty(storage):
    storage.open("blank.txt", "wb").close()

    assert storage.size("blank.txt") == 0


def test_closing_twice_is_closing(place, storage):
    place.lacks("memory", because="has nothing to close")
    storage.save("a.txt", ContentFile(b"a"))
    file = storage.open("a.txt")

    file.close()
    file.close()

    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_two_readers_do_not_disturb_each_other(place, storage):
    place.lacks("memory", because="has one position for all")
    storage.save("shared.txt", ContentFile(b"0123456789"))

    with storage.open("shared.txt") as one, storage.open("shared.txt") as other:
        assert one.read(4) == b"0123"
        assert other.read() == b"0123456789"
        assert one.read() == b"456789"


# ---------------------------------------------------------------- facts about a file
def test_a_file_knows_when_it_changed(storage):
    before = datetime.now(UTC) - timedelta(seconds=1)
    storage.save("now.txt", ContentFile(b"x"))

    changed = storage.get_modified_time("now.txt")

    assert changed.utcoffset() == timedelta(0)
    # A storage may live on another machine, and count in whole seconds.
    assert before - timedelta(minutes=1) < changed < datetime.now(UTC) + timedelta(minutes=1)


def test_what_is_deleted_is_gone_and_deleting_it_again_is_no_error(storage):
    storage.save("gone.txt", ContentFile(b"x"))

    storage.delete("gone.txt")
    storage.delete("gone.txt")

    assert not storage.exists("gone.txt")
    with pytest.raises(FileNotFoundError):
        storage.open("gone.txt")


def test_nothing_is_no_name_to_delete(place, storage):
    place.lacks("memory", because="deletes nothing then")
    storage.save("stays.txt", ContentFile(b"x"))

    with pytest.raises(ValueError, match="name must be given"):
        storage.delete("")

    assert storage.exists("stays.txt")


# ---------------------------------------------------------------- lists
def test_directories_and_files_are_listed(storage):
    for name in ("top.txt", "b/one.txt", "b/two.txt", "b/c/deep.txt", "d/e/f.txt", "b.txt"):
        storage.save(name, ContentFile(b"x"))

    def listed(path: str) -> tuple[list[str], list[str]]:
        directories, files = storage.listdir(path)
        return sorted(directories), sorted(files)

    assert listed("") == (["b", "d"], ["b.txt", "top.txt"])
    assert listed("b") == (["c"], ["one.txt", "two.txt"])
    assert listed("b/c/") == ([], ["deep.txt"])
    assert listed("d") == (["e"], [])


def test_an_empty_storage_lists_nothing(storage):
    assert storage.listdir("") == ([], [])


def test_more_than_a_thousand_files_are_all_listed(place, storage):
    expected = {f"many/{number:04}.txt": number % 7 for number in range(1100)}
    for name, size in expected.items():
        place.seed(name, b"x" * size)

    directories, files = storage.listdir("many")

    assert directories == []
    assert sorted(f"many/{each}" for each in files) == list(expected)
    if place.kind != "memory":
        assert {name: size for name, size, _ in storage.walk()} == expected


def test_more_than_a_thousand_directories_are_all_listed(place, storage):
    for number in range(1050):
        place.seed(f"many/{number:04}/file.txt", b"x")

    directories, files = storage.listdir("many")

    assert sorted(directories) == [f"{number:04}" for number in range(1050)]
    assert files == []


def test_a_walk_tells_name_size_and_time_of_everything(place, storage):
    place.lacks("memory", because="is Django's own")
    before = datetime.now(UTC) - timedelta(minutes=1)
    for name in ("a.txt", "b/中文 1.txt", "b/c/d.txt"):
        storage.save(name, ContentFile(name))

    found = sorted(storage.walk())

    assert [(name, size) for name, size, _ in found] == [
        ("a.txt", 5),
        ("b/c/d.txt", 9),
        ("b/中文 1.txt", 14),
    ]
    assert all(before < time < datetime.now(UTC) + timedelta(minutes=1) for *_, time in found)
    assert {time.utcoffset() for *_, time in found} == {timedelta(0)}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["ab/1.txt", "ab/c/2.txt", "abc.txt", "b/1.txt"]),
        ("ab", ["ab/1.txt", "ab/c/2.txt", "abc.txt"]),
        ("ab/", ["ab/1.txt", "ab/c/2.txt"]),
        ("ab/c", ["ab/c/2.txt"]),
        ("nothing", []),
        ("../", []),
    ],
)
def test_a_walk_can_be_held_to_a_beginning(place, storage, prefix, expected):
    place.lacks("memory", because="is Django's own")
    for name in ("ab/1.txt", "ab/c/2.txt", "abc.txt", "b/1.txt"):
        storage.save(name, ContentFile(b"x"))

    assert sorted(name for name, *_ in storage.walk(prefix)) == expected


# ---------------------------------------------------------------- as a part of a program
def test_a_copy_by_pickle_is_the_same_storage(place, storage):
    place.lacks("memory", because="lives in its own process")
    storage.save("before.txt", ContentFile(b"before"))

    copy = pickle.loads(pickle.dumps(storage))
    copy.save("after.txt", ContentFile(b"after"))

    assert read(copy, "before.txt") == b"before"
    assert read(storage, "after.txt") == b"after"


def test_a_storage_can_be_made_again_from_what_it_tells_migrations(place, storage):
    place.lacks("memory", because="lives in its own process")
    storage.save("before.txt", ContentFile(b"before"))
    path, arguments, options = storage.deconstruct()

    copy = type(storage)(*arguments, **options)

    assert path in ("fluxsite.disk.DiskStorage", "fluxsite.cos.COSStorage")
    assert read(copy, "before.txt") == b"before"


def test_parent_and_child_of_a_fork_both_go_on(place, storage):
    place.lacks("memory", because="lives in its own process")
    storage.save("parent.txt", ContentFile(b"of the parent"))

    with warnings.catch_warnings():
        # Python warns of threads that do not come along; ours only wait for connections.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            storage.save("child.txt", ContentFile(read(storage, "parent.txt")[::-1]))
            status = 0
        finally:
            os._exit(status)
    while_it_runs = [read(storage, "parent.txt") for _ in range(5)]
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert read(storage, "child.txt") == b"tnerap eht fo"
    assert set(while_it_runs) == {b"of the parent"}
