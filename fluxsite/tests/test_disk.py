"""What only the disk has: processes killed in the middle, full file systems, permissions."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File

from fluxsite import disk
from fluxsite.disk import DiskStorage


@pytest.fixture
def root(tmp_path):
    return tmp_path / "media"


@pytest.fixture
def storage(root):
    return DiskStorage(location=root, allow_overwrite=True)


@pytest.fixture
def without_nameless_files(monkeypatch):
    """A file system on which every draft needs a name, such as that of a network."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def files_below(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


def kill_in_the_middle(save: Callable[[File], object]) -> None:
    """Kill a process that has read a megabyte of what it saves, and waits for more."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(writer)
        try:
            save(File(os.fdopen(reader, "rb"), name="pipe"))
        finally:
            os._exit(1)
    os.close(reader)
    # A pipe holds 64 KiB: what else went in has been read.
    for _ in range(16):
        os.write(writer, b"x" * 65_536)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writer)


# ---------------------------------------------------------------- whole or not there
def test_a_killed_process_leaves_nothing(storage, root):
    kill_in_the_middle(lambda file: storage.save("a/new.png", file))

    assert not storage.exists("a/new.png")
    assert files_below(root) == []


def test_a_killed_process_leaves_what_was_there(storage, root):
    storage.save("a/old.png", ContentFile(b"from before"))

    kill_in_the_middle(lambda file: storage.save("a/old.png", file))

    assert files_below(root) == ["a/old.png"]
    assert (root / "a/old.png").read_bytes() == b"from before"


@pytest.mark.usefixtures("without_nameless_files")
def test_a_draft_with_a_name_is_out_of_sight_and_swept_when_it_is_old(storage, root):
    storage.save("a/old.png", ContentFile(b"from before"))
    kill_in_the_middle(lambda file: storage.save("a/old.png", file))
    (draft,) = [path for path in files_below(root) if path != "a/old.png"]

    assert draft.startswith(".tmp/")
    assert (root / "a/old.png").read_bytes() == b"from before"
    assert [name for name, *_ in storage.walk()] == ["a/old.png"]
    assert storage.listdir("") == (["a"], [])
    assert storage.remove_stale_temporaries(timedelta(hours=1)) == 0
    os.utime(root / draft, (0, 0))
    assert storage.remove_stale_temporaries(timedelta(hours=1)) == 1
    assert files_below(root) == ["a/old.png"]


def test_sweeping_where_nothing_was_ever_saved_finds_nothing(storage):
    assert storage.remove_stale_temporaries(timedelta()) == 0


@pytest.mark.usefixtures("without_nameless_files")
def test_drafts_with_names_become_files_and_leave_nothing(storage, root):
    storage.save("a.png", ContentFile(b"one"))
    storage.save("a.png", ContentFile(b"two"))
    keeps = DiskStorage(location=root)
    other = keeps.save("a.png", ContentFile(b"three"))

    assert (root / "a.png").read_bytes() == b"two"
    assert (root / other).read_bytes() == b"three"
    assert files_below(root) == sorted(["a.png", other])


@pytest.mark.usefixtures("without_nameless_files")
def test_a_file_system_without_links_will_do(storage, root, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    storage.save("a.png", ContentFile(b"one"))
    storage.save("a.png", ContentFile(b"two"))

    assert files_below(root) == ["a.png"]
    assert (root / "a.png").read_bytes() == b"two"


def test_overwriting_leaves_no_draft(storage, root):
    for number in range(5):
        storage.save("a.png", ContentFile(str(number)))

    assert files_below(root) == ["a.png"]
    assert (root / "a.png").read_bytes() == b"4"


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(storage):
    contents = [bytes([number]) * 100_000 for number in range(4)]
    storage.save("a.bin", ContentFile(contents[0]))
    ended = threading.Event()

    def overwrite() -> None:
        for turn in range(40):
            storage.save("a.bin", ContentFile(contents[turn % 4]))
        ended.set()

    writer = threading.Thread(target=overwrite)
    writer.start()
    seen = set()
    while not ended.is_set():
        with storage.open("a.bin") as file:
            seen.add(file.read())
    writer.join()

    assert seen <= set(contents)


@pytest.fixture
def small_disk(root):
    """64 KiB for pictures."""
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(root)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield root
    busy = subprocess.run(["umount", str(root)], check=False).returncode
    if busy:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
    assert not busy, "a descriptor was left open"


@pytest.mark.parametrize("named", [False, True])
def test_a_full_disk_keeps_what_was_there_and_nothing_else(
    storage, small_disk, named, request, tmp_path
):
    if named:
        request.getfixturevalue("without_nameless_files")
    storage.save("a.png", ContentFile(b"from before"))
    (tmp_path / "large").write_bytes(b"x" * 200_000)

    with pytest.raises(OSError, match="No space left on device"):
        storage.save("a.png", ContentFile(b"x" * 200_000))
    with (tmp_path / "large").open("rb") as file, pytest.raises(OSError, match="No space left"):
        storage.save("b.png", File(file))

    assert files_below(small_disk) == ["a.png"]
    assert (small_disk / "a.png").read_bytes() == b"from before"


def test_a_file_where_a_directory_should_be_is_named(storage, root):
    root.mkdir()
    (root / "generated").write_text("in the way")

    with pytest.raises(FileExistsError, match="generated exists and is not a directory"):
        storage.save("generated/a.png", ContentFile(b"x"))

    assert files_below(root) == ["generated"]


# ---------------------------------------------------------------- whose files they are
@pytest.mark.parametrize("named", [False, True])
def test_nobody_else_on_the_machine_reads_along(settings, storage, root, request, named):
    if named:
        request.getfixturevalue("without_nameless_files")
    assert settings.FILE_UPLOAD_PERMISSIONS == 0o600
    before = os.umask(0)
    try:
        storage.save("a/b/c.png", ContentFile(b"x"))
    finally:
        os.umask(before)

    modes = [stat.S_IMODE((root / path).stat().st_mode) for path in ("a", "a/b", "a/b/c.png")]
    assert modes == [0o700, 0o700, 0o600]


def test_other_permissions_can_be_chosen(root):
    storage = DiskStorage(location=root, file_permissions_mode=0o640)

    storage.save("a.png", ContentFile(b"x"))

    assert stat.S_IMODE((root / "a.png").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", [".tmp/x", ".tmp", "a/../.tmp/x"])
def test_the_place_for_drafts_is_not_for_names(storage, name):
    for act in (storage.open, storage.exists, storage.delete, storage.listdir):
        with pytest.raises(SuspiciousFileOperation):
            act(name)


def test_a_walk_follows_no_link_out_of_the_storage(storage, root, tmp_path):
    storage.save("a.png", ContentFile(b"x"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "file").symlink_to(tmp_path / "outside/secret")

    assert [name for name, *_ in storage.walk()] == ["a.png"]


def test_a_walk_where_nothing_was_ever_saved_finds_nothing(storage):
    assert list(storage.walk()) == []


# ---------------------------------------------------------------- copying in the kernel
WAYS = [(), ("copy_file_range",), ("copy_file_range", "sendfile")]


@pytest.mark.parametrize("missing", WAYS, ids=["range", "sendfile", "neither"])
@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_every_way_to_copy_gives_the_same_file(storage, root, tmp_path, monkeypatch, missing, size):
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)
    content = os.urandom(size)
    (tmp_path / "source").write_bytes(content)

    with (tmp_path / "source").open("rb") as file:
        storage.save("copy.bin", File(file))

    assert (root / "copy.bin").read_bytes() == content


@pytest.mark.parametrize("moved", [0, 1000])
def test_a_kernel_that_gives_up_is_helped_out(storage, root, tmp_path, monkeypatch, moved):
    """Nothing copied, or the first part and no more."""
    real = os.copy_file_range

    def give_up(source: int, target: int, count: int, start: int, to: int) -> int:
        if moved == 0:
            raise OSError(disk.errno.EXDEV, "cross-device")
        return real(source, target, moved, start, to) if start == 0 else 0

    monkeypatch.setattr(os, "copy_file_range", give_up)
    content = os.urandom(50_000)
    (tmp_path / "source").write_bytes(content)

    with (tmp_path / "source").open("rb") as file:
        storage.save("copy.bin", File(file))

    assert (root / "copy.bin").read_bytes() == content


def test_a_file_the_kernel_makes_up_is_read(storage, root):
    with Path("/proc/self/cmdline").open("rb") as file:
        storage.save("made-up.txt", File(file))

    assert b"py" in (root / "made-up.txt").read_bytes()


def test_text_of_a_file_opened_as_text_is_stored_as_utf_8(storage, root, tmp_path):
    (tmp_path / "poem.txt").write_text("床前明月光", encoding="gb18030")

    with (tmp_path / "poem.txt").open(encoding="gb18030") as file:
        storage.save("poem.txt", File(file))
    storage.save("other.txt", File(io.StringIO("明月")))

    assert (root / "poem.txt").read_text(encoding="utf-8") == "床前明月光"
    assert (root / "other.txt").read_text(encoding="utf-8") == "明月"
