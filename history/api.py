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
from history import filters
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
    image_url = serializers.CharField()
    status = serializers.CharField()
    created_at = serializers.DateTimeField(default_timezone=UTC)
    images = HistoryPictureSerializer(source="pictures", many=True)


class UnifiedHistoryView(APIView):
    @extend_schema(
        summary="Everything you ever made, newest first",
        parameters=[
            OpenApiParameter("page", int, description="From 1. Reaches down to row 10 000."),
            OpenApiParameter("limit", int, description="1 to 100, 20 if left out."),
            OpenApiParameter("cursor", str, description="From `next`, instead of `page`."),
            OpenApiParameter("source", str, description="flux, midjourney or jimeng."),
            OpenApiParameter("model", str, description="A model's id, as entries name it."),
            OpenApiParameter("since", date, description="First day, like 2026-11-26."),
            OpenApiParameter("until", date, description="Last day."),
            OpenApiParameter("favourite", bool, description="1: favourites only."),
            OpenApiParameter("text", str, description="Words of the prompt, 中文 or any other."),
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
        entries = filters.entries_of(user=request.user, filters=filters.read(request.query_params))
        page = paging.paginate(entries, asked=asked, id_field="source_id")
        results = HistoryEntrySerializer(compose(page.rows), many=True).data
        return Response(paging.answer(request, page=page, results=list(results)))
