"""Pages of the admin for rows that tell what happened. All apps use this module; it knows none."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


class ReadOnly:
    """Goes before ModelAdmin: looked at, searched, never edited."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
