"""Rows of a foreign site into our tables, batch by batch.

A batch is one transaction with its tasks and their pictures: whoever is killed leaves whole
batches behind, and running again goes on. What is there already, known by origin and id, stays
as it is; it only gets what was missing: the outcome of what had not ended, a better address,
or, with `rehost`, a copy of its picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any

from django.db import DataError, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from generation.importing import links, mapping
from generation.importing.mapping import Draft, Kind
from generation.importing.members import Members
from generation.importing.reading import Unreadable
from generation.importing.values import Cells, Row
from generation.models import TaskImage
from history import search

BATCH = 1000
#: Problems told one by one; the others are counted.
MOST_TOLD = 10
#: Different hosts of pictures kept in mind.
MOST_ORIGINS = 1000


@dataclass(frozen=True, kw_only=True)
class Options:
    """`zone` is the one of the other site's clock on the wall."""

    origin: str
    zone: tzinfo
    since: datetime | None = None
    rehost: bool = False
    dry_run: bool = False


@dataclass(kw_only=True)
class Tally:
    """What became of the rows of a table."""

    name: str
    missing_columns: Sequence[str] = ()
    left_out: Sequence[str] = ()
    read: int = 0
    new: int = 0
    known: int = 0
    filled: int = 0
    pictures: int = 0
    dead: int = 0
    to_fetch: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)
    #: Where pictures without a copy of ours are shown from.
    origins: Counter[str] = field(default_factory=Counter)

    def problem(self, text: str) -> None:
        self.unreadable += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append(text)


def wanted(*, kind: Kind, there: Collection[str]) -> list[str]:
    """Return which of the columns there are to be read."""
    return [name for name in (*kind.columns, *mapping.IN_FILES) if name in there]


def bring_over(
    *,
    rows: Iterable[Row | Unreadable],
    kind: Kind,
    members: Members,
    options: Options,
    tally: Tally,
) -> None:
    """Bring the rows of a table over, and count in `tally` what became of them."""
    run = _Run(kind=kind, members=members, options=options, tally=tally)
    for batch in _batches(rows):
        run.take(batch)


def _batches(rows: Iterable[Row | Unreadable]) -> Iterator[list[Row | Unreadable]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        yield batch


@dataclass(kw_only=True)
class _Fill:
    """What those that are there already get."""

    ended: list[Draft] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    images: list[TaskImage] = field(default_factory=list)
    to_fetch: list[str] = field(default_factory=list)
    found_dead: list[str] = field(default_factory=list)


class _Run:
    def __init__(self, *, kind: Kind, members: Members, options: Options, tally: Tally) -> None:
        self._kind = kind
        self._members = members
        self._options = options
        self._tally = tally
        # One of three models, each with columns of its own.
        self._tasks: Any = kind.model._meta.default_manager
        self._now = timezone.now()

    def take(self, batch: Sequence[Row | Unreadable]) -> None:
        self._now = timezone.now()
        drafts = self._drafts(batch)
        known = self._known(drafts)
        fresh = self._with_owners([d for key, d in drafts.items() if key not in known])
        if self._options.dry_run:
            self._count(fresh)
        else:
            self._insert(fresh)
        self._tally.known += len(known)
        self._fill(known, drafts)

    # ------------------------------------------------------------ rows
    def _drafts(self, batch: Sequence[Row | Unreadable]) -> dict[str, Draft]:
        """Return what the rows become, by the ids they have there."""
        drafts: dict[str, Draft] = {}
        for row in batch:
            self._tally.read += 1
            if isinstance(row, Unreadable):
                self._tally.problem(f"{self._tally.name}, {row}")
                continue
            draft = self._draft(row)
            if isinstance(draft, str):
                self._tally.skipped[draft] += 1
            elif draft.task.external_id in drafts:
                self._tally.skipped["that occur twice"] += 1
            else:
                drafts[draft.task.external_id] = draft
        return drafts

    def _draft(self, row: Row) -> Draft | str:
        options = self._options
        cells = Cells(row, zone=options.zone, now=self._now, notes=self._tally.notes)
        made = mapping.draft(cells, kind=self._kind, origin=options.origin, now=self._now)
        if isinstance(made, Draft) and options.since and made.task.created_at < options.since:
            return "older than --since"
        return made

    def _known(self, drafts: Mapping[str, Draft]) -> dict[str, Any]:
        """Return those of the tasks that are here already, as far as filling them asks."""
        here = self._tasks.filter(origin=self._options.origin, external_id__in=list(drafts))
        some = ("id", "external_id", "user_id", "status", "image_url", "cloud_image_url")
        return {task.external_id: task for task in here.only(*some)}

    def _with_owners(self, drafts: Sequence[Draft]) -> list[Draft]:
        found = self._members.find(draft.owner for draft in drafts)
        owned = []
        for draft in drafts:
            owner = found[draft.owner]
            if isinstance(owner, str):
                self._tally.skipped[owner] += 1
            else:
                draft.task.user_id = owner
                owned.append(draft)
        return owned

    # ------------------------------------------------------------ new ones
    def _insert(self, drafts: Sequence[Draft]) -> None:
        if not drafts:
            return
        try:
            with transaction.atomic():
                written = self._write(drafts)
        except (DataError, IntegrityError) as error:
            # One that the database refuses must not keep the others out.
            if len(drafts) == 1:
                row = drafts[0].task.external_id[:50]
                self._tally.problem(f"{self._tally.name}, {row}: the database refuses it ({error})")
                return
            middle = len(drafts) // 2
            self._insert(drafts[:middle])
            self._insert(drafts[middle:])
        else:
            self._count(written)
            written_ids = {draft.task.pk for draft in written}
            self._recount([draft for draft in drafts if draft.task.pk not in written_ids])

    def _write(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Write tasks and pictures. Returns those written: another run may have been first."""
        self._tasks.bulk_create([draft.task for draft in drafts], ignore_conflicts=True)
        ours = self._tasks.filter(pk__in=[draft.task.pk for draft in drafts])
        there = set(ours.values_list("pk", flat=True))
        written = [draft for draft in drafts if draft.task.pk in there]
        TaskImage.objects.bulk_create(self._images(written))
        self._make_findable(written)
        return written

    def _make_findable(self, drafts: Sequence[Draft]) -> None:
        search.add_many(
            search.Document(
                user_id=draft.task.user_id,
                source=self._kind.source,
                id=draft.task.pk,
                model=draft.task.model,
                prompt=draft.task.prompt,
                created_at=draft.task.created_at,
            )
            for draft in drafts
            if draft.task.status == "SUCCESS"
        )

    def _recount(self, drafts: Sequence[Draft]) -> None:
        """Count what was not written. SQLite drops rows that break a rule without a word."""
        if not drafts:
            return
        known = self._known({draft.task.external_id: draft for draft in drafts})
        self._tally.known += len(known)
        for draft in drafts:
            if draft.task.external_id not in known:
                row = draft.task.external_id[:50]
                self._tally.problem(f"{self._tally.name}, {row}: the database refuses it")

    def _images(self, drafts: Iterable[Draft]) -> list[TaskImage]:
        return [self._image(draft, position) for draft in drafts for position in _positions(draft)]

    def _image(self, draft: Draft, position: int) -> TaskImage:
        picture, created_at = draft.pictures[position], draft.task.created_at
        return TaskImage(
            user_id=draft.task.user_id,
            source=self._kind.source,
            task_id=draft.task.pk,
            position=position,
            provider_url=picture.url,
            width=picture.width,
            height=picture.height,
            is_nsfw=picture.is_nsfw,
            created_at=created_at,
            lost_at=self._now if picture.is_dead else None,
            # Due since then: what is drawn here is due now, and goes first (polling).
            next_action_at=created_at if self._options.rehost and not picture.is_dead else None,
        )

    def _count(self, written: Sequence[Draft]) -> None:
        self._tally.new += len(written)
        for draft in written:
            self._count_pictures(draft)

    def _count_pictures(self, draft: Draft) -> None:
        for picture in draft.pictures:
            self._tally.pictures += 1
            if picture.is_dead:
                self._tally.dead += 1
            else:
                self._tally.to_fetch += self._options.rehost
                self._show_from(picture.url)

    def _show_from(self, address: str) -> None:
        origin = links.origin_of(address)
        if origin in self._tally.origins or len(self._tally.origins) < MOST_ORIGINS:
            self._tally.origins[origin] += 1

    # ------------------------------------------------------------ those that are here
    def _fill(self, known: Mapping[str, Any], drafts: Mapping[str, Draft]) -> None:
        if not known:
            return
        images: dict[str, list[TaskImage]] = {}
        of_tasks = TaskImage.objects.of_tasks(
            source=self._kind.source, ids=[task.pk for task in known.values()]
        )
        for image in of_tasks:
            images.setdefault(image.task_id, []).append(image)
        fill = _Fill()
        for key, task in known.items():
            if self._plan(fill, task, drafts[key], images.get(task.pk, [])):
                self._tally.filled += 1
        if not self._options.dry_run:
            with transaction.atomic():
                self._apply(fill)

    def _plan(self, fill: _Fill, task: Any, draft: Draft, images: Sequence[TaskImage]) -> bool:
        """Note what a task that is here gets from its row. False: nothing."""
        if task.status == "FAILED" and draft.task.status == "SUCCESS":
            # It has gone on there since. Who it belongs to here stays.
            draft.task.id, draft.task.user_id = task.pk, task.user_id
            draft.task.updated_at = self._now
            fill.ended.append(draft)
            self._count_pictures(draft)
            return True
        gets = False
        by_position = {image.position: image for image in images}
        for position in _positions(draft):
            image = by_position.get(position)
            if image is not None and image.stored_at is None:
                gets |= self._plan_image(fill, task, draft, image)
        return gets

    def _plan_image(self, fill: _Fill, task: Any, draft: Draft, image: TaskImage) -> bool:
        picture = draft.pictures[image.position]
        is_better = not picture.is_dead and picture.url != image.provider_url
        has_copy = image.position == 0 and bool(draft.task.cloud_image_url)
        if is_better and (image.lost_at or (has_copy and not task.cloud_image_url)):
            image.provider_url, image.lost_at = picture.url, None
            image.next_action_at = image.created_at if self._options.rehost else None
            fill.images.append(image)
            if image.position == 0:
                task.image_url = draft.task.image_url
                task.cloud_image_url = draft.task.cloud_image_url
                fill.tasks.append(task)
            self._show_from(picture.url)
            return True
        if image.lost_at:
            return False
        if links.is_dead(image.provider_url, now=self._now):
            fill.found_dead.append(image.pk)
            self._tally.dead += 1
            return True
        self._show_from(image.provider_url)
        # What was tried and given up is left to `rearchive` and to people.
        if self._options.rehost and image.next_action_at is None and not image.store_attempts:
            fill.to_fetch.append(image.pk)
            self._tally.to_fetch += 1
            return True
        return False

    def _apply(self, fill: _Fill) -> None:
        """Write it down, each only where it is still missing."""
        if fill.ended:
            failed = self._tasks.filter(status="FAILED")
            failed.bulk_update([draft.task for draft in fill.ended], self._columns_of_an_end())
            TaskImage.objects.bulk_create(self._images(fill.ended), ignore_conflicts=True)
            self._make_findable(fill.ended)
        if fill.tasks:
            self._tasks.bulk_update(fill.tasks, ["image_url", "cloud_image_url"])
        unsaved = TaskImage.objects.filter(stored_at=None)
        if fill.images:
            unsaved.bulk_update(fill.images, ["provider_url", "lost_at", "next_action_at"])
        waiting = unsaved.filter(next_action_at=None, lost_at=None)
        if fill.to_fetch:
            waiting.filter(pk__in=fill.to_fetch).update(next_action_at=F("created_at"))
        if fill.found_dead:
            unsaved.filter(pk__in=fill.found_dead).update(lost_at=self._now, next_action_at=None)

    def _columns_of_an_end(self) -> list[str]:
        """Return all columns but those that say which task it is, and those its owner set."""
        kept = {"id", "user", "origin", "external_id", "created_at", "is_favourite", "trashed_at"}
        fields = self._kind.model._meta.concrete_fields
        return [each.name for each in fields if each.name not in kept]


def _positions(draft: Draft) -> range:
    return range(len(draft.pictures))
