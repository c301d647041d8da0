"""Whose a row is: members found by the administrator's list or by e-mail, or made.

Members who are made cannot sign in: an administrator gives them a password and activates them,
and they have their pictures. Passwords are not read.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db.models.functions import Lower

from generation.importing.mapping import Owner
from generation.importing.reading import CannotRead, Person
from generation.importing.values import clean_text

#: The member's primary key, or why there is none. In a dry run those to be made are 0.
Found = int | str

NOBODY = "without a user"
GONE = "whose user is not there any more"
UNKNOWN = "whose user is not a member here"
AMBIGUOUS = "whose user has the e-mail address of several members here"

_USERNAME = re.compile(r"[^\w.@+-]")


def read_user_map(path: Path) -> dict[str, int]:
    """Return the members named in a CSV file of "their id or e-mail, our username".

    Raises CannotRead, also when it names members who do not exist.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        msg = f"{path} cannot be read ({error})."
        raise CannotRead(msg) from error
    if wrong := [str(row) for row in lines if len(row) != 2]:
        msg = f"{path.name} should have two cells a line, their id or e-mail and our username, not "
        raise CannotRead(msg + wrong[0])
    pairs = {theirs.strip().lower(): ours.strip() for theirs, ours in lines}
    members = dict(User.objects.filter(username__in=pairs.values()).values_list("username", "pk"))
    if missing := sorted(set(pairs.values()) - members.keys()):
        msg = f"{path.name} names members who do not exist here: {', '.join(missing[:10])}"
        raise CannotRead(msg)
    return {theirs: members[ours] for theirs, ours in pairs.items()}


class Members:
    """Remembers whom it has found: memory grows with the users there, not with their rows."""

    def __init__(
        self,
        *,
        origin: str,
        user_map: Mapping[str, int],
        people: Callable[[Collection[str]], Mapping[str, Person]],
        may_create: bool,
        dry_run: bool,
    ) -> None:
        self._origin = origin
        self._user_map = user_map
        self._people = people
        self._may_create = may_create
        self._dry_run = dry_run
        self._found: dict[Owner, Found] = {}
        #: Names of those who were made, or would be.
        self.made: set[str] = set()

    def find(self, owners: Iterable[Owner]) -> Mapping[Owner, Found]:
        """Return the member each of these is. A few queries for those not met before."""
        owners = set(owners)
        new = owners - self._found.keys()
        named = {owner: pk for owner in new if (pk := self._named(owner)) is not None}
        self._found.update(named)
        if new := new - named.keys():
            self._meet(new)
        return {owner: self._found[owner] for owner in owners}

    def _named(self, owner: Owner) -> Found | None:
        for name in (owner.key.lower(), owner.email):
            if name in self._user_map:
                return self._user_map[name]
        return None if owner else NOBODY

    def _meet(self, owners: Collection[Owner]) -> None:
        people = self._people([owner.key for owner in owners if not owner.email])
        emails: dict[Owner, tuple[str, str]] = {}
        for owner in owners:
            person = people.get(owner.key)
            if not owner.email and person is None:
                self._found[owner] = GONE
                continue
            email = _email(owner.email or (person.email if person else ""))
            if email in self._user_map:
                self._found[owner] = self._user_map[email]
            else:
                emails[owner] = (email or self._stand_in(owner), person.name if person else "")
        here = _members_by_email({email for email, _name in emails.values()})
        for owner, (email, _name) in emails.items():
            if email in here:
                self._found[owner] = here[email][0] if len(here[email]) == 1 else AMBIGUOUS
        rest = {owner: told for owner, told in emails.items() if owner not in self._found}
        if self._may_create:
            self._make(rest)
        else:
            self._found.update(dict.fromkeys(rest, UNKNOWN))

    def _stand_in(self, owner: Owner) -> str:
        """Return an address nobody has, by which a user without one is known again."""
        return f"{_digest(owner.key)}@{self._origin}.invalid"

    def _make(self, wanted: Mapping[Owner, tuple[str, str]]) -> None:
        people = dict(wanted.values())
        if not people:
            return
        self.made |= people.keys()
        if self._dry_run:
            self._found.update(dict.fromkeys(wanted, 0))
            return
        names = {email: _username(email, name) for email, name in people.items()}
        taken = set(
            User.objects.filter(username__in=names.values()).values_list("username", flat=True)
        )
        members = []
        for email, username in names.items():
            # One that is taken, be it a moment ago by one of these, is told apart by a digest.
            unique = f"{username}-{_digest(email)}" if username in taken else username
            taken.add(username)
            members.append(
                User(
                    username=unique,
                    email=email,
                    first_name=clean_text(people[email]).strip()[:150],
                    is_active=False,
                    password=make_password(None),
                )
            )
        User.objects.bulk_create(members, ignore_conflicts=True)
        here = _members_by_email(people.keys())
        for owner, (email, _name) in wanted.items():
            self._found[owner] = here[email][0] if email in here else UNKNOWN


def _members_by_email(emails: Collection[str]) -> Mapping[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    lower = User.objects.annotate(lower=Lower("email")).filter(lower__in=emails)
    for pk, email in lower.order_by("pk").values_list("pk", "lower"):
        found[email].append(pk)
    return found


def _email(text: str) -> str:
    """Return an address in lower case, "" for what is none or does not fit."""
    email = clean_text(text).strip().lower()
    is_one = re.fullmatch(r"[^\s@]+@[^\s@]+", email) and email.isprintable() and len(email) <= 254
    return email if is_one else ""


def _username(email: str, name: str) -> str:
    """Return a name to sign in with: the address, or what somebody without one was called."""
    text = name.strip() if email.endswith(".invalid") and name.strip() else email
    return _USERNAME.sub("_", clean_text(text))[:130]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
