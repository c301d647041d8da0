"""How much of a form's files is taken in, before any view looks at them.

A form is read while the first middleware asks for its CSRF token, so also for somebody who is
not signed in. Without limits one request would fill the disk that holds temporary files.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

#: What a form has beside its files: fields, names, boundaries.
ROOM_FOR_FIELDS = 64 * 1024


class FormTooLarge(RequestDataTooBig):
    """The whole of a form; Django's own error is of its fields, without the files."""

    def __init__(self) -> None:
        super().__init__("The form has more than MAX_FORM_BYTES bytes.")


class BoundedFiles(FileUploadHandler):
    """The first of the upload handlers: refuses large forms unread, cuts off large files.

    A file that is too large ends a byte after the limit, so that whoever reads it sees by its
    size that it is. The rest of it is received and thrown away: the fields after it count.
    """

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803 - as Django calls it
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> None:
        # Django reads a body no further than its announced length.
        if content_length > settings.MAX_FORM_BYTES:
            raise FormTooLarge

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        kept: bytes = raw_data[: max(0, settings.MAX_UPLOAD_BYTES + 1 - start)]
        return kept or None

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers after this one."""
