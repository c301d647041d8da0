"""The tables of credits: accounts, the ledger, prices, codes to redeem, budgets.

An account's balance is the sum of its ledger's amounts, and what it has used in all is the sum
of what was charged; both are kept on the account so that they can be guarded by a constraint.
Ledger rows are written once and never changed. Whatever the rows can say wrongly on their own
is refused by the database; credits/audit.py looks for the rest. Only credits/ledger.py writes
accounts and ledger. Credits are whole numbers everywhere.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from credits.ids import new_id
from fluxsite.append_only import AppendOnlyModel, AppendOnlyQuerySet


# ---------------------------------------------------------------- accounts
class Account(models.Model):
    """What a member can spend now. Made by ledger.account_for, when first needed."""

    id = models.CharField(primary_key=True, max_length=255, default=new_id, editable=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="credits_account",
        verbose_name=_("member"),
    )
    # Big: sums of amounts that each fit a plain integer must not overflow on PostgreSQL.
    credits_balance = models.BigIntegerField(_("balance"), default=0)
    total_used = models.BigIntegerField(_("used in all"), default=0)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        db_table = "flux_credits"
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        ordering: ClassVar = ["id"]
        permissions: ClassVar = [("adjust", "Can grant and take credits")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(credits_balance__gte=0), name="flux_credits_never_below_zero"
            ),
            models.CheckConstraint(
                condition=Q(total_used__gte=0), name="flux_credits_use_is_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return str(self.user)


# ---------------------------------------------------------------- ledger
class LedgerQuerySet(AppendOnlyQuerySet["LedgerEntry"]):
    def reservations(self) -> LedgerQuerySet:
        return self.filter(kind=LedgerEntry.Kind.RESERVE)

    def open_reservations(self) -> LedgerQuerySet:
        return self.reservations().filter(closing=None)


class LedgerEntry(AppendOnlyModel):
    """One thing that happened to a balance.

    `amount` is its effect on the balance: negative for a reservation; what comes back for the
    settlement or release that closes it. `charged` is what a settlement made final.
    """

    class Kind(models.TextChoices):
        GRANT = "GRANT", _("Granted")
        RESERVE = "RESERVE", _("Reserved")
        SETTLE = "SETTLE", _("Settled")
        RELEASE = "RELEASE", _("Given back")
        ADJUST = "ADJUST", _("Adjusted")
        REDEEM = "REDEEM", _("Code redeemed")

    account = models.ForeignKey(
        Account,
        models.PROTECT,
        related_name="entries",
        db_index=False,
        verbose_name=_("account"),
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    amount = models.IntegerField(_("amount"))
    charged = models.IntegerField(_("charged"), default=0)
    reference = models.CharField(_("reference"), max_length=120)
    # Unique: a reservation is settled or released, once, whoever tries how often.
    closes = models.OneToOneField(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="closing",
        verbose_name=_("closes"),
    )
    reason = models.TextField(_("reason"), blank=True, default="")
    actor = models.CharField(
        _("by"),
        max_length=150,
        blank=True,
        default="",
        help_text=_("A name, not a link: it stays true when the person has gone."),
    )
    created_at = models.DateTimeField(_("at"), default=timezone.now, editable=False)

    objects = LedgerQuerySet.as_manager()

    class Meta:
        db_table = "credit_ledger"
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger")
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["account", "-created_at", "-id"], name="idx_credit_ledger_account"
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "reference"], name="credit_ledger_once_per_reference"
            ),
            models.CheckConstraint(
                condition=Q(kind="ADJUST")
                | Q(kind="RESERVE", amount__lte=0)
                | Q(kind__in=["GRANT", "SETTLE", "RELEASE", "REDEEM"], amount__gte=0),
                name="credit_ledger_sign_fits_kind",
            ),
            models.CheckConstraint(
                condition=Q(charged=0) | Q(kind="SETTLE", charged__gt=0),
                name="credit_ledger_only_settling_charges",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["SETTLE", "RELEASE"], closes__isnull=False)
                | Q(kind__in=["GRANT", "RESERVE", "ADJUST", "REDEEM"], closes__isnull=True),
                name="credit_ledger_only_an_end_closes",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


# ---------------------------------------------------------------- prices
class Price(models.Model):
    """What one picture costs, where staff have decided it; elsewhere the caller's default."""

    key = models.CharField(
        _("model"), max_length=150, unique=True, help_text=_("The id of a model.")
    )
    credits = models.PositiveIntegerField(_("credits per picture"))
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        db_table = "credit_prices"
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        ordering: ClassVar = ["key"]

    def __str__(self) -> str:
        return self.key


# ---------------------------------------------------------------- codes
class RedeemCode(models.Model):
    """A code that brings credits. The code itself is shown once, when it is made: only its
    digest is kept, and its last four characters to tell it from others."""

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("ends with"), max_length=4, editable=False)
    batch = models.CharField(_("batch"), max_length=100, blank=True, default="")
    credits = models.PositiveIntegerField(_("credits"), validators=[MinValueValidator(1)])
    max_uses = models.PositiveIntegerField(
        _("may be used"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("By how many members; each can redeem it once."),
    )
    uses = models.PositiveIntegerField(_("used"), default=0, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    created_by = models.CharField(_("made by"), max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    class Meta:
        db_table = "redeem_codes"
        verbose_name = _("redeem code")
        verbose_name_plural = _("redeem codes")
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(uses__lte=F("max_uses")), name="redeem_codes_not_overused"
            ),
            models.CheckConstraint(condition=Q(credits__gte=1), name="redeem_codes_bring_credits"),
        ]

    def __str__(self) -> str:
        return f"…{self.hint}"


class RedeemFailures(models.Model):
    """How many codes in a row somebody named that brought nothing, without an hour's pause
    between two. Older rows say nothing any more. Only credits/redeeming.py writes them."""

    subject = models.CharField(primary_key=True, max_length=100)
    failures = models.PositiveSmallIntegerField(default=0)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "redeem_failures"
        default_permissions = ()
        indexes: ClassVar = [
            models.Index(fields=["last_at"], name="idx_redeem_failures_last_at"),
        ]

    def __str__(self) -> str:
        return self.subject


# ---------------------------------------------------------------- budgets
class Budget(models.Model):
    """How much a member, or each member of a group by themselves, may spend per calendar day,
    week and month of the site's time zone. All budgets that apply to a member hold."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("member"),
    )
    group = models.ForeignKey(
        "auth.Group",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("group"),
        help_text=_("Each member of the group gets this budget of their own."),
    )
    per_day = models.PositiveIntegerField(_("per day"), null=True, blank=True)
    per_week = models.PositiveIntegerField(
        _("per week"), null=True, blank=True, help_text=_("Weeks begin on Monday.")
    )
    per_month = models.PositiveIntegerField(_("per month"), null=True, blank=True)

    class Meta:
        db_table = "credit_budgets"
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(user__isnull=True) ^ Q(group__isnull=True),
                name="credit_budgets_one_subject",
                violation_error_message=_("Choose a member or a group, not both."),
            ),
            models.UniqueConstraint(
                fields=["user"],
                name="credit_budgets_one_per_member",
                violation_error_message=_("This member has a budget already."),
            ),
            models.UniqueConstraint(
                fields=["group"],
                name="credit_budgets_one_per_group",
                violation_error_message=_("This group has a budget already."),
            ),
        ]

    def __str__(self) -> str:
        return str(self.user or self.group)
