"""What members fill in about themselves."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import PasswordChangeForm, PasswordResetForm, SetPasswordForm
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from fluxsite import password_mail, themes
from fluxsite.models import SCOPES, ApiToken
from generation import rates

#: More than anybody keeps in mind; each is a key to the account.
MAX_TOKENS = 50
#: How often in an hour the old password may be told, to whoever found a page open.
PASSWORD_TRIES = 10


class AccountForm(forms.Form):
    """The account of `user`, and how the pages look to them.

    Without the address: it says who somebody is, to whoever brings their pictures over.
    """

    name = forms.CharField(label=_("Display name"), max_length=150, required=False)
    language = forms.ChoiceField(
        label=_("Language"),
        choices=[("", _("As the browser")), *settings.LANGUAGES],
        required=False,
    )
    theme = forms.ChoiceField(
        label=_("Theme"),
        choices=[
            (themes.SYSTEM, _("As the system")),
            ("light", _("Light")),
            ("dark", _("Dark")),
        ],
    )
    notifies = forms.BooleanField(
        label=_("Tell me with a notification when a picture is done"), required=False
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user


class ForgottenForm(PasswordResetForm):
    """The address of whoever forgot the password."""

    def save(self, *, request: HttpRequest, **_options: Any) -> None:  # type: ignore[override]
        for user in self.get_users(self.cleaned_data["email"]):
            password_mail.ask(request=request, user=user)


class ForgottenPasswordForm(SetPasswordForm):
    """A new password instead of one that was forgotten, or that others know: their tokens go."""

    @property
    def has_tokens(self) -> bool:
        return ApiToken.objects.living(user=self.user).exists()

    @transaction.atomic
    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        user = super().save(commit)
        ApiToken.objects.revoke_all(user=user)
        return user


class PasswordForm(PasswordChangeForm):
    """A new password of a member who is logged in, and what becomes of their tokens."""

    revokes_tokens = forms.BooleanField(label=_("Also revoke my API tokens"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        count = ApiToken.objects.living(user=self.user).count()
        if count:
            told = ngettext(
                "There is %(count)d of them. Otherwise it goes on working.",
                "There are %(count)d of them. Otherwise they go on working.",
                count,
            )
            self.fields["revokes_tokens"].help_text = told % {"count": count}
        else:
            del self.fields["revokes_tokens"]
        self.retry_after = 0

    def clean_old_password(self) -> str:
        try:
            rates.take(
                scope="password",
                user=self.user,
                limit=PASSWORD_TRIES,
                window=timedelta(hours=1),
                now=timezone.now(),
            )
        except rates.TooOften as error:
            self.retry_after = error.retry_after
            minutes = math.ceil(error.retry_after / 60)
            told = ngettext(
                "That was tried too often. Try again in %(minutes)d minute.",
                "That was tried too often. Try again in %(minutes)d minutes.",
                minutes,
            )
            raise forms.ValidationError(told % {"minutes": minutes}) from error
        return super().clean_old_password()

    @transaction.atomic
    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        user = super().save(commit)
        if self.cleaned_data.get("revokes_tokens"):
            ApiToken.objects.revoke_all(user=user)
        return user


class TokenForm(forms.Form):
    """A new token of `user`."""

    name = forms.CharField(label=_("What is it for?"), max_length=100)
    scopes = forms.MultipleChoiceField(
        label=_("What may it do?"),
        choices=list(SCOPES.items()),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Allow it something, please.")},
    )
    days = forms.TypedChoiceField(
        label=_("Valid for"),
        choices=[
            ("30", _("30 days")),
            ("90", _("90 days")),
            ("365", _("A year")),
            ("", _("No end")),
        ],
        coerce=int,
        empty_value=None,
        required=False,
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean(self) -> dict[str, Any]:
        kept = ApiToken.objects.filter(user=self.user, revoked_at=None)
        if kept.count() >= MAX_TOKENS:
            raise forms.ValidationError(_("You have too many tokens. Revoke one first."))
        return super().clean() or {}

    @property
    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None
