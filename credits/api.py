"""`/api/credits`: a member's balance, and codes that become credits."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits import budgets, ledger

_REFUSALS = {
    ledger.CodeUnknown: ("code_unknown", gettext_noop("This code is not known.")),
    ledger.CodeExpired: ("code_expired", gettext_noop("This code has expired.")),
    ledger.CodeUsedUp: ("code_used_up", gettext_noop("This code has been used up.")),
    ledger.CodeAlreadyRedeemed: (
        "code_already_redeemed",
        gettext_noop("You have redeemed this code before."),
    ),
}


class BudgetSerializer(serializers.Serializer):
    period = serializers.CharField()
    limit = serializers.IntegerField()
    used = serializers.IntegerField()
    resets_at = serializers.DateTimeField()


class CreditsSerializer(serializers.Serializer):
    credits_balance = serializers.IntegerField(help_text="What is left, reservations taken off.")
    total_used = serializers.IntegerField()
    reserved = serializers.IntegerField(help_text="Held for tasks that have not ended.")
    budgets = BudgetSerializer(many=True)


class RedeemSerializer(serializers.Serializer):
    code = serializers.CharField(max_length=100)


class CreditsView(APIView):
    @extend_schema(responses={200: CreditsSerializer})
    def get(self, request: Request) -> Response:
        """Tell how many credits are left."""
        return Response(_represent(request))


class RedeemView(APIView):
    @extend_schema(request=RedeemSerializer, responses={200: CreditsSerializer})
    def post(self, request: Request) -> Response:
        """Turn a code into credits."""
        _require_credits()
        asked = RedeemSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            ledger.redeem(user=request.user, code=asked.validated_data["code"])
        except ledger.CodeRefused as error:
            code, message = _REFUSALS[type(error)]
            detail = exceptions.ErrorDetail(_(message), code)
            raise exceptions.ValidationError({"code": [detail]}) from error
        return Response(_represent(request))


def _require_credits() -> None:
    if not settings.CREDITS_ENABLED:
        raise exceptions.NotFound(_("Credits are switched off on this site."))


def _represent(request: Request) -> dict[str, object]:
    _require_credits()
    account = ledger.account_for(user=request.user)
    return {
        "credits_balance": account.credits_balance,
        "total_used": account.total_used,
        "reserved": ledger.reserved_now(user=request.user),
        "budgets": [
            {
                "period": use.period,
                "limit": use.limit,
                "used": use.used,
                "resets_at": use.resets_at,
            }
            for use in budgets.state_of(account=account)
        ],
    }
