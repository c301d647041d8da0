"""Paging of every list, newest first by (created_at, id).

By `cursor`, the place of the last row seen, a page costs the same at any depth and shows
nothing twice while new rows arrive on top. By `page`, whose cost grows with the depth, only
the first MAX_DEPTH rows can be reached. Nothing is ever counted. All apps page by this
module; it knows none of them.

    asked = paging.read(request.query_params)
    page = paging.paginate(FluxTask.objects.for_user(request.user), asked=asked)
    return Response(paging.answer(request, page=page, results=[… for row in page.rows]))

Two rows of one moment and one id would be taken for one; ids are unique in a table, and no
two sources make the same ones.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import Model, Q, QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
#: How many rows deep `page` reaches: the database steps over each of them.
MAX_DEPTH = 10_000

#: What every list takes, for the schema of the API.
PARAMETERS = [
    OpenApiParameter(
        "page",
        {"type": "integer", "minimum": 1, "maximum": MAX_DEPTH},
        description="From 1. Reaches down to row 10 000; further down goes `cursor`.",
    ),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="How many of them to a page.",
    ),
    OpenApiParameter(
        "cursor",
        str,
        description="Where to go on, instead of `page`: it is in `next`, which leads there.",
    ),
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_CURSOR_LENGTH = 500

M = TypeVar("M", bound=Model)
R = TypeVar("R")


# ---------------------------------------------------------------- cursor
class BadCursor(ValidationError):
    """The text is no cursor of this list. The API answers it by itself, naming the field."""

    def __init__(self) -> None:
        super().__init__({"cursor": [_("This is no cursor. Follow next, or leave it out.")]})


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The place in a list just below a row."""

    created_at: datetime
    id: str

    def encode(self) -> str:
        micros = (self.created_at - _EPOCH) // _MICROSECOND
        text = f"{micros}:{self.id}".encode()
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Return the cursor written as `text`. Raises BadCursor."""
        if len(text) > _MAX_CURSOR_LENGTH:
            raise BadCursor
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            plain = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeError) as error:
            raise BadCursor from error
        # PostgreSQL refuses a NUL in any text.
        match = re.fullmatch(r"(-?[0-9]{1,18}):([^\0]{1,255})", plain, re.DOTALL)
        if match is None:
            raise BadCursor
        try:
            created_at = _EPOCH + int(match[1]) * _MICROSECOND
        except OverflowError as error:
            raise BadCursor from error
        return cls(created_at=created_at, id=match[2])


# ---------------------------------------------------------------- what was asked
@dataclass(frozen=True, kw_only=True)
class Asked:
    """`page` and `cursor` are both None for the first page of a list."""

    limit: int = DEFAULT_LIMIT
    page: int | None = None
    cursor: Cursor | None = None


def read(params: Mapping[str, str]) -> Asked:
    """Read `limit` and `page` or `cursor`; empty is as good as missing.

    Raises ValidationError naming the field.
    """
    limit = _whole(params, "limit", maximum=MAX_LIMIT) or DEFAULT_LIMIT
    page = _whole(params, "page", maximum=MAX_DEPTH)
    cursor = params.get("cursor", "")
    if page is not None and cursor:
        raise ValidationError({"page": [_("Give page or cursor, not both.")]})
    if page is not None and page * limit > MAX_DEPTH:
        raise ValidationError({"page": [_too_deep()]})
    return Asked(limit=limit, page=page, cursor=Cursor.decode(cursor) if cursor else None)


def _whole(params: Mapping[str, str], name: str, *, maximum: int) -> int | None:
    text = params.get(name, "")
    if not text:
        return None
    # Bounded before int(): a text of a million digits would take seconds.
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValidationError({name: [_("A whole number is needed.")]})
    number = int(text)
    if 1 <= number <= maximum:
        return number
    if number and name == "page":
        raise ValidationError({name: [_too_deep()]})
    message = _("Must be between %(minimum)s and %(maximum)s.")
    raise ValidationError({name: [message % {"minimum": 1, "maximum": maximum}]})


def _too_deep() -> str:
    message = _("Pages reach down to row %(depth)s. Follow next, which uses cursor, from there.")
    return message % {"depth": MAX_DEPTH}


# ---------------------------------------------------------------- a page
@dataclass(frozen=True, kw_only=True)
class Page(Generic[R]):
    """`next_cursor` is "" at the end of the list."""

    asked: Asked
    rows: list[R]
    next_cursor: str


def paginate(queryset: QuerySet[M], *, asked: Asked, id_field: str = "id") -> Page[M]:
    """Fetch the page of `queryset` that was asked for, in one query.

    The queryset's model has a `created_at`, and an index that ends in it and `id_field`.
    Raises BadCursor for the cursor of a list with another kind of ids.
    """
    rows = queryset.order_by("-created_at", f"-{id_field}")
    if asked.cursor is not None:
        rows = rows.filter(_below(asked.cursor, queryset.model._meta.get_field(id_field)))
    # One row more than shown tells whether there is a next page.
    first = first_row(asked)
    return cut(list(rows[first : first + asked.limit + 1]), asked=asked, id_field=id_field)


def first_row(asked: Asked) -> int:
    """Return how many rows come before the page, counted from the cursor if there is one."""
    return (asked.page - 1) * asked.limit if asked.page is not None else 0


def cut(found: list[R], *, asked: Asked, id_field: str = "id") -> Page[R]:
    """Return the page of rows that were found from its first one on, wherever they are from:
    its limit and one more, if there are so many."""
    shown = found[: asked.limit]
    next_cursor = ""
    if len(found) > len(shown):
        last: Any = shown[-1]
        last_id = str(getattr(last, id_field))
        next_cursor = Cursor(created_at=last.created_at, id=last_id).encode()
    return Page(asked=asked, rows=shown, next_cursor=next_cursor)


def _below(cursor: Cursor, id_field: Any) -> Q:
    try:
        last_id = id_field.to_python(cursor.id)
    except InvalidValue as error:
        raise BadCursor from error
    # The outer bound looks redundant and is the point: an index can start reading at it.
    # With the alternatives alone the database walks down from the top of the list.
    return Q(created_at__lte=cursor.created_at) & (
        Q(created_at__lt=cursor.created_at) | Q(**{f"{id_field.name}__lt": last_id})
    )


def answer(request: Request, *, page: Page[R], results: list[Any]) -> dict[str, Any]:
    """Return the body of a list. Links keep the other parameters of the request.

    `next` goes by page for those who do, as far as pages reach, and by cursor for all
    others. There is a `previous` only by page.
    """
    asked = page.asked
    following = previous = None
    if page.next_cursor:
        following = _link(request, cursor=page.next_cursor)
        if asked.page is not None and (asked.page + 1) * asked.limit <= MAX_DEPTH:
            following = _link(request, page=str(asked.page + 1))
    if asked.page is not None and asked.page > 1:
        previous = _link(request, page=str(asked.page - 1))
    return {"results": results, "next": following, "previous": previous}


def _link(request: Request, **place: str) -> str:
    query = request.query_params.copy()
    for name in ("page", "cursor"):
        query.pop(name, None)
    query.update(place)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
