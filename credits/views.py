"""The page of a member's credits: what there is, where it went, and a code to redeem.

It works before scripts load: the form posts and leads back, the link to older lines leads to
them. With htmx the same addresses answer with the part that changes.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from credits import budgets, codes, ledger, redeeming, statement
from credits.models import Account, LedgerEntry
from credits.templatetags.ledger import grouped
from fluxsite import paging

PAGE_SIZE = 20

_PERIODS = {
    "day": gettext_lazy("Today"),
    "week": gettext_lazy("This week"),
    "month": gettext_lazy("This month"),
}


class RedeemForm(forms.Form):
    code = forms.CharField(
        max_length=codes.MAX_TYPED,
        error_messages={
            "required": gettext_lazy("Enter a code."),
            "max_length": gettext_lazy("This is too long for a code."),
        },
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Show balance, budgets and the ledger from the top or from `cursor`; redeem a code."""
    _require_credits()
    if request.method == "POST":
        return _redeem(request)
    if _is_htmx(request) and "cursor" in request.GET:
        account = ledger.account_for(user=request.user)
        return _varying(render(request, "credits/_lines.html", _ledger(request, account)))
    return _varying(render(request, "credits/page.html", _context(request, RedeemForm())))


@login_required
@require_safe
@never_cache
def balance(request: HttpRequest) -> HttpResponse:
    """Tell the balance alone, for the account menu."""
    _require_credits()
    return HttpResponse(grouped(ledger.account_for(user=request.user).credits_balance))


def _redeem(request: HttpRequest) -> HttpResponse:
    form = RedeemForm(request.POST)
    if not form.is_valid():
        return _refuse(request, form, status=422)
    try:
        entry = redeeming.redeem(user=request.user, code=form.cleaned_data["code"])
    except redeeming.TooManyFailures as failures:
        form.add_error("code", failures.message)
        response = _refuse(request, form, status=429)
        response["Retry-After"] = str(failures.wait)
        return response
    except ledger.CodeRefused as refusal:
        _code, message = redeeming.explain(refusal)
        form.add_error("code", message)
        return _refuse(request, form, status=422)
    return _welcome(request, entry)


def _welcome(request: HttpRequest, entry: LedgerEntry) -> HttpResponse:
    now = ledger.account_for(user=request.user).credits_balance
    text = ngettext(
        "%(count)s credit added. You have %(balance)s now.",
        "%(count)s credits added. You have %(balance)s now.",
        entry.amount,
    ) % {"count": grouped(entry.amount), "balance": grouped(now)}
    if not _is_htmx(request):
        messages.success(request, text)
        return redirect("credits:page")
    context = {**_context(request, RedeemForm()), "success": text}
    response = render(request, "credits/_redeemed.html", context)
    # Whatever else on the page shows the balance asks for it again.
    response["HX-Trigger"] = "credits"
    return response


def _refuse(request: HttpRequest, form: RedeemForm, *, status: int) -> HttpResponse:
    if not _is_htmx(request):
        return render(request, "credits/page.html", _context(request, form), status=status)
    response = render(request, "credits/_redeem.html", {"form": form}, status=status)
    response["HX-Retarget"] = "#redeem"
    response["HX-Reswap"] = "outerHTML"
    return response


# ---------------------------------------------------------------- what the page shows
def _context(request: HttpRequest, form: RedeemForm) -> dict[str, Any]:
    member: Any = request.user
    account = ledger.account_for(user=member)
    account.user = member  # Known already, and the budgets would ask for it.
    return {
        "account": account,
        "reserved": ledger.reserved_now(user=member),
        "budgets": [(_PERIODS[use.period], use) for use in budgets.state_of(account=account)],
        "form": form,
        **_ledger(request, account),
    }


def _ledger(request: HttpRequest, account: Account) -> dict[str, Any]:
    text = request.GET.get("cursor", "")
    try:
        cursor = paging.Cursor.decode(text) if text else None
        found = paging.paginate(
            statement.events(account=account),
            asked=paging.Asked(limit=PAGE_SIZE, cursor=cursor),
        )
    except paging.BadCursor as error:
        msg = "not a cursor"
        raise BadRequest(msg) from error
    return {
        "lines": statement.compose(user=request.user, entries=found.rows),
        "next_cursor": found.next_cursor,
    }


def _require_credits() -> None:
    if not settings.CREDITS_ENABLED:
        raise Http404


def _is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _varying(response: HttpResponse) -> HttpResponse:
    """One address has two bodies: caches, the browser's own among them, must know."""
    patch_vary_headers(response, ["HX-Request"])
    return response
