"""Admin: members with what they have, use and take; suspended and let in again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, IntegerField, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from fluxsite import members
from fluxsite.models import ApiToken
from generation import polling
from generation.models import FluxTask, StorageUse

#: How far back tasks are counted.
LATELY = timedelta(days=30)

#: What makes somebody staff, or more: for superusers to decide.
RANKS = ("is_staff", "is_superuser", "groups", "user_permissions")

admin.site.unregister([User, Group])


@admin.register(Group)
class MemberGroupAdmin(GroupAdmin):
    """Groups that staff name and make; what their members may do is for superusers to decide."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, "permissions"]


@admin.register(User)
class MemberAdmin(UserAdmin):
    list_display = [
        *("username", "state", "balance", "used", "tasks_lately", "storage", "last_seen"),
    ]
    list_filter = ["is_active", "is_staff", "groups"]
    list_per_page = 50
    show_full_result_count = False
    readonly_fields = ["state", "figures", "links", "last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["username", "password", "state", "figures", "links"]}),
        (gettext_lazy("Personal info"), {"fields": ["first_name", "last_name", "email"]}),
        (gettext_lazy("Permissions"), {"fields": [*RANKS]}),
        (gettext_lazy("Important dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    actions = ["suspend", "reactivate"]

    # ------------------------------------------------------------ who may do what
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, *RANKS]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever could change the password or the address of a superuser would be one.
        if obj is not None and not request.user.is_superuser:
            is_above = obj.is_superuser or (obj.is_staff and obj.pk != request.user.pk)
            if is_above:
                return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and not members.may_suspend(member=obj, by=request.user):
            return False
        return super().has_delete_permission(request, obj)

    # ------------------------------------------------------------ figures
    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        since = timezone.now() - LATELY
        tasks = FluxTask.objects.filter(user=OuterRef("pk")).order_by().values("user")
        tokens = ApiToken.objects.filter(user=OuterRef("pk")).order_by().values("user")
        storage = StorageUse.objects.filter(user=OuterRef("pk")).values("byte_size")
        lately = tasks.filter(created_at__gte=since).annotate(n=Count("pk")).values("n")
        found: QuerySet[User] = super().get_queryset(request)
        return found.annotate(
            account=F("credits_account__id"),
            has=F("credits_account__credits_balance"),
            has_used=F("credits_account__total_used"),
            drew=Coalesce(Subquery(lately, output_field=IntegerField()), 0),
            takes=Subquery(storage[:1]),
            drew_at=Subquery(tasks.annotate(at=Max("created_at")).values("at")),
            spoke_at=Subquery(tokens.annotate(at=Max("last_used_at")).values("at")),
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        if settings.CREDITS_ENABLED:
            return self.list_display
        return [name for name in self.list_display if name not in ("balance", "used")]

    @admin.display(description=gettext_lazy("state"), ordering="is_active")
    def state(self, member: User) -> str:
        if not member.is_active:
            return _("suspended")
        if member.is_superuser:
            return _("superuser")
        return _("staff") if member.is_staff else _("active")

    @admin.display(description=gettext_lazy("balance"), ordering="has")
    def balance(self, member: Any) -> str:
        return "–" if member.has is None else str(member.has)

    @admin.display(description=gettext_lazy("used in all"), ordering="has_used")
    def used(self, member: Any) -> str:
        return str(member.has_used or 0)

    @admin.display(description=gettext_lazy("tasks in 30 days"))
    def tasks_lately(self, member: Any) -> str:
        return str(member.drew)

    @admin.display(description=gettext_lazy("storage"), ordering="takes")
    def storage(self, member: Any) -> str:
        return filesizeformat(member.takes or 0)

    @admin.display(description=gettext_lazy("last seen"), ordering="last_login")
    def last_seen(self, member: Any) -> str:
        times: list[datetime | None] = [member.last_login, member.drew_at, member.spoke_at]
        known = [timezone.localtime(time) for time in times if time]
        return date_format(max(known), "DATETIME_FORMAT") if known else _("never")

    @admin.display(description=gettext_lazy("figures"))
    def figures(self, member: Any) -> SafeString:
        shown = [
            (gettext_lazy("tasks in 30 days"), self.tasks_lately(member)),
            (gettext_lazy("storage"), self.storage(member)),
            (gettext_lazy("last seen"), self.last_seen(member)),
        ]
        if settings.CREDITS_ENABLED:
            credits_ = [
                (gettext_lazy("balance"), self.balance(member)),
                (gettext_lazy("used in all"), self.used(member)),
            ]
            shown = [*credits_, *shown]
        return format_html_join(" · ", "{}: <strong>{}</strong>", shown)

    @admin.display(description=gettext_lazy("links"))
    def links(self, member: Any) -> SafeString:
        """Lead to all there is of a member."""
        if member.pk is None:
            return format_html("–")
        name = member.get_username()
        places: list[tuple[str, dict[str, Any], str]] = [
            ("admin:generation_fluxtask_changelist", {"user__id__exact": member.pk}, _("tasks")),
            # The page shows one's own; the API shows staff that of others.
            ("history:unified-history", {"member": name}, _("history")),
            ("admin:fluxsite_apitoken_changelist", {"user__id__exact": member.pk}, _("API tokens")),
        ]
        if settings.CREDITS_ENABLED:
            ledger = {"account__id__exact": member.account}
            places = [
                ("admin:credits_ledgerentry_changelist", ledger, _("ledger")),
                ("admin:credits_ledgerentry_add", {"username": name}, _("grant or take")),
                *places,
            ]
            if member.account is None:
                # Nothing was ever booked for them.
                places = places[1:]
        return format_html_join(
            " · ",
            '<a href="{}?{}">{}</a>',
            ((reverse(place), urlencode(query), text) for place, query, text in places),
        )

    # ------------------------------------------------------------ suspending
    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(require_POST(self.suspension_view))
        return [
            path("<int:user_id>/suspend/", view, {"on": True}, name="auth_user_suspend"),
            path("<int:user_id>/reactivate/", view, {"on": False}, name="auth_user_reactivate"),
            *super().get_urls(),
        ]

    def suspension_view(self, request: HttpRequest, user_id: int, *, on: bool) -> HttpResponse:
        member = get_object_or_404(User, pk=user_id)
        if not members.may_suspend(member=member, by=request.user):
            raise PermissionDenied
        # As if chosen in the list: so it is one transaction with what the audit log tells of it.
        actions: dict[str, Any] = self.get_actions(request)
        name = "suspend" if on else "reactivate"
        if name not in actions:
            # Django's admin has no actions in a pop-up.
            raise PermissionDenied
        act = actions[name][0]
        act(self, request, User.objects.filter(pk=member.pk))
        return HttpResponseRedirect(reverse("admin:auth_user_change", args=[member.pk]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        member = self.get_object(request, object_id)
        may = member is not None and members.may_suspend(member=member, by=request.user)
        context = {**(extra_context or {}), "may_suspend": may}
        return super().change_view(request, object_id, form_url, context)

    @admin.action(description=gettext_lazy("Suspend the selected members"), permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        allowed = self._allowed(request, queryset)
        ended = members.suspend(members=allowed, now=timezone.now())
        for member in allowed:
            self.log_change(request, member, _("Suspended."))
        polling.kick_on_commit()
        if allowed:
            text = _(
                "Suspended members: %(count)d. Ended with it: %(tasks)d waiting tasks, "
                "%(tokens)d API tokens, %(sessions)d sessions."
            )
            words = {"count": len(allowed), **asdict(ended)}
            messages.success(request, text % words)

    @admin.action(
        description=gettext_lazy("Let the selected members in again"), permissions=["change"]
    )
    def reactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        done = 0
        for member in self._allowed(request, queryset):
            if members.reactivate(member=member):
                self.log_change(request, member, _("Reactivated."))
                done += 1
        messages.success(request, _("Members let in again: %(count)d") % {"count": done})

    def _allowed(self, request: HttpRequest, queryset: QuerySet[User]) -> list[User]:
        found = list(queryset)
        allowed = [m for m in found if members.may_suspend(member=m, by=request.user)]
        if len(allowed) < len(found):
            text = _("Left alone, because yourself or above you: %(count)d")
            messages.warning(request, text % {"count": len(found) - len(allowed)})
        return allowed
