"""Entries packed into a ZIP file, in the background: pictures, and a manifest of what they are.

    ask ─ a row QUEUED; a message wakes a worker
    pack ─ takes the row with a lease, writes a temporary file, stores it under exports/
    READY ─ its owner fetches it for a day; every night what is older goes, row and file

The row is the truth. A worker may be killed at any moment: its lease runs out and whoever looks
(the page that waits, the next export, the night) calls for another, three times at most. Two
workers on one export write the same file to the same name. Nothing here holds a transaction open
while files are read or written.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_q.tasks import async_task

from history import facts, manifest, sources
from history.embedding import CannotRewrite, Rewritten
from history.entries import Entry, compose
from history.marks import Name
from history.models import Export, HistoryEntry, ViewRow
from history.sources import Details, Picture

logger = logging.getLogger(__name__)

Status = Export.Status

PREFIX = "exports/"
#: How long a file can be fetched, counted from when it is ready.
KEPT = timedelta(hours=24)
#: How long a worker may be silent before another takes over, and may take to store the file.
LEASE = timedelta(seconds=60)
STORE_LEASE = timedelta(seconds=170)
#: A message that nobody heard is sent again after this.
UNHEARD = timedelta(seconds=20)
MAX_ATTEMPTS = 3
#: Exports of one member that are not over, and of all that are packed at the same time: storing
#: pictures needs the workers as well.
MAX_PENDING = 3
SLOTS = 1
#: What writing may take, in seconds; with storing it stays below the cluster's own limit.
PACKING_SECONDS = 90.0
#: Entries read from the database at a time, and bytes copied.
BATCH = 50
CHUNK_BYTES = 256 * 1024

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

#: Why an export failed, and what to do.
REASONS: Mapping[str, Any] = {
    "too_large": _("These pictures are too large for one file. Choose fewer of them."),
    "too_slow": _("Packing took too long. Choose fewer pictures, or try again later."),
    "empty": _("None of these entries has a picture that is stored here."),
    "storage": _("The storage did not answer. Try again later."),
    "interrupted": _("Packing was interrupted several times. Try again later."),
}


class NothingToExport(Exception):
    """None of the entries is the member's own, or in the history at all."""


class TooManyExports(Exception):
    """Others of this member's exports are not over yet."""


class CannotPack(Exception):
    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class _LeaseLost(Exception):
    """Somebody else packs it by now, or it is gone."""


# ---------------------------------------------------------------- asking
def ask(*, user: Any, names: Collection[Name]) -> Export:
    """Have a member's entries packed, in the order given.

    Those that are not the member's are left out. Raises NothingToExport, TooManyExports.
    """
    resume(user=user)
    own = _own(user, names)
    if not own:
        raise NothingToExport
    now = timezone.now()
    pending = Export.objects.filter(user=user, expires_at__gt=now).exclude(
        status__in=[Status.READY, Status.FAILED]
    )
    if pending.count() >= MAX_PENDING:
        raise TooManyExports
    export = Export.objects.create(
        user=user,
        entries=[list(name) for name in own],
        entry_count=len(own),
        created_at=now,
        expires_at=now + KEPT,
    )
    transaction.on_commit(lambda: _call(export.pk))
    return export


def _own(user: Any, names: Collection[Name]) -> list[Name]:
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        ids[name.source].add(name.id)
    mine = HistoryEntry.objects.for_user(user)
    known = {
        Name(source, entry_id)
        for source in ids
        for entry_id in mine.source(source)
        .filter(source_id__in=ids[source])
        .values_list("source_id", flat=True)
    }
    return [name for name in dict.fromkeys(names) if name in known]


def _call(export_id: str) -> None:
    """Wake a worker. Never raises: whoever looks later calls again."""
    try:
        async_task("history.exports.pack", export_id)
    except Exception:
        logger.warning("export %s: no worker could be called", export_id, exc_info=True)


def resume(*, user: Any = None) -> None:
    """Call again for exports that nobody works on, and give up those that keep breaking."""
    now = timezone.now()
    idle = Export.objects.filter(_is_idle(now), expires_at__gt=now)
    if user is not None:
        idle = idle.filter(user=user)
    for export in list(idle):
        if export.attempts >= MAX_ATTEMPTS:
            idle.filter(pk=export.pk, attempts__gte=MAX_ATTEMPTS).update(
                status=Status.FAILED, error_code="interrupted", finished_at=now
            )
        # Also a lease: a page that looks every second must not call every second.
        elif idle.filter(pk=export.pk).update(
            status=Status.QUEUED, lease_token="", lease_until=now + UNHEARD
        ):
            _call(export.pk)


def _is_idle(now: datetime) -> Q:
    unheard = Q(lease_until=None, created_at__lt=now - UNHEARD) | Q(lease_until__lt=now)
    return Q(unheard, status=Status.QUEUED) | Q(status=Status.RUNNING, lease_until__lt=now)


# ---------------------------------------------------------------- packing
def pack(export_id: str) -> None:
    """Pack an export, unless another worker does. What django-q2 runs."""
    token = secrets.token_hex(16)
    if not _claim(export_id, token):
        return
    export = Export.objects.get(pk=export_id)
    try:
        _pack(export, token)
    except _LeaseLost:
        return
    except CannotPack as error:
        _end(export, token, status=Status.FAILED, error_code=error.code)
    except OSError as error:
        logger.warning("export %s: %s", export_id, error)
        _fail_or_leave(export, token)
    _call_next()


def _claim(export_id: str, token: str) -> bool:
    now = timezone.now()
    running = Export.objects.filter(status=Status.RUNNING, lease_until__gte=now)
    # Not exact, and need not be: two at once are slow, not wrong.
    if running.exclude(pk=export_id).count() >= SLOTS:
        return False
    free = Q(status=Status.QUEUED) | Q(status=Status.RUNNING, lease_until__lt=now)
    mine = Export.objects.filter(free, pk=export_id, attempts__lt=MAX_ATTEMPTS, expires_at__gt=now)
    return bool(
        mine.update(
            status=Status.RUNNING,
            lease_token=token,
            lease_until=now + LEASE,
            attempts=F("attempts") + 1,
        )
    )


def _hold(export: Export, token: str, lease: timedelta = LEASE, **values: Any) -> None:
    """Renew the lease. Raises _LeaseLost."""
    held = Export.objects.filter(pk=export.pk, status=Status.RUNNING, lease_token=token)
    if not held.update(lease_until=timezone.now() + lease, **values):
        raise _LeaseLost


def _end(export: Export, token: str, **values: Any) -> None:
    now = timezone.now()
    Export.objects.filter(pk=export.pk, status=Status.RUNNING, lease_token=token).update(
        finished_at=now, expires_at=now + KEPT, **values
    )


def _fail_or_leave(export: Export, token: str) -> None:
    """After trouble with the storage: once more in a moment, or the end."""
    if export.attempts >= MAX_ATTEMPTS:
        _end(export, token, status=Status.FAILED, error_code="storage")
        return
    Export.objects.filter(pk=export.pk, status=Status.RUNNING, lease_token=token).update(
        status=Status.QUEUED, lease_token="", lease_until=timezone.now()
    )


def _call_next() -> None:
    waiting = Export.objects.filter(status=Status.QUEUED, expires_at__gt=timezone.now())
    following = waiting.order_by("created_at").first()
    if following is not None:
        _call(following.pk)


def _pack(export: Export, token: str) -> None:
    with tempfile.TemporaryFile() as file:
        packing = _Packing(export, token, file)
        packing.run()
        size = file.tell()
        file.seek(0)
        _hold(export, token, STORE_LEASE)
        key = f"{PREFIX}{export.user_id}/{export.pk}.zip"
        default_storage.save(key, File(file))
    _end(
        export,
        token,
        status=Status.READY,
        storage_key=key,
        byte_size=size,
        picture_count=packing.count,
    )


class _Packing:
    """One go at writing the file of an export."""

    def __init__(self, export: Export, token: str, file: IO[bytes]) -> None:
        self._export = export
        self._token = token
        self._file = file
        self._end = time.monotonic() + PACKING_SECONDS
        self._held_at = time.monotonic()
        self.count = 0
        self._names = manifest.FileNames()
        self._told: list[manifest.PackedEntry] = []

    def run(self) -> None:
        """Write it. Raises CannotPack, _LeaseLost, OSError."""
        with zipfile.ZipFile(self._file, "w") as archive:
            for entry, details in _entries_of(self._export):
                pictures = [
                    self._add(archive, entry, details, picture) for picture in entry.pictures
                ]
                self._told.append(
                    manifest.PackedEntry(entry=entry, details=details, pictures=pictures)
                )
            if not self.count:
                raise CannotPack("empty")
            now = timezone.now()
            for name, text in (
                ("manifest.json", manifest.as_json(self._told, packed_at=now)),
                ("manifest.csv", manifest.as_csv(self._told)),
            ):
                archive.writestr(_info(name, now), text, zipfile.ZIP_DEFLATED)
        self._file.seek(0, 2)

    def _add(
        self,
        archive: zipfile.ZipFile,
        entry: Entry,
        details: Details | None,
        picture: Picture,
    ) -> manifest.PackedPicture:
        if not picture.storage_key:
            return manifest.PackedPicture(picture=picture, problem="not stored")
        try:
            file = default_storage.open(picture.storage_key)
            size = file.size
        except FileNotFoundError:
            return manifest.PackedPicture(picture=picture, problem="missing")
        extension = picture.storage_key.rpartition(".")[2].lower()
        told = facts.of_entry(entry, details, picture)
        body: Any = file
        try:
            body = Rewritten(file, content_type=CONTENT_TYPES.get(extension, ""), made_with=told)
            size = body.size
        except CannotRewrite:
            file.seek(0)
        with body:
            if self._file.tell() + size > settings.MAX_EXPORT_BYTES:
                raise CannotPack("too_large")
            name = self._names.make(entry, extension)
            with archive.open(_info(name, entry.created_at), "w", force_zip64=True) as target:
                shutil.copyfileobj(body, target, CHUNK_BYTES)
        self.count += 1
        self._keep_going()
        return manifest.PackedPicture(picture=picture, file=name)

    def _keep_going(self) -> None:
        now = time.monotonic()
        if now > self._end:
            raise CannotPack("too_slow")
        if now - self._held_at > LEASE.total_seconds() / 6:
            _hold(self._export, self._token, picture_count=self.count)
            self._held_at = now


def _info(name: str, moment: datetime) -> zipfile.ZipInfo:
    local = timezone.localtime(moment)
    # ZIP knows no year before 1980.
    info = zipfile.ZipInfo(name, (max(local.year, 1980), *local.timetuple()[1:6]))
    info.external_attr = 0o644 << 16
    return info


def _entries_of(export: Export) -> Iterator[tuple[Entry, Details | None]]:
    """Yield the entries that are still the member's and in the history, in their order."""
    names = [Name(*pair) for pair in export.entries]
    known = sources.load()
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        found = {Name(e.source, e.id): e for e in compose(_rows(export.user_id, batch))}
        details = {
            source: known[source].details_of([name.id for name in batch if name.source == source])
            for source in {name.source for name in found}
        }
        for name in batch:
            if name in found:
                yield found[name], details[name.source].get(name.id)


def _rows(user_id: int, names: Sequence[Name]) -> list[ViewRow]:
    mine = HistoryEntry.objects.filter(user_id=user_id)
    return [
        row
        for source in {name.source for name in names}
        for row in mine.filter(
            source=source, source_id__in=[name.id for name in names if name.source == source]
        )
    ]


# ---------------------------------------------------------------- every night
def nightly() -> None:
    """Remove what can no longer be fetched, and call for what nobody works on."""
    removed = remove_old() + remove_orphans()
    if removed:
        logger.info("history: removed %d exports", removed)
    resume()


def remove_old() -> int:
    """Remove exports that have expired, files first. Returns their number."""
    removed = 0
    for export in Export.objects.filter(expires_at__lte=timezone.now()).iterator():
        # Also what a worker stored who was killed before it could say so.
        default_storage.delete(f"{PREFIX}{export.user_id}/{export.pk}.zip")
        export.delete()
        removed += 1
    return removed


def remove_orphans() -> int:
    """Remove files that belong to no export and are old enough to be no new one's."""
    before = timezone.now() - KEPT
    removed = 0
    files = list(default_storage.walk(PREFIX))  # type: ignore[attr-defined]
    for name, _size, changed in files:
        export_id = name.rpartition("/")[2].partition(".")[0]
        if changed < before and not Export.objects.filter(pk=export_id).exists():
            default_storage.delete(name)
            removed += 1
    return removed
