"""Does to each table of tasks what migrations do to tables."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from django.apps import apps
from django.db import migrations, models

_real = Path(apps.get_app_config("generation").path) / "migrations"
_last = max(path.stem for path in _real.glob("[0-9]*.py"))


def _on(name: str, *, useless: str) -> list[migrations.operations.base.Operation]:
    return [
        migrations.AddField(name, "later", models.CharField(max_length=10, default="later")),
        migrations.AlterField(name, "model", models.CharField(max_length=300, default="")),
        migrations.AlterField(name, "is_favourite", models.BooleanField(default=True)),
        migrations.AddConstraint(
            name,
            models.CheckConstraint(condition=~models.Q(prompt="?"), name=f"{name}_is_no_question"),
        ),
        migrations.RemoveField(name, useless),
    ]


class Migration(migrations.Migration):
    dependencies: ClassVar = [("generation", _last)]

    operations: ClassVar = [
        *_on("fluxtask", useless="billable_units"),
        *_on("midjourneytask", useless="description"),
        *_on("jimengtask", useless="watermark"),
    ]
