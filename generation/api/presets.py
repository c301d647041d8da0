"""Presets by API: the member's own and those that are shared."""

from __future__ import annotations

from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from generation import catalogue, presets
from generation.api import serializers
from generation.api.views import invalid

#: What a preset to create may say.
FIELDS = ("name", "model", "parameters", "prompt", "shared")


class PresetsView(APIView):
    token_scopes = {"GET": "read", "POST": "manage"}

    @extend_schema(responses={200: serializers.PresetListSerializer})
    def get(self, request: Request) -> Response:
        """List your presets, then those that are shared, each by name."""
        found = presets.visible_to(request.user)
        rows = [serializers.represent_preset(each, user=request.user) for each in found]
        return Response({"results": rows})

    @extend_schema(
        request={"application/json": serializers.preset_schema()},
        examples=[
            OpenApiExample(
                "Wide and quick",
                {
                    "name": "Wide and quick",
                    "model": "fal-ai/flux-1/schnell",
                    "parameters": {"aspect_ratio": "16:9"},
                },
                request_only=True,
            )
        ],
        responses={201: serializers.PresetSerializer},
    )
    def post(self, request: Request) -> Response:
        """Save a preset: a model, its settings and perhaps a prompt, under a name."""
        body = request.data
        if not isinstance(body, dict):
            raise exceptions.ParseError(_("The request body must be a JSON object."))
        unknown = [
            str(name)[:100].encode(errors="replace").decode() for name in body if name not in FIELDS
        ]
        if unknown:
            raise exceptions.ValidationError(
                {name: [_("A preset has no such field.")] for name in unknown}
            )
        try:
            content = presets.check(
                user=request.user,
                name=body.get("name"),
                model_id=body.get("model"),
                parameters=body.get("parameters"),
                prompt=body.get("prompt", ""),
                is_shared=body.get("shared", False),
            )
            preset = presets.save(user=request.user, content=content)
        except catalogue.InvalidRequest as error:
            raise invalid(error) from error
        shown = serializers.represent_preset(preset, user=request.user)
        return Response(shown, status=status.HTTP_201_CREATED)


class PresetView(APIView):
    token_scopes = {"DELETE": "manage"}

    @extend_schema(responses={204: None})
    def delete(self, request: Request, preset_id: str) -> Response:
        """Delete one of your presets."""
        try:
            presets.delete(user=request.user, preset_id=preset_id, now=timezone.now())
        except presets.PresetGone as gone:
            raise Http404 from gone
        return Response(status=status.HTTP_204_NO_CONTENT)
