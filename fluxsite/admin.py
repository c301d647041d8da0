from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_q.admin import ScheduleAdmin as BaseScheduleAdmin
from django_q.models import Schedule

from fluxsite import logging_in, member_admin  # noqa: F401 - member_admin registers the members
from fluxsite.audit_log.admin import AuditEntryAdmin
from fluxsite.models import ApiToken, FailedLogin

__all__ = ["ApiTokenAdmin", "AuditEntryAdmin"]

admin.site.site_header = "Fluxsite"
admin.site.site_title = "Fluxsite"


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    list_display = [
        "name",
        "hint",
        "user",
        "scopes",
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
        "scopes",
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


@admin.register(FailedLogin)
class FailedLoginAdmin(admin.ModelAdmin):
    """To unlock is to delete: nothing of it is worth keeping."""

    list_display = ["name", "ip_address", "failures_since_start", "since", "is_locked"]
    list_display_links = None
    search_fields = ["username", "ip_address"]
    ordering = ["-attempt_time"]
    actions = ["unlock"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.display(description=_("name"), ordering="username")
    def name(self, row: FailedLogin) -> str:
        return row.username or str(_("all names"))

    @admin.display(description=_("since"), ordering="attempt_time")
    def since(self, row: FailedLogin) -> Any:
        return row.attempt_time

    @admin.display(description=_("locked out"), boolean=True)
    def is_locked(self, row: FailedLogin) -> bool:
        return logging_in.is_locked(row)

    @admin.action(description=_("Let the selected try again"), permissions=["delete"])
    def unlock(self, request: HttpRequest, queryset: Any) -> None:
        queryset.delete()


admin.site.unregister(Schedule)


@admin.register(Schedule)
class ScheduleAdmin(BaseScheduleAdmin):  # type: ignore[misc]
    """A schedule may call any function: whoever could write one could do everything."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


if settings.OIDC_SERVER_URL:
    # Providers come from the environment alone, and tokens are not kept.
    from allauth.account.models import EmailAddress
    from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken

    for _model in (EmailAddress, SocialAccount, SocialApp, SocialToken):
        admin.site.unregister(_model)

    @admin.register(SocialAccount)
    class SocialAccountAdmin(admin.ModelAdmin):
        """Whose an account of the provider is, is found out when somebody comes by it. Whoever
        could write it down here would be any superuser they like."""

        list_display = ["user", "uid"]
        list_select_related = ["user"]
        search_fields = ["uid", "user__username"]
        fields = ["user", "uid", "last_login", "date_joined"]

        def has_add_permission(self, request: HttpRequest) -> bool:
            return False

        def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
            return False
