"""What the whole API shares: one shape of error, and a JSON parser that cannot be hurt.

    {"code": "invalid", "detail": "…", "errors": {"num_images": ["…"]}, "request_id": "…"}

`errors` is there when fields are to blame. `code` is for programs, `detail` for people.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import exceptions, status
from rest_framework.parsers import JSONParser
from rest_framework.response import Response
from rest_framework.views import set_rollback

from fluxsite import request_ids
from generation.openai_api import errors as openai_errors

logger = logging.getLogger(__name__)

MAX_JSON_DEPTH = 20
NO_DATABASE = (OperationalError, InterfaceError)


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = gettext_lazy("The request is too large.")


class BoundedJSONParser(JSONParser):
    """JSON of bounded size and depth, without NaN and with each name once; else 413 or 400."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            content = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            if len(content) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                raise TooLarge
            data = json.loads(
                content.decode("utf-8"),
                parse_constant=_refuse_constant,
                object_pairs_hook=_once_each,
            )
        except (ValueError, RecursionError) as error:
            raise exceptions.ParseError(_("The request body is not valid JSON.")) from error
        if _depth(data) > MAX_JSON_DEPTH:
            raise exceptions.ParseError(_("The request body is nested too deeply."))
        return data


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of the same body must not see two things in it."""
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError
    return named


def _depth(data: Any) -> int:
    depth, level = 0, [data]
    while level and depth <= MAX_JSON_DEPTH:
        depth += 1
        level = [
            child
            for item in level
            for child in (
                item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            )
        ]
    return depth


def error_body(
    *, code: str, detail: str, errors: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = {"code": code, "detail": _sendable(detail)}
    if errors:
        body["errors"] = _sendable(errors)
    body["request_id"] = request_ids.current()
    return body


def _sendable(detail: Any) -> Any:
    """Errors quote what was sent, and half a surrogate cannot be sent back."""
    if isinstance(detail, Mapping):
        return {_sendable(str(name)): _sendable(each) for name, each in detail.items()}
    if isinstance(detail, list | tuple):
        return [_sendable(each) for each in detail]
    return detail.encode(errors="replace").decode() if isinstance(detail, str) else detail


class DatabaseAway(exceptions.APIException):
    """Locked for too long, or not there. Whatever the request did was rolled back."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = gettext_lazy("The site is busy. Nothing was changed; try again in a moment.")
    wait = 5


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Turn an exception of a view into a reply of the common shape (DRF's hook)."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    elif isinstance(exc, NO_DATABASE):
        logger.error("the database does not answer: %s", exc)
        exc = DatabaseAway()
    elif isinstance(exc, RequestDataTooBig):
        exc = TooLarge()
    if not isinstance(exc, exceptions.APIException):
        return None
    set_rollback()
    headers = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header  # type: ignore[attr-defined]
    if getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(exc.wait))  # type: ignore[attr-defined]
    if isinstance(exc, exceptions.ValidationError) and isinstance(exc.detail, dict):
        body = error_body(
            code="invalid", detail=_("The request cannot run as it is."), errors=exc.detail
        )
    else:
        codes = exc.get_codes()
        detail = exc.detail if not isinstance(exc.detail, list) else exc.detail[0]
        body = error_body(
            code=codes if isinstance(codes, str) else "invalid",
            detail=str(detail),
            errors=getattr(exc, "errors", None),
        )
    return Response(body, status=exc.status_code, headers=headers)


# ---------------------------------------------------------------- errors outside DRF views
def wants_json(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", "/v1/", "/hooks/"))


def json_error(request: HttpRequest, *, code: str, detail: str, status_code: int) -> HttpResponse:
    """Return an error for programs: below /v1/ in OpenAI's words, else in ours."""
    if not request.path.startswith("/v1/"):
        return JsonResponse(error_body(code=code, detail=detail), status=status_code)
    return JsonResponse(
        openai_errors.body(status=status_code, code=code, message=detail),
        status=status_code,
        headers=openai_errors.headers(status=status_code, code=code),
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400, or 413 where the reason is the size, with JSON or a page."""
    from django.views.defaults import bad_request as page

    is_large = isinstance(exception, RequestDataTooBig)
    status_code = 413 if is_large else 400
    if not wants_json(request):
        response = page(request, exception, f"{status_code}.html")
        response.status_code = status_code
        return response
    if is_large:
        code, detail = "too_large", _("The request is too large.")
    else:
        code, detail = "bad_request", _("The request cannot be understood.")
    return json_error(request, code=code, detail=detail, status_code=status_code)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404 in the caller's language: JSON below /api/, a page elsewhere."""
    from django.views.defaults import page_not_found

    if wants_json(request):
        return json_error(
            request, code="not_found", detail=_("Not found."), status_code=status.HTTP_404_NOT_FOUND
        )
    return page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500, or 503 to programs when the database is away; a page names its request."""
    if isinstance(sys.exception(), NO_DATABASE) and wants_json(request):
        away = DatabaseAway()
        response = json_error(
            request, code=away.default_code, detail=str(away.detail), status_code=away.status_code
        )
        response["Retry-After"] = str(away.wait)
        return response
    if wants_json(request):
        return json_error(
            request,
            code="internal",
            detail=_("Something went wrong on this site."),
            status_code=status.HTTP_500_INTERNAL_SERVER_ERROR,
        )
    # No context processors: whatever went wrong may go wrong in them as well.
    context = {"request": request, "request_id": request_ids.current()}
    return HttpResponse(render_to_string("500.html", context), status=500)
