"""The page `/admin/exports/`, where staff choose a report and get it as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from fluxsite.audit_log import recording
from fluxsite.reports import index, writing
from fluxsite.reports.base import Asked, BadRequest, Report, read


class ExportForm(forms.Form):
    report = forms.ChoiceField(label=gettext_lazy("Contents"))
    # Not `format`: that word in an address means something to Django REST framework.
    file = forms.ChoiceField(
        label=gettext_lazy("File"),
        choices=[
            ("csv", gettext_lazy("CSV, for spreadsheets")),
            ("json", gettext_lazy("JSON, an object a line")),
        ],
    )
    since = forms.CharField(
        label=gettext_lazy("From"),
        required=False,
        max_length=10,
        widget=forms.TextInput(attrs={"type": "month", "placeholder": "2026-01"}),
    )
    until = forms.CharField(
        label=gettext_lazy("To"),
        required=False,
        max_length=10,
        widget=forms.TextInput(attrs={"type": "month", "placeholder": "2026-03"}),
        help_text=gettext_lazy("Both months included. Empty: from the first, to the last."),
    )
    member = forms.CharField(
        label=gettext_lazy("Member"),
        required=False,
        max_length=150,
        help_text=gettext_lazy("A username. Empty: everybody."),
    )

    def __init__(self, *args: Any, reports: list[Report], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked = Asked()
        choice: Any = self.fields["report"]
        choice.choices = [(report.name, report.label) for report in reports]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        names = ("since", "until", "member")
        try:
            self.asked = read(**{name: values.get(name, "") for name in names})
        except BadRequest as refusal:
            self.add_error(refusal.field, str(refusal))
        return values


@require_GET
@never_cache
def exports(request: HttpRequest) -> HttpResponseBase:
    """Show what can be exported; with `report` in the address, send it."""
    reports = index.open_to(request.user)
    if not reports:
        raise PermissionDenied
    is_asked = "report" in request.GET
    form = ExportForm(request.GET if is_asked else None, reports=reports, label_suffix="")
    if is_asked and form.is_valid():
        return _file(request, form)
    context = {**admin.site.each_context(request), "title": _("Exports"), "form": form}
    status = 422 if is_asked else 200
    return TemplateResponse(request, "reports/exports.html", context, status=status)


def _file(request: HttpRequest, form: ExportForm) -> StreamingHttpResponse:
    values = form.cleaned_data
    report = index.REPORTS[values["report"]]
    told = {name: [None, value] for name, value in values.items() if value}
    recording.record(action="export", changes=told, request=request)
    pieces = writing.pieces(report, asked=form.asked, format_name=values["file"])
    kind = writing.FORMATS[values["file"]]
    name = file_name(report, values, kind.extension)
    return StreamingHttpResponse(
        _encoded(pieces),
        content_type=kind.content_type,
        headers={
            "Content-Disposition": content_disposition_header(as_attachment=True, filename=name),
            # Filled in by never_cache as well; this alone must not be lost.
            "Cache-Control": "no-store, private",
            # A proxy that collects before it sends would hold all of it.
            "X-Accel-Buffering": "no",
        },
    )


def _encoded(pieces: Iterator[str]) -> Iterator[bytes]:
    # SQLite may hold half of a surrogate pair, which no encoding knows.
    return (piece.encode("utf-8", "replace") for piece in pieces)


def file_name(report: Report, values: dict[str, Any], extension: str) -> str:
    """Return a name that says what is in the file, such as ledger_2026-01_2026-03_alice.csv."""
    today = f"{timezone.localdate():%Y-%m-%d}"
    parts = [report.name, values["since"], values["until"] or today, values["member"]]
    return f"{'_'.join(part for part in parts if part)}.{extension}"
