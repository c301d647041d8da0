"""What other software can do to entries of the history: mark them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from history import marks, sources
from history.marks import MAX_AT_ONCE, MAX_ID, Name

_NOT_FOUND = OpenApiResponse(description="None of these entries is yours.")


class NameSerializer(serializers.Serializer[Any]):
    # Called `source` like a serializer's own attribute, so it cannot be declared by name.
    def get_fields(self) -> dict[str, Any]:
        source = serializers.ChoiceField(list(sources.load()))
        return {"source": source, **super().get_fields()}

    id = serializers.CharField(max_length=MAX_ID, trim_whitespace=False)


class NamesSerializer(serializers.Serializer[Any]):
    entries = serializers.ListField(
        child=NameSerializer(), allow_empty=False, max_length=MAX_AT_ONCE
    )


class MarksSerializer(NamesSerializer):
    favourite = serializers.BooleanField(required=False)
    trashed = serializers.BooleanField(required=False)

    def validate(self, attrs: Any) -> Any:
        if ("favourite" in attrs) == ("trashed" in attrs):
            message = _("Give either favourite or trashed.")
            raise serializers.ValidationError({"favourite": [message]})
        return attrs


class MarksView(APIView):
    @extend_schema(
        summary="Mark entries as favourites, move them to the trash or take them back",
        description="Exactly one of `favourite` and `trashed`, for up to 500 entries of yours. "
        "What is in the trash for 30 days is removed for ever. Tasks that have not ended cannot "
        "be marked; `changed` says for how many entries it holds now.",
        request=MarksSerializer,
        responses={
            200: inline_serializer("Marked", {"changed": serializers.IntegerField()}),
            404: _NOT_FOUND,
        },
    )
    def post(self, request: Request) -> Response:
        asked = MarksSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        names = names_of(asked.validated_data)
        changed = _mark(request.user, names, asked.validated_data)
        if not changed and not marks.any_owned(user=request.user, names=names):
            raise exceptions.NotFound
        return Response({"changed": changed})


def names_of(data: dict[str, Any]) -> list[Name]:
    return [Name(each["source"], each["id"]) for each in data["entries"]]


def _mark(user: Any, names: list[Name], values: dict[str, Any]) -> int:
    if "favourite" in values:
        return marks.set_favourite(user=user, names=names, value=values["favourite"])
    if values["trashed"]:
        return marks.trash(user=user, names=names, now=timezone.now())
    return marks.restore(user=user, names=names)
