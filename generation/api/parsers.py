"""Reading the body of an upload: bounded, and with errors in the API's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import exceptions, status
from rest_framework.parsers import DataAndFiles, MultiPartParser

from generation import receiving, uploads


class Refused(exceptions.APIException):
    """An upload that was refused: the rule in `code`, the words beside the field `file`."""

    def __init__(self, refusal: uploads.UploadRefused) -> None:
        super().__init__(refusal.message, refusal.code)
        self.status_code = refusal.status
        self.errors = {"file": [refusal.message]}
        self.wait = refusal.retry_after


class LengthRequired(exceptions.APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"
    default_detail = gettext_lazy("Say how long the body is: send a Content-Length.")


class PictureParser(MultiPartParser):
    """A form with one picture. A larger body is refused by its announced length, unread."""

    def limit(self) -> int:
        """Return how many bytes the body may have."""
        return settings.MAX_UPLOAD_BYTES + receiving.ROOM_FOR_FIELDS

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> DataAndFiles:
        request = (parser_context or {})["request"]
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > self.limit():
            raise Refused(uploads.too_large())
        try:
            return super().parse(stream, media_type, parser_context)
        except receiving.FormTooLarge as error:
            raise Refused(uploads.too_large()) from error
        except (exceptions.ParseError, SuspiciousOperation, UnicodeError) as error:
            # Broken, or with too many parts, or with text where there is room for a picture.
            raise exceptions.ParseError(
                _("The form is damaged. Send one picture as multipart/form-data.")
            ) from error


class PicturesParser(PictureParser):
    """A form with as many pictures as a model may take."""

    def limit(self) -> int:
        return int(settings.MAX_FORM_BYTES)
