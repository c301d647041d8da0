"""The unified history for other software: GET /api/unified-history."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fluxsite import paging
from history import filters, sources
from history.entries import compose


class HistoryPictureSerializer(serializers.Serializer):
    id = serializers.CharField(help_text="Empty for a picture that has no address of ours.")
    image_url = serializers.CharField(source="url")
    thumb_url = serializers.CharField(source="thumb_320")
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    nsfw = serializers.BooleanField(source="is_nsfw")


class HistoryEntrySerializer(serializers.Serializer):
    # Called `source` like a serializer's own attribute, so it cannot be declared by name.
    def get_fields(self) -> dict[str, Any]:
        return {"source": serializers.CharField(), **super().get_fields()}

    id = serializers.CharField()
    user_id = serializers.IntegerField()
    model = serializers.CharField()
    prompt = serializers.CharField()
    image_url = serializers.CharField(allow_blank=True, help_text="Empty without pictures.")
    status = serializers.CharField()
    created_at = serializers.DateTimeField(default_timezone=UTC)
    images = HistoryPictureSerializer(source="pictures", many=True)


class UnifiedHistoryView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(
        summary="Everything you ever made, newest first",
        description=(
            "Filters may be combined; a value that is wrong is answered 400, naming its field. "
            "`text` finds entries whose prompts hold all its words: whole words in any case, of "
            "scripts without spaces (中文) any piece of a run, and words in double quotes one "
            "after the other. All else in it is ignored."
        ),
        parameters=[
            *paging.PARAMETERS,
            OpenApiParameter("source", str, enum=list(sources.load())),
            OpenApiParameter("model", str, description="A model's id, as entries name it."),
            OpenApiParameter(
                "status",
                str,
                enum=filters.Status.values,
                default=filters.Status.SUCCESS,
                description="ALL has what is not finished as well.",
            ),
            OpenApiParameter("since", date, description="First day, like 2026-11-26."),
            OpenApiParameter("until", date, description="Last day."),
            OpenApiParameter("favourite", bool, description="1: favourites only."),
            OpenApiParameter("text", str, description="Words of the prompt, 中文 or any other."),
            OpenApiParameter(
                "member",
                str,
                description=(
                    "For staff: a username, or `all` for everybody, among whom no text can be "
                    "searched. Others are answered 403."
                ),
            ),
        ],
        responses=inline_serializer(
            "UnifiedHistory",
            {
                "results": HistoryEntrySerializer(many=True),
                "next": serializers.URLField(allow_null=True),
                "previous": serializers.URLField(allow_null=True),
            },
        ),
    )
    def get(self, request: Request) -> Response:
        asked = paging.read(request.query_params)
        wanted = filters.read(request.query_params, reader=request.user)
        page = filters.page_of(user=request.user, filters=wanted, asked=asked)
        results = HistoryEntrySerializer(compose(page.rows), many=True).data
        return Response(paging.answer(request, page=page, results=list(results)))
