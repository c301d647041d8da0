"""Admin: what members say of entries, and the reports among it that wait for an answer."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from history import feedback, sources
from history.models import Feedback


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("report")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", _("Open")), ("resolved", _("Resolved")), ("none", _("Votes only"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        reports = queryset.exclude(reason="")
        return {
            "open": reports.filter(resolved_at=None),
            "resolved": reports.exclude(resolved_at=None),
            "none": queryset.filter(reason=""),
        }.get(self.value() or "", queryset)


@admin.register(Feedback)
class FeedbackAdmin(admin.ModelAdmin):
    list_display = [
        *("updated_at", "user", "source", "entry_id", "vote", "reason", "short_text"),
        *("resolved_at", "resolved_by"),
    ]
    list_filter = [StateFilter, "vote", "reason", "source"]
    list_select_related = ["user", "resolved_by"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["user__username", "=entry_id", "text"]
    actions = ["resolve"]
    readonly_fields = [
        *("user", "source", "entry_id", "pictures", "vote", "reason", "text"),
        *("created_at", "updated_at", "reported_at", "resolved_at", "resolved_by"),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("in their words"))
    def short_text(self, said: Feedback) -> str:
        return said.text if len(said.text) <= 80 else f"{said.text[:79]}…"

    @admin.display(description=gettext_lazy("pictures"))
    def pictures(self, said: Feedback) -> SafeString:
        source = sources.load().get(said.source)
        pictures = source.pictures([said.entry_id]).get(said.entry_id, []) if source else []
        ours = [picture for picture in pictures if picture.id and picture.stored]
        if not ours:
            return format_html("–")
        return format_html_join(
            " ",
            '<a href="{}"><img src="{}" alt="" width="160" loading="lazy"></a>',
            ((picture.url, picture.thumb_320) for picture in ours),
        )

    @admin.action(description=gettext_lazy("Resolve the selected reports"), permissions=["change"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        n = feedback.resolve(queryset, by=request.user)
        text = ngettext("%(n)s report resolved.", "%(n)s reports resolved.", n) % {"n": n}
        self.message_user(request, text, messages.SUCCESS)
