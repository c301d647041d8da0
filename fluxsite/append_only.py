"""Rows that tell what happened: added, never changed, never removed.

All apps use this module; it knows none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from django.db import models

M = TypeVar("M", bound=models.Model)


class AppendOnly(TypeError):
    """Somebody tried to change or remove what has happened."""


class AppendOnlyQuerySet(models.QuerySet[M]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly(f"{self.model.__name__}: never changed. Add another one.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly(f"{self.model.__name__}: never changed. Add another one.")

    def delete(self) -> NoReturn:
        raise AppendOnly(f"{self.model.__name__}: never deleted.")

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly(f"{self.model.__name__}: only added by the module that books them.")


class AppendOnlyModel(models.Model):
    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly(f"{type(self).__name__}: never changed. Add another one.")
        # An id set by hand would otherwise make Django try an update first.
        super().save(force_insert=True, using=kwargs.get("using"))

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly(f"{type(self).__name__}: never deleted.")
