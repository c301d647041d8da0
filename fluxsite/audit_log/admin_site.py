"""The admin site that writes down what is done in it.

Every model admin registered with it, ours or another's, is told of by `AuditedAdmin`: what is
added, changed or deleted in the transaction that does it, and every action with the rows it was
run on. An action runs in one transaction with its entries, so it must not wait for the network;
only one on very many rows does not, and is told of when it is over.
What else is posted to a page of the site is told of by the name of the page, so that a page made
tomorrow is not forgotten; and so is what is refused.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import translation

from fluxsite.audit_log import recording


@dataclass
class Notes:
    """What is remembered while a request is answered."""

    before: dict[Any, Any] = field(default_factory=dict)
    #: What was done, if anything, is told in a better way than by the name of the page.
    is_told: bool = False
    #: While an action runs: what it logs of its rows, by key, to be told with them.
    words: dict[Any, str] | None = None


def notes_of(request: Any) -> Notes:
    if not hasattr(request, "audit_notes"):
        request.audit_notes = Notes()
    notes: Notes = request.audit_notes
    return notes


# ---------------------------------------------------------------- rows
class AuditedAdmin(admin.ModelAdmin):
    """Goes before a model admin's own class."""

    # ------------------------------------------------------------ one row
    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None and request.method == "POST":
            notes_of(request).before[row.pk] = recording.state_of(row)
        return row

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:  # noqa: FBT001
        before = notes_of(request).before
        if change and form.instance.pk not in before:
            # A row edited in the list: the form holds what it will be, the database what it was.
            before[form.instance.pk] = recording.fresh_state(form.instance)
        return super().save_form(request, form, change)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        after = recording.fresh_state(obj)
        self._record(request, "add", obj, before={}, after=after, message=message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        after = recording.fresh_state(obj)
        before = notes_of(request).before.get(obj.pk, after)
        self._record(request, "change", obj, before=before, after=after, message=message)
        return super().log_change(request, obj, message)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: FBT001
        """Tell of the rows that were edited on another one's page."""
        edited = [*formset.deleted_forms, *(f for f in formset.initial_forms if f.has_changed())]
        keys = {each.instance.pk for each in edited if each.instance.pk is not None}
        rows = recording.Selection.with_keys(formset.model, keys)
        super().save_formset(request, form, formset, change)
        changes = rows.differences()
        for row in rows.rows:
            if told := changes.get(row.pk):
                action = "delete" if row.pk in rows.gone else "change"
                recording.record(action=action, on=row, changes=told, request=request)
        for row in getattr(formset, "new_objects", []):
            told = recording.difference({}, recording.fresh_state(row), model=type(row))
            recording.record(action="add", on=row, changes=told, request=request)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        is_query = isinstance(queryset, QuerySet)
        rows = recording.Selection.of(queryset) if is_query else recording.Selection(queryset)
        gone = {
            key: recording.difference(before, {}, model=self.model)
            for key, before in rows.before.items()
        }
        total = queryset.count() if len(rows.rows) > recording.MAX_ROWS else len(rows.rows)
        rows.record(changes=gone, total=total, action="delete", request=request)
        return super().log_deletions(request, queryset)

    def _record(
        self, request: HttpRequest, action: str, obj: Any, *, before: Any, after: Any, message: Any
    ) -> None:
        notes = notes_of(request)
        notes.is_told = True
        # The words Django has for it, in one language for all who read it.
        with translation.override("en"):
            text = json.dumps(message) if isinstance(message, list) else str(message)
            told = LogEntry(change_message=text).get_change_message()
        if notes.words is not None and isinstance(obj, self.model):
            notes.words[obj.pk] = told
            return
        recording.record(
            action=action,
            on=obj,
            changes=recording.difference(before, after, model=type(obj)),
            message=told,
            request=request,
        )

    # ------------------------------------------------------------ actions
    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        return {
            name: (self._recorded(function, name), name, description)
            for name, (function, _name, description) in actions.items()
        }

    def _recorded(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
            notes_of(request).is_told = True
            using = router.db_for_write(self.model)
            if function is delete_selected:  # Tells by `log_deletions`.
                with transaction.atomic(using=using):
                    return function(model_admin, request, queryset)
            rows = recording.Selection.of(queryset)
            if len(rows.rows) > recording.MAX_ROWS:
                # In one transaction they would keep all other writers waiting.
                return self._run_on_many(request, queryset, rows, function, name)
            with transaction.atomic(using=using):
                notes_of(request).words = {}
                answer = function(model_admin, request, queryset)
                self._tell(request, rows, name, total=len(rows.rows), asks=is_page(answer))
            return answer

        return run

    def _run_on_many(
        self, request: HttpRequest, queryset: Any, rows: Any, function: Any, name: str
    ) -> Any:
        total = queryset.count()
        notes_of(request).words = {}
        try:
            answer = function(self, request, queryset)
        except Exception:
            # What was done before it failed stays done.
            self._tell(request, rows, name, total=total, asks=True)
            raise
        self._tell(request, rows, name, total=total, asks=is_page(answer))
        return answer

    def _tell(self, request: HttpRequest, rows: Any, name: str, *, total: int, asks: bool) -> None:
        """Write what an action did. A page that asks for confirmation has done nothing yet."""
        notes = notes_of(request)
        words, notes.words = notes.words or {}, None
        changes = rows.differences()
        if rows.rows and (changes or words or not asks):
            rows.record(changes=changes, words=words, total=total, action=name, request=request)

    # ------------------------------------------------------------ the views, all told above
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        notes_of(request).is_told = True
        return super().changeform_view(request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        notes_of(request).is_told = True
        return super().changelist_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        notes_of(request).is_told = True
        return super().delete_view(request, *args, **kwargs)

    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Only reached where the admin of users has it: Django saves and logs apart."""
        notes_of(request).is_told = True
        with transaction.atomic():
            return super().user_change_password(request, *args, **kwargs)  # type: ignore[misc]


def is_page(answer: Any) -> bool:
    """Whether an answer is a page that shows something, rather than a file or a way on."""
    is_html = isinstance(answer, HttpResponse) and answer["Content-Type"].startswith("text/html")
    return is_html and answer.status_code == 200


@functools.cache
def audited(admin_class: type[admin.ModelAdmin]) -> type[admin.ModelAdmin]:
    """Return a model admin's class with the log before it."""
    if issubclass(admin_class, AuditedAdmin):
        return admin_class
    names = {"__module__": admin_class.__module__, "__doc__": admin_class.__doc__}
    return type(admin_class.__name__, (AuditedAdmin, admin_class), names)


# ---------------------------------------------------------------- the site
class StaffLoginForm(AdminAuthenticationForm):
    def confirm_login_allowed(self, user: Any) -> None:
        try:
            super().confirm_login_allowed(user)
        except ValidationError:
            if self.request is not None:
                record_denial(self.request, by=user)
            raise


class AuditedAdminSite(admin.AdminSite):
    login_form = StaffLoginForm

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        super().register(model_or_iterable, audited(admin_class or admin.ModelAdmin), **options)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002
        inner = super().admin_view(watched(view), cacheable)

        def outer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if has_nul(request):
                msg = "PostgreSQL does not look for a NUL, and nothing has one."
                raise SuspiciousOperation(msg)
            leaves = request.path == reverse("admin:logout", current_app=self.name)
            if request.user.is_authenticated and not self.has_permission(request) and not leaves:
                record_denial(request)
            return inner(request, *args, **kwargs)

        return functools.update_wrapper(outer, inner)


def has_nul(request: HttpRequest) -> bool:
    """Whether an address of the site, or the rows chosen for an action, has a NUL in it. Forms look
    for it by themselves."""
    chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
    asked = (value for _name, values in request.GET.lists() for value in values)
    return any("\0" in text for text in (request.path, *asked, *chosen))


def watched(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view of the site that tells of what it refuses, and of what it was told to do
    where nobody else did."""

    @functools.wraps(view)
    def watch(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        user = request.user  # Before it leaves, if this is what it does.
        try:
            answer = view(request, *args, **kwargs)
        except PermissionDenied:
            record_denial(request)
            raise
        is_asking = request.method in ("GET", "HEAD", "OPTIONS")
        was_done = not is_asking and answer.status_code < 400 and not is_page(answer)
        if was_done and not notes_of(request).is_told:
            match = request.resolver_match
            name = (match.url_name if match else None) or "request"
            recording.record(action=name, by=user, message=_line(request), request=request)
        return answer

    return watch


def record_denial(request: HttpRequest, *, by: Any = None) -> None:
    recording.record_refusal(action="denied", by=by, message=_line(request), request=request)


def _line(request: HttpRequest) -> str:
    return f"{request.method} {request.path}"
