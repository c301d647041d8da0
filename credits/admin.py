"""Admin: prices and budgets can be changed, credits granted and codes made; accounts and the
ledger only tell what happened."""

from __future__ import annotations

from itertools import chain
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.http import content_disposition_header, urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST

from credits import batches, codes, ledger
from credits.ids import new_id
from credits.models import Account, Budget, LedgerEntry, Price, RedeemCode
from fluxsite import spreadsheets
from fluxsite.read_only import ReadOnly


class CreditsAdmin(admin.ModelAdmin):
    list_per_page = 50
    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(settings.CREDITS_ENABLED) and super().has_module_permission(request)


class ReadOnlyAdmin(ReadOnly, CreditsAdmin):
    """For what only tells what happened."""


# ---------------------------------------------------------------- accounts
@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["user", "credits_balance", "total_used", "updated_at", "links"]
    list_select_related = ["user"]
    search_fields = ["=id", "user__username"]

    @admin.display(description="")
    def links(self, account: Account) -> SafeString:
        entries = reverse("admin:credits_ledgerentry_changelist")
        add = reverse("admin:credits_ledgerentry_add")
        name = {"username": account.user.get_username()}
        return format_html(
            '<a href="{}?{}">{}</a> · <a href="{}?{}">{}</a>',
            entries,
            urlencode({"account__id__exact": account.pk}),
            _("ledger"),
            add,
            urlencode(name),
            _("grant or take"),
        )


# ---------------------------------------------------------------- ledger
class EntryForm(forms.ModelForm):
    """Grants with a positive amount, takes with a negative one."""

    username = forms.CharField(label=gettext_lazy("member"), max_length=150)
    amount = forms.IntegerField(
        label=gettext_lazy("credits"),
        min_value=-ledger.MAX_AMOUNT,
        max_value=ledger.MAX_AMOUNT,
        help_text=gettext_lazy("A negative number takes credits away."),
    )
    reason = forms.CharField(
        label=gettext_lazy("reason"),
        max_length=500,
        help_text=gettext_lazy("The member can read it."),
    )
    # Made with the form: sending it twice books once.
    token = forms.CharField(widget=forms.HiddenInput, initial=new_id, max_length=32)

    class Meta:
        model = LedgerEntry
        fields = ["amount", "reason"]

    def clean_username(self) -> Any:
        users = get_user_model()
        try:
            return users.objects.get_by_natural_key(self.cleaned_data["username"])
        except users.DoesNotExist:
            raise forms.ValidationError(_("There is no member of this name.")) from None

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError(_("Nothing would change."))
        return amount


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "account", "kind", "amount", "charged", "reference", "actor"]
    list_filter = ["kind"]
    list_select_related = ["account__user"]
    search_fields = ["reference", "account__user__username", "actor"]
    date_hierarchy = "created_at"

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup == "account__id__exact" or super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("credits.adjust")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["username", "amount", "reason", "token"]})]
        return super().get_fieldsets(request, obj)

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = EntryForm
        return super().get_form(request, obj, *args, **kwargs)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        try:
            return super().add_view(request, form_url, extra_context)
        except ledger.InsufficientCredits as refusal:
            messages.error(
                request,
                _("%(needed)d credits cannot be taken: %(balance)d are left.")
                % {"needed": refusal.needed, "balance": refusal.balance},
            )
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: LedgerEntry, form: Any, change: bool) -> None:  # noqa: FBT001
        amount = form.cleaned_data["amount"]
        book = ledger.grant if amount > 0 else ledger.adjust
        entry = book(
            user=form.cleaned_data["username"],
            amount=amount,
            reference=f"admin:{form.cleaned_data['token']}",
            reason=form.cleaned_data["reason"],
            actor=request.user.get_username(),
        )
        # The admin goes on with its own object, to log it and to link to it.
        obj.pk = entry.pk
        obj.refresh_from_db()


# ---------------------------------------------------------------- what staff decide
@admin.register(Price)
class PriceAdmin(CreditsAdmin):
    list_display = ["key", "credits", "updated_at"]
    list_editable = ["credits"]
    search_fields = ["key"]


@admin.register(Budget)
class BudgetAdmin(CreditsAdmin):
    list_display = ["__str__", "user", "group", "per_day", "per_week", "per_month"]
    list_select_related = ["user", "group"]
    search_fields = ["user__username", "group__name"]
    raw_id_fields = ["user"]


# ---------------------------------------------------------------- codes
class BatchForm(forms.ModelForm):
    count = forms.IntegerField(
        label=gettext_lazy("how many codes"), min_value=1, max_value=10_000, initial=1
    )

    class Meta:
        model = RedeemCode
        fields = ["credits", "max_uses", "expires_at", "batch"]

    def clean_credits(self) -> int:
        amount: int = self.cleaned_data["credits"]
        if amount > ledger.MAX_AMOUNT:
            raise forms.ValidationError(_("That is too much."))
        return amount


@admin.register(RedeemCode)
class RedeemCodeAdmin(CreditsAdmin):
    """Making codes answers with a file of them, the only time they are seen."""

    list_display = ["hint", "batch", "credits", "uses", "max_uses", "expires_at", "created_by"]
    list_filter = ["batch"]
    search_fields = ["batch", "=hint", "created_by"]
    actions = ["expire"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # The ledger tells of them; a code that must not work is expired.

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["count", "credits", "max_uses", "expires_at", "batch"]})]
        return [
            (None, {"fields": ["batch", "expires_at", *self.get_readonly_fields(request, obj)]})
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return []
        return ["hint", "credits", "uses", "max_uses", "created_by", "created_at"]

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = BatchForm
        return super().get_form(request, obj, *args, **kwargs)

    # ------------------------------------------------------------ making
    def save_model(self, request: HttpRequest, obj: RedeemCode, form: Any, change: bool) -> None:  # noqa: FBT001
        if change:
            super().save_model(request, obj, form, change)
            return
        asked = form.cleaned_data
        made = codes.make(
            amount=asked["credits"],
            count=asked["count"],
            max_uses=asked["max_uses"],
            expires_at=asked["expires_at"],
            batch=asked["batch"] or batches.name_for(timezone.now()),
            created_by=request.user.get_username(),
        )
        request.codes_made = made  # type: ignore[attr-defined]
        obj.pk = RedeemCode.objects.get(digest=codes.digest_of(made[0])).pk
        obj.refresh_from_db()

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:
        if not add:
            return super().construct_change_message(request, form, formsets, add)
        # For staff who look back; like all that is kept, in one language for all.
        made = len(request.codes_made)  # type: ignore[attr-defined]
        return f"Made {made} codes in the batch {form.instance.batch}."

    def response_add(
        self, request: HttpRequest, obj: RedeemCode, post_url_continue: Any = None
    ) -> HttpResponse:
        end = batches.moment(obj.expires_at)
        made: list[str] = request.codes_made  # type: ignore[attr-defined]
        rows = ((code, obj.credits, obj.max_uses, end, obj.batch) for code in made)
        body = spreadsheets.MARK + spreadsheets.lines([batches.CODES, *rows])
        return HttpResponse(body, headers=_as_file(f"codes {obj.batch}"))

    # ------------------------------------------------------------ ending
    @admin.action(description=gettext_lazy("Expire the selected codes"), permissions=["change"])
    def expire(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> None:
        count = batches.expire(queryset, now=timezone.now())
        messages.success(
            request,
            ngettext("%(count)d code expired.", "%(count)d codes expired.", count)
            % {"count": count},
        )

    # ------------------------------------------------------------ batches
    def get_urls(self) -> list[Any]:
        def page(address: str, view: Any, name: str) -> Any:
            return path(address, self.admin_site.admin_view(view), name=f"credits_{name}")

        return [
            page("batches/", self.batches_view, "batches"),
            page("batches/expire/", self.expire_batch_view, "batch_expire"),
            page("batches/usage/", self.batch_usage_view, "batch_usage"),
            *super().get_urls(),
        ]

    def batches_view(self, request: HttpRequest) -> HttpResponse:
        """List the batches with what became of them."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        found = Paginator(batches.overview(now=timezone.now()), self.list_per_page)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Batches of codes"),
            "opts": self.opts,
            "page": found.get_page(request.GET.get("p")),
            "may_expire": self.has_change_permission(request),
        }
        return TemplateResponse(request, "admin/credits/redeemcode/batches.html", context)

    @method_decorator(require_POST)
    def expire_batch_view(self, request: HttpRequest) -> HttpResponse:
        """Run the action on all codes of a batch, as if they had been selected."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        actions: dict[str, Any] = self.get_actions(request)
        if "expire" not in actions:
            # Django's admin has no actions in a pop-up.
            raise PermissionDenied
        expire = actions["expire"][0]
        expire(self, request, self._of_batch(request.POST.get("batch")))
        return HttpResponseRedirect(reverse("admin:credits_batches"))

    @method_decorator(require_GET)
    def batch_usage_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """Send who redeemed which codes of a batch, and when."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        name = request.GET.get("batch")
        self._of_batch(name)
        pages = batches.usage(batch=str(name))
        pieces = (spreadsheets.lines(page) for page in pages if page)
        heading = spreadsheets.MARK + spreadsheets.lines([batches.USAGE])
        return StreamingHttpResponse(chain([heading], pieces), headers=_as_file(f"usage {name}"))

    def _of_batch(self, name: str | None) -> QuerySet[RedeemCode]:
        found = RedeemCode.objects.filter(batch=name)
        # PostgreSQL does not look for a NUL.
        if name is None or "\0" in name or not found.exists():
            raise Http404
        return found


def _as_file(name: str) -> dict[str, str]:
    # What ends a line would end a header.
    plain = " ".join(name.split())
    return {
        "Content-Type": spreadsheets.CONTENT_TYPE,
        "Content-Disposition": str(
            content_disposition_header(as_attachment=True, filename=f"{plain}.csv")
        ),
        "Cache-Control": "no-store, private",
    }
