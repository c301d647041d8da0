"""`/v1/models`, `/v1/images/generations` and `/v1/images/edits`, and the pictures they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, status
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from generation import aliases, catalogue, channel, intake, lifecycle, media, streams, uploads
from generation.api.parsers import PicturesParser, Refused
from generation.api.views import invalid, read_key, refusals
from generation.models import FluxTask
from generation.openai_api import answers, errors, orders, waiting
from generation.openai_api.answers import Wanted

#: How long a request that is sent again finds the task of the first.
RETRIES_WITHIN = timedelta(minutes=10)
#: Of problems with a model, what is not 400.
_STATUS_OF_PROBLEM = {"unknown_model": 404, "model_not_offered": 403}


class TooManyWaiting(exceptions.APIException):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_many_waiting"

    def __init__(self) -> None:
        super().__init__(
            _(
                "As many requests wait for their pictures as may at the same time. Nothing was begun."
            )
        )


@extend_schema(exclude=True)
class _View(APIView):
    """Speaks OpenAI's dialect, to tokens alone: what a page could send has no meaning here."""

    renderer_classes = [JSONRenderer]

    def get_authenticators(self) -> list[BaseAuthentication]:
        known = super().get_authenticators()
        return [each for each in known if not isinstance(each, SessionAuthentication)]

    def handle_exception(self, exc: Exception) -> Response:
        cause = exc.__cause__
        if isinstance(exc, catalogue.InvalidRequest):
            cause, exc = exc, invalid(exc)
        response = super().handle_exception(exc)
        body = errors.body_of(response.data, status=response.status_code)
        if isinstance(cause, catalogue.InvalidRequest):
            response.status_code, body = _problem(cause.problems[0])
        code = str(response.data["code"])
        response.data = body
        for name, value in errors.headers(status=response.status_code, code=code).items():
            response[name] = value
        # In whatever language the message is: the English words of it travel.
        words = str(cause) if isinstance(cause, lifecycle.CannotPay) else body["error"]["message"]
        if reason := errors.reason(words):
            response.reason_phrase = reason
        return response


def _problem(problem: catalogue.Problem) -> tuple[int, dict[str, Any]]:
    status_code = _STATUS_OF_PROBLEM.get(problem.code, 400)
    return status_code, errors.body(
        status=status_code,
        code=problem.code,
        message=_(problem.message) % problem.params,
        param=problem.field,
    )


def _unknown(name: str) -> catalogue.InvalidRequest:
    problem = catalogue.Problem(
        field="model",
        code="unknown_model",
        message=gettext_noop("There is no model %(name)s here. GET /v1/models lists them."),
        params={"name": name[:100].encode(errors="replace").decode()},
    )
    return catalogue.InvalidRequest([problem])


# ---------------------------------------------------------------- models
def _describe(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "fluxsite"}


class ModelsView(_View):
    token_scopes = {"GET": "read"}

    def get(self, request: Request) -> Response:
        """List the names that models may be called by."""
        menu = channel.current().offer.menu(user=request.user)
        names = [_describe(name) for name in aliases.names(menu)]
        return Response({"object": "list", "data": names})


class ModelView(_View):
    token_scopes = {"GET": "read"}

    def get(self, request: Request, model_id: str) -> Response:
        """Tell that there is a model of that name."""
        menu = channel.current().offer.menu(user=request.user)
        if model_id not in aliases.names(menu) and menu.family(model_id) is None:
            raise _unknown(model_id)
        return Response(_describe(model_id))


# ---------------------------------------------------------------- pictures
class _DrawingView(_View):
    token_scopes = {"POST": "generate"}
    #: Counted with the tasks they make (lifecycle).
    throttle_classes = []
    #: What the events of a stream are called.
    event: str

    def _draw(
        self, request: Request, body: Mapping[str, Any], files: Sequence[Any] = ()
    ) -> HttpResponseBase:
        asked = orders.read(body)
        wanted = Wanted(
            as_url=asked.as_url,
            event=self.event if asked.streams else "",
            site=settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/"),
            language=get_language() or settings.LANGUAGE_CODE,
            seconds=settings.OPENAI_WAIT_SECONDS,
        )
        connection = streams.connection_of(request.META)
        if connection is None:
            with waiting.a_thread() as is_held:
                if not is_held:
                    raise TooManyWaiting
                task = _order(request, asked, files)
                packed = waiting.wait_here(task.pk, wanted)
            with packed.body as content:
                answer = HttpResponse(content.read())
            waiting.prepare(answer, packed)
            return answer
        member: Any = request.user
        if not waiting.room.has_place(user_id=member.pk):
            raise TooManyWaiting
        task = _order(request, asked, files)
        response = StreamingHttpResponse()
        response.streaming_content = waiting.hand_over(
            connection,
            response=response,
            user_id=member.pk,
            task_id=task.pk,
            wanted=wanted,
        )
        return response


def _order(request: Request, asked: orders.Asked, files: Sequence[Any]) -> FluxTask:
    """Return the task of a request: a new one, or that of the same request sent before."""
    state = channel.current()
    try:
        model = aliases.model_for(
            name=asked.model, images=len(files), channel=state, user=request.user
        )
    except aliases.UnknownName as error:
        raise _unknown(asked.model) from error
    # All that can be said without the pictures is said before any of them is kept.
    state.offer.menu(user=request.user).require(model)
    parameters = orders.parameters_for(model.endpoint_for(len(files)), asked.rest)
    catalogue.check(
        model_id=model.id, prompt=asked.prompt, images=len(files), parameters=parameters
    )
    key = read_key(request)
    # The same picture is the same upload, so an order that comes again is equal to the first.
    order = intake.Order(
        model_id=model.id,
        prompt=asked.prompt,
        addresses=[_upload(request, file) for file in files],
        parameters=parameters,
    )
    # Only tokens come here.
    caller = f"v1 {request.auth.pk}"
    now = timezone.now()
    known = None
    if _is_sent_again(request) and not key:
        known = intake.find_recent(
            user=request.user, order=order, caller=caller, since=now - RETRIES_WITHIN
        )
    if known is not None:
        return known
    with refusals():
        return intake.place(
            user=request.user, order=order, idempotency_key=key, caller=caller, now=now
        )


def _upload(request: Request, file: Any) -> str:
    try:
        return uploads.save(user=request.user, file=file).url
    except uploads.UploadRefused as error:
        raise Refused(error) from error


def _is_sent_again(request: Request) -> bool:
    """Tell whether a client of OpenAI's says that it has sent this before."""
    count = request.headers.get("X-Stainless-Retry-Count", "")
    return count.isascii() and count.isdigit() and count.strip("0") != ""


class GenerationsView(_DrawingView):
    event = "image_generation"

    def post(self, request: Request) -> HttpResponseBase:
        """Draw from a prompt."""
        if not isinstance(request.data, dict):
            raise exceptions.ParseError(_("The request body must be a JSON object."))
        return self._draw(request, request.data)


class EditsView(_DrawingView):
    event = "image_edit"
    parser_classes = [PicturesParser]

    def post(self, request: Request) -> HttpResponseBase:
        """Draw from one picture or several: parts called `image` or `image[]`."""
        files = [*request.FILES.getlist("image"), *request.FILES.getlist("image[]")]
        if not files:
            raise exceptions.ValidationError({"image": [_("A reference picture is needed.")]})
        form: Any = request.data
        body = {name: form[name] for name in form if name not in ("image", "image[]")}
        return self._draw(request, body, files)


@require_safe
def picture(request: HttpRequest, picture_id: str, signature: str) -> HttpResponseBase:
    """Send a picture to whoever has the address that an answer named."""
    found = media.find_picture(picture_id)
    if found is None or not answers.is_signed(picture_id, signature):
        raise Http404
    return media.answer(request, found)
