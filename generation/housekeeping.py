"""What has to be done for pictures to be kept for ever: looked after every night, or by command.

    rearchive ─ what we gave up saving is tried again while the provider may still have it
    remove_orphans ─ files that belong to no row, such as a crash leaves behind
    count_storage ─ what each member's pictures take
    verify ─ files that are missing, or no longer what was stored
    copy ─ from one storage to another, such as from the disk to Tencent COS

Everything may be cut off and begun again. Only `remove_orphans` removes anything, and nothing
if there is suspiciously much of it: a database restored from a backup, or one that belongs to
another site, knows too few files, and nobody would get the others back.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Any, Literal, TypeVar

from django.core.files.storage import Storage, default_storage
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_q.tasks import async_task

from generation import lifecycle, presets, rates, storage
from generation.models import Picture, StorageUse, TaskImage, Upload

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Below these our pictures lie; nothing else in the storage is looked at.
PREFIXES = ("generated/", "uploads/")
#: A file without a row may be one whose row is about to be written.
GRACE = timedelta(hours=24)
#: More files without a row than this, and than a twentieth of all, are a mistake of ours.
FEW_ORPHANS = 100
ORPHANS_SHARE = 0.05
#: Rows looked up, files compared and files copied at a time.
BATCH = 500
COPIERS = 8
CHUNK_BYTES = 256 * 1024
#: What a nightly job may take, in seconds; well below the cluster's own limit.
NIGHTLY_SECONDS = 100.0
#: Every picture is read and compared once in so many nights.
VERIFIED_IN_NIGHTS = 256


# ---------------------------------------------------------------- every night
def nightly() -> None:
    """What a schedule calls: each job in a message of its own, so that none holds up another."""
    jobs = ("rearchive", "count_storage", "nightly_orphans", "nightly_verify")
    for job in (*jobs, "forget_presets", "forget_rates"):
        async_task(f"generation.housekeeping.{job}")


def nightly_orphans() -> None:
    storage.remove_leftovers(older_than=GRACE)
    found = remove_orphans(seconds=NIGHTLY_SECONDS)
    if found.is_suspicious:
        logger.error(
            "storage: %d of %d files belong to no row; none was removed. See whether this is "
            "the right database, then: manage.py remove_orphans --force",
            found.orphans,
            found.seen,
        )
    elif found.removed:
        logger.info("storage: removed %d files that belonged to no row", found.removed)


def forget_presets() -> None:
    presets.forget(now=timezone.now())


def forget_rates() -> None:
    rates.forget(now=timezone.now())


def nightly_verify() -> None:
    """Compare the files of some pictures; in the course of months, of all."""
    night = timezone.now().toordinal() % VERIFIED_IN_NIGHTS
    end = time.monotonic() + NIGHTLY_SECONDS
    for picture in pictures(id_ends_with=f"{night:02x}"):
        for damage in verify(picture):
            logger.error("storage: %s", damage)
        if time.monotonic() > end:
            return


def rearchive(*, older_than: timedelta = lifecycle.RESULTS_KEPT) -> int:
    """Have pictures saved again that were given up. Returns their number.

    Those that were never tried were brought over to be shown from where they are. Those that came longer ago than `older_than` are let be: no provider keeps them.
    """
    now = timezone.now()
    given_up = TaskImage.objects.filter(
        stored_at=None,
        next_action_at=None,
        store_attempts__gt=0,
        created_at__gt=now - older_than,
    ).exclude(provider_url="")
    return given_up.update(next_action_at=now)


# ---------------------------------------------------------------- what members use
def count_storage() -> int:
    """Count anew what each member's pictures take. Returns the number of members with any."""
    now = timezone.now()
    uses: dict[int, StorageUse] = {}
    for model, column in ((TaskImage, "pictures"), (Upload, "uploads")):
        stored = model.objects.exclude(storage_key="").order_by().values("user")
        sizes = Coalesce(Sum("byte_size"), 0) + Coalesce(Sum("thumbnails_size"), 0)
        for row in stored.annotate(number=Count("pk"), size=sizes):
            use = uses.setdefault(row["user"], StorageUse(user_id=row["user"], counted_at=now))
            setattr(use, column, row["number"])
            use.byte_size += row["size"]
    with transaction.atomic():
        StorageUse.objects.exclude(user__in=uses).delete()
        StorageUse.objects.bulk_create(
            uses.values(),
            update_conflicts=True,
            unique_fields=["user"],
            update_fields=["pictures", "uploads", "byte_size", "counted_at"],
        )
    return len(uses)


# ---------------------------------------------------------------- files without a row
@dataclass(kw_only=True)
class Orphans:
    """What a search for files without a row found. `names` are some of them."""

    seen: int = 0
    orphans: int = 0
    removed: int = 0
    names: list[str] = field(default_factory=list)

    @property
    def is_suspicious(self) -> bool:
        return self.orphans > max(FEW_ORPHANS, ORPHANS_SHARE * self.seen)


def remove_orphans(
    *,
    remove: bool = True,
    force: bool = False,
    grace: timedelta = GRACE,
    seconds: float = float("inf"),
) -> Orphans:
    """Remove the files, older than `grace`, that belong to no row.

    Nothing is removed before all have been seen, so that many can be told from few; `force`
    removes many as well. After `seconds` those seen so far are judged.
    """
    found = Orphans()
    old = timezone.now() - grace
    end = time.monotonic() + seconds
    for batch in _batches(_files(default_storage)):
        known = _known_among([file.name for file in batch])
        orphans = [f.name for f in batch if f.name not in known and f.modified < old]
        found.seen += len(batch)
        found.orphans += len(orphans)
        found.names += orphans
        if time.monotonic() > end:
            break
    if remove and (force or not found.is_suspicious):
        for name in found.names:
            # Asked again: a picture may have been stored under that very name meanwhile.
            if not _known_among([name]):
                default_storage.delete(name)
                found.removed += 1
    return found


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    name: str
    size: int
    modified: datetime


def _files(where: Storage) -> Iterator[StoredFile]:
    """Return all files of pictures in a storage."""
    for prefix in PREFIXES:
        for name, size, modified in where.walk(prefix):  # type: ignore[attr-defined]
            yield StoredFile(name=name, size=size, modified=modified)


def _known_among(names: Sequence[str]) -> set[str]:
    """Return those of the names that a row knows as its picture or one of its thumbnails.

    Rows are found by the ids in the names, which have indexes; the keys have none.
    """
    tasks, users, stems = set(), set(), set()
    for name in names:
        *_place, folder, last = name.split("/")
        if name.startswith("generated/"):
            tasks.add(folder)
        elif folder.isdecimal():
            users.add(int(folder))
            stems.add(last.partition(".")[0].partition("-")[0])
    images = TaskImage.objects.filter(source__in=TaskImage.Source.values, task_id__in=tasks)
    # Uploads are named by their ids, the oldest ones by what they show.
    named = Q(pk__in=stems) | Q(user__in=users, pixel_hash__in=stems)
    uploads = Upload.objects.filter(named)
    rows: Iterable[Picture] = [*images, *uploads]
    return {key for row in rows if row.storage_key for key in keys_of(row)} & set(names)


def keys_of(picture: Picture) -> list[str]:
    """Return the names of all files of a stored picture, the original first."""
    thumbnails = [picture.thumbnail_key(width) for width in storage.THUMBNAIL_WIDTHS]
    return [picture.storage_key, *thumbnails]


# ---------------------------------------------------------------- files that are damaged
@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something wrong with a file of a picture."""

    picture: Picture
    name: str
    what: Literal["missing", "changed", "unreadable"]
    #: Whether `repair` can make the file again.
    is_thumbnail: bool = False

    def __str__(self) -> str:
        return f"{self.name} of {self.picture.pk} is {self.what}"


def verify(
    picture: Picture, *, read: bool = True, where: Storage = default_storage
) -> list[Damage]:
    """Return what is wrong with the files of a stored picture.

    With `read` the original is compared by its SHA-256; otherwise only sizes are looked at.
    """
    original, *thumbnails = keys_of(picture)
    damages = [
        Damage(picture=picture, name=name, what="missing", is_thumbnail=True)
        for name in thumbnails
        if not where.exists(name)
    ]
    what = _compare(picture, where, read=read and bool(picture.sha256))
    if what:
        damages.append(Damage(picture=picture, name=original, what=what))
    return damages


def _compare(
    picture: Picture, where: Storage, *, read: bool
) -> Literal["missing", "changed", "unreadable"] | None:
    try:
        if read:
            with where.open(picture.storage_key) as file:
                same = _digest(file) == picture.sha256
        else:
            same = where.size(picture.storage_key) == picture.byte_size
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
    return None if same else "changed"


def _digest(file: IO[Any]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def repair(damage: Damage) -> bool:
    """Make a missing thumbnail again from its picture. False: that is not what is missing."""
    if not damage.is_thumbnail:
        return False
    try:
        storage.make_thumbnails(key=damage.picture.storage_key)
    except (storage.CannotStore, OSError) as error:
        logger.warning("storage: %s cannot be made again: %s", damage.name, error)
        return False
    return True


# ---------------------------------------------------------------- from one storage to another
@dataclass(frozen=True, kw_only=True)
class Copied:
    """What became of one picture: files copied, bytes moved, or why not."""

    files: int = 0
    size: int = 0
    problem: str = ""


def copy_all(
    *, source: Storage, target: Storage, chosen: Iterable[Picture]
) -> Iterator[tuple[Picture, Copied]]:
    """Copy the files of pictures that the target has not got yet, several at a time."""
    with ThreadPoolExecutor(COPIERS) as pool:
        for batch in _batches(chosen):
            outcomes = pool.map(partial(_copy, source=source, target=target), batch)
            yield from zip(batch, outcomes, strict=True)


def _copy(picture: Picture, *, source: Storage, target: Storage) -> Copied:
    """Copy one picture. Touches no database."""
    files = size = 0
    try:
        for name in keys_of(picture):
            expected = source.size(name)
            if _has(target, name, size=expected):
                continue
            with source.open(name) as file:
                target.save(name, file)
            files, size = files + 1, size + expected
        if files and picture.sha256 and verify(picture, where=target):
            return Copied(problem=f"{picture.storage_key} is not the same there")
    except OSError as error:
        return Copied(problem=f"{type(error).__name__}: {error}")
    return Copied(files=files, size=size)


def _has(target: Storage, name: str, *, size: int) -> bool:
    try:
        return target.size(name) == size
    except FileNotFoundError:
        return False


# ---------------------------------------------------------------- helpers
def pictures(*, id_ends_with: str = "", since: datetime | None = None) -> Iterator[Picture]:
    """Return all stored pictures, uploads first. Many: they are read piece by piece."""
    wanted: Mapping[str, Any] = {"created_at__gte": since} if since else {}
    for model in (Upload, TaskImage):
        rows = model.objects.exclude(storage_key="").filter(id__endswith=id_ends_with, **wanted)
        yield from _by_pages(rows)


def count_pictures(*, since: datetime | None = None) -> int:
    wanted: Mapping[str, Any] = {"created_at__gte": since} if since else {}
    return sum(
        model.objects.exclude(storage_key="").filter(**wanted).count()
        for model in (Upload, TaskImage)
    )


def _by_pages(rows: Any) -> Iterator[Picture]:
    """Read rows in the order of their ids, without a cursor that stays open for hours."""
    last = ""
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield from page
        last = page[-1].pk


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
