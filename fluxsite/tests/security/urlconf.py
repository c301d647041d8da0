"""Every address of the site, walked through the URLconf, so that a new one is never forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True)
class Address:
    """`route` is as the URLconf has it, `name` with its namespace, `view` what answers."""

    route: str
    name: str
    view: Callable[..., Any]

    @property
    def template(self) -> str:
        """As OpenAPI writes it: /api/flux/task/{task_id}."""
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.route)

    def path(self, **values: str) -> str:
        """Return the address with values in place of its parameters."""
        if self.name in _EXPRESSIONS:
            return _EXPRESSIONS[self.name]
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], self.route)

    @property
    def parameters(self) -> list[str]:
        return [] if self.name in _EXPRESSIONS else re.findall(r"<(?:\w+:)?(\w+)>", self.route)


#: An address for each of those that are regular expressions.
_EXPRESSIONS = {
    "admin:app_list": "/admin/auth/",
    "admin:regex": "/admin/nothing/",
    "regex": "/static/nothing.css",
}


def addresses() -> list[Address]:
    return list(_walk(get_resolver(), "", ()))


def _walk(resolver: URLResolver, route: str, spaces: tuple[str, ...]) -> Iterator[Address]:
    for each in resolver.url_patterns:
        here = route + str(each.pattern)
        if isinstance(each, URLPattern):
            name = each.name or ("regex" if "(?" in str(each.pattern) else "unnamed")
            yield Address(here, ":".join([*spaces, name]), each.callback)
        else:
            yield from _walk(each, here, (*spaces, each.namespace) if each.namespace else spaces)
