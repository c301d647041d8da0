"""What the import commands share: their options, the run over the tables, and the summary."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from generation import polling
from generation.importing import engine, links
from generation.importing.mapping import Kind
from generation.importing.members import Members, read_user_map
from generation.importing.reading import CannotRead, Reader
from generation.management import progress

#: Hosts named in the summary.
MOST_NAMED = 20


def origin(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", text):
        msg = "up to 60 of a-z, 0-9 and .-_"
        raise ArgumentTypeError(msg)
    return text


def zone(text: str) -> tzinfo:
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, LookupError) as error:
        msg = f"{text} is no time zone such as Asia/Shanghai"
        raise ArgumentTypeError(msg) from error


def day(text: str) -> datetime:
    """Read a date, or a date and time; without a zone it is the site's own."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{text} is no date such as 2026-01-31"
        raise ArgumentTypeError(msg) from error
    return (timezone.make_aware(moment) if moment.tzinfo is None else moment).astimezone(UTC)


class ImportCommand(BaseCommand):
    """A command that says where to read from; the rest is the same for all."""

    #: How its rows are known again, unless --origin says otherwise.
    default_origin = ""

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--user-map", type=Path, help="CSV file of: their id or e-mail, our username")
        add(
            "--unknown-users",
            choices=["create", "skip"],
            default="create",
            help="users who are not members here: create them, inactive, or skip their rows",
        )
        add("--rehost", action="store_true", help="have the workers fetch copies of the pictures")
        add("--dry-run", action="store_true", help="do all but write")
        add("--since", type=day, metavar="DATE", help="only rows made since then")
        add("--origin", type=origin, default=self.default_origin, help="name of the other site")
        add(
            "--tz",
            type=zone,
            default=settings.TIME_ZONE,
            metavar="ZONE",
            help="zone of the other site's clock (TIME_ZONE)",
        )

    def bring_over(self, reader: Reader, kinds: Sequence[Kind], options: dict[str, Any]) -> None:
        """Bring over what there is of these tables. Exits with 2 when rows were unreadable."""
        with closing(reader):
            there = {kind.table: reader.columns(kind.table) for kind in kinds}
            if not any(there.values()):
                msg = f"None of these tables is there: {', '.join(there)}"
                raise CommandError(msg)
            members = self._members(reader, options)
            try:
                tallies = [
                    self._table(reader, kind, there[kind.table], members, options)
                    for kind in kinds
                    if there[kind.table]
                ]
            except KeyboardInterrupt:
                msg = "Stopped. What was brought over stays; call it again to go on."
                raise CommandError(msg, returncode=130) from None
        for table, columns in there.items():
            if not columns:
                self.stdout.write(f"{table}: not there")
        self._sum_up(tallies, members, options)
        if options["rehost"] and not options["dry_run"]:
            polling.kick()
        if any(tally.unreadable for tally in tallies):
            sys.exit(2)

    def _members(self, reader: Reader, options: dict[str, Any]) -> Members:
        path = options["user_map"]
        try:
            user_map = read_user_map(path) if path else {}
        except CannotRead as error:
            raise CommandError(str(error)) from error
        return Members(
            origin=options["origin"],
            user_map=user_map,
            people=reader.people,
            may_create=options["unknown_users"] == "create",
            dry_run=options["dry_run"],
        )

    def _table(
        self,
        reader: Reader,
        kind: Kind,
        there: set[str],
        members: Members,
        options: dict[str, Any],
    ) -> engine.Tally:
        tally = engine.Tally(
            name=kind.table,
            missing_columns=[name for name in kind.columns if name not in there],
            left_out=[name for name in kind.left_out if name in there],
        )
        columns = engine.wanted(kind=kind, there=there)
        rows = reader.rows(kind.table, columns=columns, order=kind.order)
        engine.bring_over(
            rows=progress.shown(rows, total=reader.count(kind.table)),
            kind=kind,
            members=members,
            options=engine.Options(
                origin=options["origin"],
                zone=options["tz"],
                since=options["since"],
                rehost=options["rehost"],
                dry_run=options["dry_run"],
            ),
            tally=tally,
        )
        return tally

    # ------------------------------------------------------------ the summary
    def _sum_up(
        self, tallies: Sequence[engine.Tally], members: Members, options: dict[str, Any]
    ) -> None:
        for tally in tallies:
            self._tell(tally)
        if members.made:
            self.stdout.write(f"users created, inactive: {len(members.made)}")
        self._tell_pictures(tallies, options)
        if options["dry_run"]:
            self.stdout.write("This was a dry run: nothing was written.")

    def _tell(self, tally: engine.Tally) -> None:
        say = self.stdout.write
        skipped = sum(tally.skipped.values())
        say(
            f"{tally.name}: read {tally.read}, new {tally.new}, already there {tally.known}, "
            f"filled {tally.filled}, skipped {skipped}, unreadable {tally.unreadable}"
        )
        if tally.missing_columns:
            say(f"  columns that are not there: {', '.join(tally.missing_columns)}")
        if tally.left_out:
            say(f"  columns that are not brought over: {', '.join(tally.left_out)}")
        for reason, count in tally.skipped.most_common():
            say(f"  skipped {count} {reason}")
        for note, count in tally.notes.most_common():
            say(f"  in {count}: {note}")
        for problem in tally.problems:
            say(f"  {problem}")

    def _tell_pictures(self, tallies: Sequence[engine.Tally], options: dict[str, Any]) -> None:
        say = self.stdout.write
        dead, to_fetch = sum(t.dead for t in tallies), sum(t.to_fetch for t in tallies)
        say(
            f"pictures: {sum(t.pictures for t in tallies)} new, {to_fetch} to be fetched, "
            f"{dead} lost because their links have run out"
        )
        origins = sum((tally.origins for tally in tallies), start=type(tallies[0].origins)())
        hidden = links.uncovered(origins, allowed=settings.SECURE_CSP["img-src"])
        if not hidden:
            return
        until = " until they are fetched" if options["rehost"] else ""
        say(f"Browsers will not show pictures from here{until}; add to IMAGE_ORIGINS:")
        hidden.sort(key=lambda each: -origins[each])
        say(f"  {' '.join(hidden[:MOST_NAMED])}")
        if len(hidden) > MOST_NAMED:
            say(f"  and {len(hidden) - MOST_NAMED} more")
