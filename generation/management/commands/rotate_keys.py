"""``manage.py rotate_keys``: encrypt every secret in the database with the first key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Model, QuerySet

from generation import fields


class Command(BaseCommand):
    help = (
        "Encrypt every secret in the database with the first of FIELD_ENCRYPTION_KEYS, so that the "
        "others can be taken away. May be killed and called again at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--new-key", action="store_true", help="only print a new key, and nothing else"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["new_key"]:
            self.stdout.write(Fernet.generate_key().decode())
            return
        changed = current = 0
        unreadable: list[str] = []
        for model, name in _columns():
            filled: QuerySet[Model] = QuerySet(model).exclude(**{name: ""})
            for pk, token in filled.order_by("pk").values_list("pk", name).iterator():
                if fields.is_current(token):
                    current += 1
                    continue
                try:
                    again = fields.encrypt(fields.decrypt(token))
                except fields.KeyUnreadable:
                    unreadable.append(f"{model._meta.db_table}.{name} of {pk}")
                    continue
                # What was saved since is newer, and encrypted with the first key by itself.
                changed += filled.filter(pk=pk, **{name: token}).update(**{name: again})
        self.stdout.write(f"{changed} encrypted anew, {current} were already.")
        if unreadable:
            msg = f"No key reads: {', '.join(unreadable)}."
            raise CommandError(msg)


def _columns() -> Iterator[tuple[type[Model], str]]:
    """Yield every encrypted column of every app."""
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, fields.EncryptedTextField):
                yield model, field.name
