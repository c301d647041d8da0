"""The audit log as staff read it: searched and filtered, never edited by anybody."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from fluxsite.audit_log.models import AuditEntry
from fluxsite.read_only import ReadOnly

#: Characters of a change in the list.
SHORT = 60
#: Names of staff to choose from; others are found by searching.
MAX_ACTORS = 50
#: What tells of itself, beside the actions of the lists, which go by their names.
NAMED = {
    "add": pgettext_lazy("audit", "added"),
    "change": pgettext_lazy("audit", "changed"),
    "delete": pgettext_lazy("audit", "deleted"),
    "login": pgettext_lazy("audit", "logged in"),
    "login_failed": pgettext_lazy("audit", "log-in failed"),
    "denied": pgettext_lazy("audit", "refused"),
    "export": pgettext_lazy("audit", "exported"),
    "password_change": pgettext_lazy("audit", "changed their password"),
}
COMMANDS = ("grant_credits", "make_redeem_codes")


# ---------------------------------------------------------------- filters
# What there is to choose is asked of the site and not of the log: it is long.
class Choice(admin.SimpleListFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{str(self.parameter_name): value}) if value else queryset


class ActorFilter(Choice):
    title = gettext_lazy("person")
    parameter_name = "actor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        users = get_user_model()
        name = users.USERNAME_FIELD
        staff = users.objects.filter(is_staff=True).order_by(name).values_list(name, flat=True)
        return [(each, each) for each in [*staff[:MAX_ACTORS], "manage.py"]]


class ActionFilter(Choice):
    title = gettext_lazy("action")
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        actions = {
            name
            for model in apps.get_models()
            if model_admin.admin_site.is_registered(model)
            for each in model_admin.admin_site.get_model_admin(model).actions or ()
            if (name := each if isinstance(each, str) else each.__name__)
        }
        others = [*sorted(actions.difference(NAMED)), *COMMANDS]
        return [*NAMED.items(), *((each, each) for each in others)]


class TypeFilter(Choice):
    title = gettext_lazy("kind of object")
    parameter_name = "object_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (model._meta.label_lower, str(capfirst(model._meta.verbose_name)))
            for model in apps.get_models()
            if model_admin.admin_site.is_registered(model)
        ]


# ---------------------------------------------------------------- the log
@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["created_at", "who", "done", "what", "short_changes", "address"]
    list_filter = [ActorFilter, ActionFilter, TypeFilter]
    date_hierarchy = "created_at"
    search_fields = ["actor", "object_label", "=object_id", "=request_id", "=address"]
    fields = [
        *("created_at", "who", "actor_id", "done", "object_type", "what", "object_id"),
        *("all_changes", "message", "request_id", "address"),
    ]
    readonly_fields = ["who", "done", "what", "all_changes", "created_at", "actor_id"]
    actions = None

    @admin.display(description=gettext_lazy("by"), ordering="actor")
    def who(self, entry: AuditEntry) -> str:
        return entry.actor or _("somebody")

    @admin.display(description=gettext_lazy("action"), ordering="action")
    def done(self, entry: AuditEntry) -> str:
        return str(NAMED.get(entry.action, entry.action))

    @admin.display(description=gettext_lazy("object"))
    def what(self, entry: AuditEntry) -> str:
        label = entry.object_label or entry.object_type
        if not entry.object_id or entry.action == AuditEntry.DELETE:
            return label
        try:
            name = entry.object_type.replace(".", "_")
            url = reverse(f"admin:{name}_change", args=[entry.object_id])
        except NoReverseMatch:
            return label
        return format_html('<a href="{}">{}</a>', url, label)

    @admin.display(description=gettext_lazy("changes"))
    def short_changes(self, entry: AuditEntry) -> str:
        changes = "; ".join(f"{name}: {_arrow(pair)}" for name, pair in entry.changes.items())
        told = changes or entry.message
        return told if len(told) <= SHORT else f"{told[: SHORT - 1]}…"

    @admin.display(description=gettext_lazy("changes"))
    def all_changes(self, entry: AuditEntry) -> SafeString | str:
        lines = ((name, _arrow(pair)) for name, pair in entry.changes.items())
        return format_html_join("", "<div>{}: {}</div>", lines) or "–"


def _arrow(pair: Any) -> str:
    old, new = (_("nothing") if each in (None, "", []) else each for each in pair)
    return f"{old} → {new}"
