"""A site with rows in every table of every app: what a copy or a backup must keep.

    manage.py shell -c "from fluxsite.tests import everything; everything.make()"

prints the token of alice.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.storage import default_storage
from django.db import models
from django.utils import timezone

from credits import codes, ledger
from credits.models import Budget
from fluxsite.models import ApiToken
from generation import fields
from generation.models import FluxConfig, FluxTask, TaskInput, Upload
from generation.tests.factories import (
    FluxTaskFactory,
    JimengTaskFactory,
    MidjourneyTaskFactory,
    TaskImageFactory,
    UploadFactory,
)

#: Given to `manage.py shell`.
MAKE = "from fluxsite.tests import everything; everything.make()"
MOMENT = datetime(2026, 3, 4, 5, 6, 7, 80_900, tzinfo=UTC)


def make() -> None:
    alice = User.objects.create_superuser("alice", password="a password for tests")
    bob = User.objects.create_user("bob", password="!")
    group = Group.objects.create(name="画家")
    group.permissions.add(Permission.objects.first())
    bob.groups.add(group)
    bob.user_permissions.add(Permission.objects.last())
    FluxConfig.objects.update(api_key=fields.encrypt("key:secret"))
    _draw(alice)
    _draw(bob)
    (code,) = codes.make(amount=30, count=1, created_by="test")
    ledger.redeem(user=bob, code=code)
    SessionStore().save()
    _fill_the_others()
    sys.stdout.write(ApiToken.objects.issue(user=alice, name="everything")[1])


def _draw(user: User) -> None:
    """Leave tasks of every kind and state, and their ledger."""
    ledger.grant(user=user, amount=500, reference=f"gift:{user}", reason="", actor="test")
    done = FluxTaskFactory(user=user, succeeded=True, cost_reserved=5, cost_charged=5)
    failed = FluxTaskFactory(user=user, failed=True, cost_reserved=5)
    waiting = FluxTaskFactory(user=user, cost_reserved=5, prompt="waits 等待 🎨 \\u0000 'quoted'")
    for task in (done, failed, waiting):
        ledger.reserve(user=user, amount=5, reference=f"flux:{task.pk}")
    ledger.settle(reference=f"flux:{done.pk}", charged=5)
    ledger.release(reference=f"flux:{failed.pk}")
    # A row that refers to one which comes after it in the file.
    FluxTask.objects.filter(pk=done.pk).update(retry_of=waiting.pk, created_at=MOMENT)
    image = TaskImageFactory(user=user, task=done)
    TaskInput.objects.create(task=waiting, position=0, upload=UploadFactory(user=user))
    TaskInput.objects.create(task=waiting, position=1, image=image)
    for picture in (image, *Upload.objects.filter(user=user)):
        with default_storage.open(picture.storage_key) as file:
            content = file.read()
        picture.byte_size, picture.sha256 = len(content), sha256(content).hexdigest()
        picture.save()
    for _ in range(3):
        MidjourneyTaskFactory(user=user, properties={"名": ["\ud83c\udfa8", 1.5, None, True]})
        JimengTaskFactory(user=user)


def _fill_the_others() -> None:
    for _ in range(3):  # Some refer to others.
        for model in apps.get_models(include_auto_created=True):
            if model._meta.managed and not model._meta.proxy and not _has_rows(model):
                models.QuerySet(model).bulk_create([_row(model)])


def _has_rows(model: type[models.Model]) -> bool:
    return models.QuerySet(model).exists()


def _row(model: type[models.Model]) -> models.Model:
    values = {
        field.name: _value(field)
        for field in model._meta.local_fields
        if not isinstance(field, models.AutoField)
    }
    if model is Budget:
        values["user"] = None  # Or the group: bob.
    return model(**values)


def _value(field: Any) -> Any:
    if field.is_relation:
        return models.QuerySet(field.related_model).first()
    if field.has_default() and not isinstance(field, models.JSONField):
        return field.get_default()
    if field.choices:
        return field.choices[0][0]
    if isinstance(field, models.GenericIPAddressField):
        return "2001:db8::1"
    simple: list[tuple[type[models.Field[Any, Any]], Any]] = [
        (models.DateTimeField, timezone.now()),
        (models.DateField, timezone.now().date()),
        (models.BooleanField, True),
        (models.FloatField, 0.1),
        (models.IntegerField, 1),
        (models.JSONField, {"一": [1, "二"]}),
    ]
    return next((value for kind, value in simple if isinstance(field, kind)), "x")


def tables() -> list[str]:
    return sorted(
        {
            model._meta.db_table
            for model in apps.get_models(include_auto_created=True)
            if model._meta.managed
        }
    )
