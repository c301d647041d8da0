from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from fluxsite import member_admin  # noqa: F401 - registers the members
from fluxsite.audit_log.admin import AuditEntryAdmin
from fluxsite.models import ApiToken

__all__ = ["ApiTokenAdmin", "AuditEntryAdmin"]

admin.site.site_header = "Fluxsite"
admin.site.site_title = "Fluxsite"


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    list_display = [
        "name",
        "hint",
        "user",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    ]
    list_select_related = ["user"]
    search_fields = ["name", "user__username"]
    readonly_fields = [
        "user",
        "name",
        "hint",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    ]
    actions = ["revoke"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        # A token is shown once, to its owner; nobody makes one in another's name here.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description=_("Revoke the selected tokens"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        queryset.filter(revoked_at=None).update(revoked_at=timezone.now())
