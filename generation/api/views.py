"""The API of generation. Each view checks, makes one lifecycle call and shows the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fluxsite import paging
from generation import catalogue, channel, intake, lifecycle, polling, rates, uploads
from generation.api import serializers
from generation.api.parsers import LengthRequired, PictureParser, Refused
from generation.models import FluxTask

MAX_KEY_LENGTH = 255

_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]*$"},
    OpenApiParameter.HEADER,
    description="The same key with the same body answers with the same task, and nothing is "
    "charged twice: send one you made up, and the same again after an answer that was lost.",
)
_TEXT_TO_IMAGE = OpenApiExample(
    "From a prompt",
    {
        "model": "fal-ai/flux-1/schnell",
        "prompt": "a cat on a red bridge",
        "num_images": 2,
        "aspect_ratio": "16:9",
    },
    request_only=True,
)
_IMAGE_TO_IMAGE = OpenApiExample(
    "From a picture",
    {
        "model": "fal-ai/flux-pro/kontext",
        "prompt": "the same cat in the snow",
        "image_url": "/media/019abf3e5c7a41d28f6be93d70c1a254",
    },
    request_only=True,
)
_REFUSALS = {
    402: OpenApiResponse(
        description="`insufficient_credits`, or a budget of yours is used up. Nothing was reserved."
    ),
    409: OpenApiResponse(
        description="`idempotency_conflict`: the key was used for another request. With retry "
        "also `not_ended`: the task has not ended yet."
    ),
    503: OpenApiResponse(
        description="Nothing can be drawn at the moment: `off`, `not_configured`, "
        "`key_unreadable`, `maintenance` or `unavailable`. Nothing was reserved."
    ),
}


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class PaymentRequired(exceptions.APIException):
    status_code = status.HTTP_402_PAYMENT_REQUIRED


class TooOften(exceptions.APIException):
    """More tasks than one minute allows. `wait` is when the next begins, in seconds."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_often"

    def __init__(self, error: rates.TooOften) -> None:
        super().__init__(intake.too_often(error))
        self.wait = error.retry_after


class NotAccepting(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


# ---------------------------------------------------------------- helpers
def own_task(request: Request, task_id: str) -> FluxTask:
    return get_object_or_404(FluxTask.objects.for_user(request.user), pk=task_id)


def invalid(error: catalogue.InvalidRequest) -> exceptions.ValidationError:
    problems: dict[str, list[str]] = {}
    for problem in error.problems:
        problems.setdefault(problem.field, []).append(_(problem.message) % problem.params)
    return exceptions.ValidationError(problems)


def not_accepting(error: channel.ChannelClosed) -> NotAccepting:
    return NotAccepting(_(intake.CLOSED_REASONS[error.mode]), code=error.mode)


def cannot_pay(error: lifecycle.CannotPay) -> PaymentRequired:
    problem = error.problem
    return PaymentRequired(_(problem.message) % problem.params, problem.code)


def _key_conflict() -> Conflict:
    return Conflict(_("This Idempotency-Key was used for another request."), "idempotency_conflict")


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the lifecycle may refuse into the replies of the API."""
    try:
        yield
    except catalogue.InvalidRequest as error:
        raise invalid(error) from error
    except channel.ChannelClosed as error:
        raise not_accepting(error) from error
    except lifecycle.CannotPay as error:
        raise cannot_pay(error) from error
    except lifecycle.IdempotencyConflict as error:
        raise _key_conflict() from error
    except rates.TooOften as error:
        raise TooOften(error) from error


def read_key(request: Request) -> str:
    """Return the Idempotency-Key of a request, "" without one. Raises ValidationError."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise exceptions.ValidationError(
            {
                "Idempotency-Key": [
                    _("At most %(maximum)s characters, please.") % {"maximum": MAX_KEY_LENGTH}
                ]
            }
        )
    return key


def _default_model(request: Request) -> catalogue.Model:
    state = channel.current()
    return state.offer.menu(user=request.user).default(state.config.default_model)


def _read_order(request: Request, *, with_images: bool | None) -> intake.Order:
    """Read a create body. `with_images`: whether reference pictures must come, None for may."""
    if not isinstance(request.data, dict):
        raise exceptions.ParseError(_("The request body must be a JSON object."))
    body: dict[str, Any] = dict(request.data)
    model_id = body.pop("model", None) or _default_model(request).id
    prompt = body.pop("prompt", "")
    single, several = body.pop("image_url", None), body.pop("image_urls", None)
    field = "image_url" if several is None else "image_urls"
    if with_images is False and (single is not None or several is not None):
        raise exceptions.ValidationError(
            {field: [_("Text to image takes no picture; use /api/flux/image-to-image.")]}
        )
    if single is not None and several is not None:
        raise exceptions.ValidationError({field: [_("Give either image_url or image_urls.")]})
    addresses = [single] if single is not None else several
    if with_images and not addresses:
        raise exceptions.ValidationError({field: [_("A reference picture is needed.")]})
    if addresses is not None and not isinstance(addresses, list):
        raise exceptions.ValidationError({field: [_("A list of addresses is needed.")]})
    return intake.Order(
        model_id=model_id,
        prompt=prompt,
        addresses=addresses or [],
        parameters=body,
        image_field=field,
    )


class _CreateView(APIView):
    token_scopes = {"POST": "generate"}
    with_images: bool
    #: Counted with the tasks they make (lifecycle).
    throttle_classes = []

    def _create(self, request: Request) -> Response:
        key = read_key(request)
        order = _read_order(request, with_images=self.with_images)
        with refusals():
            task = intake.place(
                user=request.user, order=order, idempotency_key=key, now=timezone.now()
            )
        return Response(serializers.represent(task), status=status.HTTP_202_ACCEPTED)


# ---------------------------------------------------------------- views
class TextToImageView(_CreateView):
    with_images = False

    @extend_schema(
        request={"application/json": serializers.request_schema(with_images=False)},
        examples=[_TEXT_TO_IMAGE],
        parameters=[_IDEMPOTENCY_KEY],
        responses={202: serializers.TaskSerializer, **_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Draw from a prompt."""
        return self._create(request)


class ImageToImageView(_CreateView):
    with_images = True

    @extend_schema(
        request={"application/json": serializers.request_schema(with_images=True)},
        examples=[_IMAGE_TO_IMAGE],
        parameters=[_IDEMPOTENCY_KEY],
        responses={202: serializers.TaskSerializer, **_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Draw from one reference picture, or from several."""
        return self._create(request)


class EstimateView(APIView):
    token_scopes = {"POST": "read"}

    @extend_schema(
        request={"application/json": serializers.request_schema(with_images=True)},
        examples=[_TEXT_TO_IMAGE, _IMAGE_TO_IMAGE],
        responses={200: serializers.EstimateSerializer},
    )
    def post(self, request: Request) -> Response:
        """Tell what a request would cost, and every reason why it could not run."""
        order = _read_order(request, with_images=None)
        problems: list[dict[str, str]] = []
        quote = lifecycle.Quote(credits=0, balance=lifecycle.balance_of(user=request.user))
        try:
            checked = intake.check(user=request.user, order=order)
            quote = lifecycle.quote(user=request.user, request=checked.request)
        except catalogue.InvalidRequest as error:
            problems = [serializers.represent_problem(problem) for problem in error.problems]
        if quote.shortfall:
            problems.append(serializers.represent_problem(quote.shortfall))
        return Response(
            {
                "credits": quote.credits,
                "balance_after": quote.balance_after,
                "problems": problems,
            }
        )


class UploadImageView(APIView):
    token_scopes = {"POST": "generate"}
    parser_classes = [PictureParser]
    #: Counted by the hour (uploads).
    throttle_classes = []

    @extend_schema(
        request={
            "multipart/form-data": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
            }
        },
        responses={
            201: serializers.UploadSerializer,
            403: OpenApiResponse(
                description="`quota_exceeded`: your pictures take all the room you have.",
            ),
            411: OpenApiResponse(
                description="`length_required`: the body came in chunks, without a length.",
            ),
            413: OpenApiResponse(description="`too_large`: more than 10 MB."),
            415: OpenApiResponse(description="The body is not multipart/form-data."),
            429: OpenApiResponse(
                description="`too_often`: too many pictures within an hour. `Retry-After` says "
                "when to try again, in seconds.",
            ),
            503: OpenApiResponse(
                description="`scanner_unavailable`, `storage_unavailable` or `busy`. Nothing was "
                "stored; try again after `Retry-After` seconds.",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Bring a reference picture: JPEG, PNG or WebP of at most 10 MB.

        What is stored is a new picture made from its pixels. A refusal stores nothing; its
        `code` names the rule: `unsupported_format`, `broken`, `too_many_pixels`, `too_small`,
        `too_long`, `infected`, or those below.
        """
        files = request.FILES.getlist("file")
        if not files and "chunked" in request.headers.get("Transfer-Encoding", ""):
            raise LengthRequired
        if len(files) != 1:
            message = _("Send one picture at a time.") if files else _("Choose a picture.")
            raise exceptions.ValidationError({"file": [message]})
        try:
            upload = uploads.save(user=request.user, file=files[0])
        except uploads.UploadRefused as error:
            raise Refused(error) from error
        body = {
            "id": upload.pk,
            "url": upload.url,
            "width": upload.width,
            "height": upload.height,
            "bytes": upload.byte_size,
        }
        return Response(body, status=status.HTTP_201_CREATED)


class TaskView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(responses={200: serializers.TaskSerializer})
    def get(self, request: Request, task_id: str) -> Response:
        """Tell how a task stands."""
        task = own_task(request, task_id)
        if task.is_followed:
            polling.kick()
        return Response(serializers.represent(task))


class CancelView(APIView):
    token_scopes = {"POST": "generate"}

    @extend_schema(
        request=None,
        responses={
            200: serializers.TaskSerializer,
            409: OpenApiResponse(description="`already_ended`: there is nothing to cancel."),
        },
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Cancel a task: at once while it waits here, else as soon as the provider stops."""
        task = own_task(request, task_id)
        if not lifecycle.cancel(task=task, now=timezone.now()):
            raise Conflict(_("The task has already ended."), "already_ended")
        polling.kick_on_commit()
        task.refresh_from_db()
        return Response(serializers.represent(task))


class RetryView(APIView):
    token_scopes = {"POST": "generate"}
    #: Counted with the tasks it makes (lifecycle).
    throttle_classes = []

    @extend_schema(
        request=None,
        parameters=[_IDEMPOTENCY_KEY],
        responses={202: serializers.TaskSerializer, **_REFUSALS},
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Ask for the same again, as a new task linked to this one."""
        task = own_task(request, task_id)
        if not task.is_finished:
            raise Conflict(_("The task has not ended yet."), "not_ended")
        with refusals():
            again = lifecycle.retry(
                task=task, idempotency_key=read_key(request), now=timezone.now()
            )
        polling.kick_on_commit()
        return Response(serializers.represent(again), status=status.HTTP_202_ACCEPTED)


class RecoverView(APIView):
    token_scopes = {"POST": "generate"}

    @extend_schema(
        request=None,
        responses={
            202: serializers.TaskSerializer,
            402: _REFUSALS[402],
            409: OpenApiResponse(
                description="`not_recoverable`: there is no late result to ask for."
            ),
        },
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Ask for a result that came too late. It is charged if and when it is delivered."""
        task = own_task(request, task_id)
        with refusals():
            asked = lifecycle.recover(task=task, now=timezone.now())
        if not asked:
            raise Conflict(_("There is no late result to ask for."), "not_recoverable")
        polling.kick_on_commit()
        task.refresh_from_db()
        return Response(serializers.represent(task), status=status.HTTP_202_ACCEPTED)


class HistoryView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(parameters=paging.PARAMETERS, responses={200: serializers.TaskListSerializer})
    def get(self, request: Request) -> Response:
        """List your FLUX tasks, newest first, whatever became of them."""
        asked = paging.read(request.query_params)
        page = paging.paginate(FluxTask.objects.for_user(request.user), asked=asked)
        results = serializers.represent_many(page.rows)
        return Response(paging.answer(request, page=page, results=results))


class ModelsView(APIView):
    token_scopes = {"GET": "read"}

    @extend_schema(responses={200: serializers.ModelListSerializer})
    def get(self, request: Request) -> Response:
        """List the models that you may use: what each takes, with types, ranges and defaults."""
        prices = lifecycle.price_list()
        state = channel.current()
        menu = state.offer.menu(user=request.user)
        models = [serializers.describe_model(model, prices) for model in menu.models]
        default = menu.default(state.config.default_model).id if menu.models else None
        return Response({"default": default, "results": models})
