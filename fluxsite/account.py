"""A member's own pages: account, password, tokens; and the way in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django.views.i18n import set_language

from fluxsite import password_mail, themes
from fluxsite.audit_log import recording as audit_log
from fluxsite.forms import (
    AccountForm,
    ForgottenForm,
    ForgottenPasswordForm,
    PasswordForm,
    TokenForm,
)
from fluxsite.models import SCOPES, ApiToken, MemberSettings

#: Scripts read it: whether to tell when a picture is done.
NOTIFY_COOKIE = "notify"


# ---------------------------------------------------------------- what a member chose
def _send_choices(
    request: HttpRequest, response: HttpResponse, chosen: MemberSettings
) -> HttpResponse:
    """Tell this browser what the member chose, in the cookies every page is made by."""
    secure = request.is_secure()
    if chosen.theme:
        themes.remember(response, chosen.theme, secure=secure)
    if chosen.language:
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            chosen.language,
            max_age=themes.YEAR,
            samesite="Lax",
            secure=secure,
        )
    if chosen.notifies:
        response.set_cookie(NOTIFY_COOKIE, "1", max_age=themes.YEAR, samesite="Lax", secure=secure)
    else:
        response.delete_cookie(NOTIFY_COOKIE, samesite="Lax")
    return response


def _keep(request: HttpRequest, **choice: Any) -> None:
    if request.user.is_authenticated:
        MemberSettings.objects.update_or_create(user=request.user, defaults=choice)


@require_POST
def choose_theme(request: HttpRequest) -> HttpResponse:
    response = themes.choose(request)
    theme = request.POST.get("theme", "")
    if theme in themes.THEMES:
        _keep(request, theme=theme)
    return response


@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    language = request.POST.get("language", "")
    if language in dict(settings.LANGUAGES):
        _keep(request, language=language)
    return set_language(request)


class Login(auth_views.LoginView):
    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        chosen = MemberSettings.objects.filter(user=form.get_user()).first()
        return _send_choices(self.request, response, chosen) if chosen else response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        if settings.OIDC_SERVER_URL:
            kwargs["sso_name"] = settings.OIDC_NAME
            kwargs["sso_url"] = reverse("openid_connect_login", args=["oidc"])
        return super().get_context_data(can_reset=password_mail.is_offered(), **kwargs)


# ---------------------------------------------------------------- the account
@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    chosen = MemberSettings.objects.filter(user=user).first() or MemberSettings(user=user)
    if request.method == "POST":
        form = AccountForm(request.POST, user=user)
        if form.is_valid():
            return _save_account(request, form, chosen)
    else:
        form = AccountForm(
            user=user,
            initial={
                "name": user.first_name,
                # Chosen in this browser, perhaps before there was an account to keep it.
                "language": chosen.language
                or request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, ""),
                "theme": chosen.theme or themes.chosen(request),
                "notifies": chosen.notifies,
            },
        )
    status = 422 if form.errors else 200
    return render(request, "account/account.html", {"form": form}, status=status)


def _save_account(request: HttpRequest, form: AccountForm, chosen: MemberSettings) -> HttpResponse:
    values, user = form.cleaned_data, form.user
    user.first_name = values["name"]
    user.save(update_fields=["first_name"])
    chosen.language, chosen.theme = values["language"], values["theme"]
    chosen.notifies = values["notifies"]
    chosen.save()
    # The next page is in the language just chosen, and so is what it says first.
    with translation.override(chosen.language or translation.get_language()):
        messages.success(request, _("Saved."))
    response = _send_choices(request, redirect("account"), chosen)
    if not chosen.language:
        response.delete_cookie(settings.LANGUAGE_COOKIE_NAME, samesite="Lax")
    return response


class Password(auth_views.PasswordChangeView):
    template_name = "account/password.html"
    form_class = PasswordForm
    success_url = reverse_lazy("account")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, _("Your password has been changed."))
        if form.cleaned_data.get("revokes_tokens"):
            messages.success(self.request, _("Your API tokens have been revoked."))
        with transaction.atomic():
            audit_log.record_password(form.user, request=self.request)
            return super().form_valid(form)

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        if form.retry_after:
            response.status_code = 429
            response["Retry-After"] = str(form.retry_after)
        return response


class ResetPassword(auth_views.PasswordResetView):
    template_name = "account/reset.html"
    form_class = ForgottenForm
    success_url = reverse_lazy("password_reset_sent")

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        if not password_mail.is_offered():
            raise Http404
        return super().dispatch(*args, **kwargs)


class ResetSent(auth_views.PasswordResetDoneView):
    template_name = "account/reset_sent.html"


class NewPassword(auth_views.PasswordResetConfirmView):
    template_name = "account/new_password.html"
    form_class = ForgottenPasswordForm
    success_url = reverse_lazy("login")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, _("Your password has been changed. Log in with it."))
        with transaction.atomic():
            audit_log.record_password(form.user, request=self.request)
            return super().form_valid(form)


# ---------------------------------------------------------------- tokens
@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List the member's tokens; make one and show its secret, in this answer and never again."""
    user: Any = request.user
    context: dict[str, Any] = {}
    initial = {"days": "90", "scopes": list(SCOPES)}
    form = TokenForm(user=user, initial=initial)
    if request.method == "POST":
        form = TokenForm(request.POST, user=user)
        if form.is_valid():
            context["made"], context["secret"] = ApiToken.objects.issue(
                user=user,
                name=form.cleaned_data["name"],
                expires_at=form.expires_at,
                scopes=form.cleaned_data["scopes"],
            )
            form = TokenForm(user=user, initial=initial)
    context |= {
        "form": form,
        "tokens": list(ApiToken.objects.filter(user=user, revoked_at=None)),
        "site": request.build_absolute_uri("/").rstrip("/"),
    }
    status = 422 if form.errors else 200
    return render(request, "account/tokens.html", context, status=status)


@login_required
@require_POST
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    if not ApiToken.objects.revoke(user=request.user, token_id=token_id):
        raise Http404
    messages.success(request, _("Revoked. Nothing can use this token any more."))
    return redirect("tokens")
