"""What other software can do to entries of the history: mark them, say what its member thinks of
them, and have them packed. The page's own scripts go this way too."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from history import exports, feedback, marks, sources
from history.marks import MAX_AT_ONCE, MAX_ID, Name
from history.models import Export, Feedback

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
    token_scopes = {"POST": "manage"}

    @extend_schema(
        summary="Mark entries as favourites, move them to the trash or take them back",
        description="Exactly one of `favourite` and `trashed`, for up to 500 entries of yours. "
        "What is in the trash for 30 days is removed for ever. Tasks that have not ended cannot "
        "be marked; `changed` says for how many entries it holds now.",
        request=MarksSerializer,
        examples=[
            OpenApiExample(
                "Two favourites",
                {
                    "entries": [
                        {"source": "flux", "id": "019abf3e5c7a41d28f6be93d70c1a254"},
                        {"source": "midjourney", "id": "1732612345678901"},
                    ],
                    "favourite": True,
                },
                request_only=True,
            )
        ],
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


# ---------------------------------------------------------------- feedback
class FeedbackSerializer(NameSerializer):
    vote = serializers.ChoiceField(
        Feedback.Vote.choices,
        required=False,
        allow_blank=True,
        help_text="An empty text takes it back; left out, it stays.",
    )
    reason = serializers.ChoiceField(
        Feedback.Reason.choices, required=False, help_text="Makes it a report to the staff."
    )
    text = serializers.CharField(
        max_length=Feedback.MAX_TEXT,
        required=False,
        allow_blank=True,
        help_text="More about the report.",
    )

    def validate(self, attrs: Any) -> Any:
        if "vote" not in attrs and "reason" not in attrs:
            raise serializers.ValidationError({"vote": [_("Give a vote or a reason.")]})
        if "text" in attrs and "reason" not in attrs:
            raise serializers.ValidationError({"reason": [_("Choose a reason, please.")]})
        return attrs


class FeedbackNowSerializer(NameSerializer):
    """Describes what FeedbackView answers."""

    vote = serializers.ChoiceField(
        Feedback.Vote.choices, allow_blank=True, help_text="Empty: there is none."
    )
    reason = serializers.ChoiceField(
        Feedback.Reason.choices, allow_blank=True, help_text="Empty: it was not reported."
    )
    text = serializers.CharField(allow_blank=True)


class FeedbackView(APIView):
    token_scopes = {"POST": "manage"}

    @extend_schema(
        summary="Say what you think of an entry",
        description="A vote, a report to the staff, or both. There is one of each for every "
        "entry: the latest counts.",
        request=FeedbackSerializer,
        examples=[
            OpenApiExample(
                "A vote",
                {"source": "flux", "id": "019abf3e5c7a41d28f6be93d70c1a254", "vote": "like"},
                request_only=True,
            )
        ],
        responses={200: FeedbackNowSerializer, 404: _NOT_FOUND},
    )
    def post(self, request: Request) -> Response:
        asked = FeedbackSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        said = asked.validated_data
        name = Name(said["source"], said["id"])
        if not feedback.is_own(user=request.user, name=name):
            raise exceptions.NotFound
        if "vote" in said:
            feedback.vote(user=request.user, name=name, value=said["vote"])
        if "reason" in said:
            feedback.report(
                user=request.user, name=name, reason=said["reason"], text=said.get("text", "")
            )
        now = feedback.of_entry(user=request.user, name=name)
        return Response(
            {
                **name._asdict(),
                "vote": now.vote if now else "",
                "reason": now.reason if now else "",
                "text": now.text if now else "",
            }
        )


# ---------------------------------------------------------------- exports
class ExportSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(Export.Status.choices)
    entry_count = serializers.IntegerField()
    picture_count = serializers.IntegerField(help_text="Packed so far.")
    byte_size = serializers.IntegerField()
    error_code = serializers.CharField()
    error_message = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(default_timezone=UTC)
    expires_at = serializers.DateTimeField(default_timezone=UTC)
    url = serializers.SerializerMethodField(help_text="Where the file is, once it is ready.")

    def get_error_message(self, export: Export) -> str:
        return str(exports.REASONS.get(export.error_code, ""))

    def get_url(self, export: Export) -> str | None:
        is_ready = export.status == Export.Status.READY
        return reverse("history:export-file", args=[export.pk]) if is_ready else None


class ExportsRunning(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "exports_running"
    default_detail = gettext_lazy("Your other files are still being packed. Wait for them.")


class ExportsView(APIView):
    token_scopes = {"POST": "read"}

    @extend_schema(
        summary="Have entries packed into a ZIP file",
        description="Up to 500 entries of yours. Ask for the export until its `status` is READY "
        "or FAILED; the file can be fetched for a day.",
        request=NamesSerializer,
        examples=[
            OpenApiExample(
                "One entry",
                {"entries": [{"source": "flux", "id": "019abf3e5c7a41d28f6be93d70c1a254"}]},
                request_only=True,
            )
        ],
        responses={
            202: ExportSerializer,
            404: _NOT_FOUND,
            409: OpenApiResponse(description="Three others of yours are not over yet."),
        },
    )
    def post(self, request: Request) -> Response:
        asked = NamesSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            export = exports.ask(user=request.user, names=names_of(asked.validated_data))
        except exports.NothingToExport as error:
            raise exceptions.NotFound from error
        except exports.TooManyExports as error:
            raise ExportsRunning from error
        return Response(ExportSerializer(export).data, status=status.HTTP_202_ACCEPTED)


class ExportView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(summary="How an export stands", responses={200: ExportSerializer})
    def get(self, request: Request, export_id: str) -> Response:
        exports.resume(user=request.user)
        export = get_object_or_404(Export, pk=export_id, user=request.user)
        return Response(ExportSerializer(export).data)
