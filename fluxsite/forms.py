"""What members fill in about themselves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from fluxsite import password_mail, themes
from fluxsite.models import ApiToken

#: More than anybody keeps in mind; each is a key to the account.
MAX_TOKENS = 50


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


class TokenForm(forms.Form):
    """A new token of `user`."""

    name = forms.CharField(label=_("What is it for?"), max_length=100)
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
