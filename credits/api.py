"""`/api/credits`: a member's balance, where it went, and codes that become credits."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from credits import budgets, ledger, redeeming, statement, subjects
from credits.models import LedgerEntry
from fluxsite import paging


class BudgetSerializer(serializers.Serializer):
    period = serializers.ChoiceField(budgets.PERIODS)
    limit = serializers.IntegerField()
    used = serializers.IntegerField()
    resets_at = serializers.DateTimeField(default_timezone=UTC)


class CreditsSerializer(serializers.Serializer):
    credits_balance = serializers.IntegerField(help_text="What is left, reservations taken off.")
    total_used = serializers.IntegerField()
    reserved = serializers.IntegerField(help_text="Held for tasks that have not ended.")
    budgets = BudgetSerializer(many=True)


class LedgerEntrySerializer(serializers.Serializer):
    # Called `source` like a serializer's own attribute, so it cannot be declared by name.
    def get_fields(self) -> dict[str, Any]:
        source = serializers.CharField(
            allow_null=True, help_text="flux for an entry of a FLUX task, else null."
        )
        return {**super().get_fields(), "source": source}

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(LedgerEntry.Kind.choices)
    amount = serializers.IntegerField(
        help_text="Its effect on the balance: negative for a reservation, positive for what a "
        "settlement or release gives back."
    )
    charged = serializers.IntegerField(help_text="What a settlement made final, else 0.")
    created_at = serializers.DateTimeField(default_timezone=UTC)
    reason = serializers.CharField(help_text="What staff wrote to a grant or correction, else ''.")
    task_id = serializers.CharField(allow_null=True)
    is_late = serializers.BooleanField(
        help_text="Whether it is about a result that came after its task had ended."
    )
    url = serializers.CharField(
        allow_null=True, help_text="The page of the task; null when it is gone."
    )


class RedeemSerializer(serializers.Serializer):
    code = serializers.CharField(max_length=100)


class TooManyFailures(exceptions.APIException):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_many_failures"

    def __init__(self, failures: redeeming.TooManyFailures) -> None:
        super().__init__(failures.message)
        self.wait = failures.wait


_SWITCHED_OFF = OpenApiResponse(description="Credits are switched off on this site.")


class CreditsView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(
        summary="How many credits are left",
        responses={200: CreditsSerializer, 404: _SWITCHED_OFF},
    )
    def get(self, request: Request) -> Response:
        _require_credits()
        return Response(_represent(request))


class LedgerView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(
        summary="Every change of your balance, newest first",
        parameters=paging.PARAMETERS,
        responses={
            200: inline_serializer(
                "Ledger",
                {
                    "results": LedgerEntrySerializer(many=True),
                    "next": serializers.URLField(allow_null=True),
                    "previous": serializers.URLField(allow_null=True),
                },
            ),
            404: _SWITCHED_OFF,
        },
    )
    def get(self, request: Request) -> Response:
        _require_credits()
        asked = paging.read(request.query_params)
        account = ledger.account_for(user=request.user)
        page = paging.paginate(LedgerEntry.objects.filter(account=account), asked=asked)
        results = _represent_entries(page.rows, user=request.user)
        return Response(paging.answer(request, page=page, results=results))


class RedeemView(APIView):
    token_scopes = {"POST": "manage"}

    @extend_schema(
        summary="Turn a code into credits",
        request=RedeemSerializer,
        examples=[OpenApiExample("A code", {"code": "7K3M-PQ9X-2WTR"}, request_only=True)],
        responses={
            200: CreditsSerializer,
            400: OpenApiResponse(description="The code brought nothing; `errors.code` says why."),
            404: _SWITCHED_OFF,
            429: OpenApiResponse(
                description="Ten codes that brought nothing within an hour, from one member or "
                "one address. `Retry-After` says when to try again, in seconds."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        _require_credits()
        asked = RedeemSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            redeeming.redeem(
                user=request.user,
                code=asked.validated_data["code"],
                # As settings.REST_FRAMEWORK["NUM_PROXIES"] says it is found.
                address=BaseThrottle().get_ident(request) or "",
            )
        except redeeming.TooManyFailures as failures:
            raise TooManyFailures(failures) from failures
        except ledger.CodeRefused as refusal:
            code, message = redeeming.explain(refusal)
            detail = exceptions.ErrorDetail(message, code)
            raise exceptions.ValidationError({"code": [detail]}) from refusal
        return Response(_represent(request))


def _require_credits() -> None:
    if not settings.CREDITS_ENABLED:
        raise exceptions.NotFound(_("Credits are switched off on this site."))


def _represent(request: Request) -> Any:
    account = ledger.account_for(user=request.user)
    return CreditsSerializer(
        {
            "credits_balance": account.credits_balance,
            "total_used": account.total_used,
            "reserved": ledger.reserved_now(user=request.user),
            "budgets": budgets.state_of(account=account),
        }
    ).data


def _represent_entries(entries: list[LedgerEntry], *, user: Any) -> list[Any]:
    known = subjects.describe(user=user, entries=entries)
    rows = []
    for entry in entries:
        reference, subject = subjects.reference_of(entry), known.get(entry.pk)
        row = {
            "id": entry.pk,
            "kind": entry.kind,
            "amount": entry.amount,
            "charged": entry.charged,
            "created_at": entry.created_at,
            "reason": statement.reason_of(entry),
            "source": reference.source if reference else None,
            "task_id": reference.id if reference else None,
            "is_late": bool(reference and reference.is_late),
            "url": subject.url if subject else None,
        }
        rows.append(row)
    return list(LedgerEntrySerializer(rows, many=True).data)
