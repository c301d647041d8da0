"""What the studio's form shows and sends: a model, reference pictures, words and settings.

A composer is made from an address (`/?like=…`), from a form that was sent, or from nothing,
and knows in every case which endpoint's settings to show and why it could not run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from django.contrib import messages
from django.http import Http404, HttpRequest, QueryDict
from django.shortcuts import get_object_or_404
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext

from generation import catalogue, channel, intake, lifecycle, media, uploads
from generation.forms import StudioForm, carry_over
from generation.ids import new_token
from generation.models import FluxTask, TaskImage, Upload

#: How much of an old task `/?like=` takes over.
KEEP = ("all", "no-seed", "prompt")
#: Files taken from one form without scripts; with scripts they come one by one.
MAX_FILES = 8


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model as the picker shows it."""

    id: str
    name: str
    summary: str
    inputs: str
    checked: bool


@dataclass(kw_only=True)
class Composer:
    form: StudioForm
    channel: channel.Channel
    pictures: Sequence[Upload | TaskImage]
    key: str
    #: Files that came with the form and were not accepted.
    refusals: Sequence[uploads.UploadRefused] = ()

    @property
    def model(self) -> catalogue.Model:
        return self.form.studio_model

    @cached_property
    def models(self) -> list[ModelChoice]:
        return [
            ModelChoice(
                id=model.id,
                name=model.name,
                summary=gettext(model.summary),
                inputs=_inputs(model),
                checked=model.id == self.model.id,
            )
            for model in catalogue.MODELS
        ]

    @property
    def chosen(self) -> ModelChoice:
        return next(choice for choice in self.models if choice.checked)

    @property
    def endpoint(self) -> catalogue.Endpoint:
        return self.form.endpoint

    @property
    def prompt(self) -> str:
        return str(self.form["prompt"].value() or "")

    @property
    def max_prompt_length(self) -> int:
        return catalogue.MAX_PROMPT_LENGTH

    @property
    def prompt_problems(self) -> list[str]:
        return self.form.problems_of("prompt")

    @property
    def reference_problems(self) -> list[str]:
        return self.form.problems_of("references")

    @property
    def other_problems(self) -> list[str]:
        return [*self.form.problems_of("model"), *self.form.problems_of("__all__")]

    # ------------------------------------------------------------ the run button
    @property
    def labels(self) -> list[str]:
        """The button's text for one picture, two, and so on."""
        return [self._label(n) for n in range(1, self.endpoint.max_num_images + 1)]

    def _label(self, number: int) -> str:
        text = ngettext("Generate %(count)s image", "Generate %(count)s images", number) % {
            "count": number
        }
        if self.balance is None:
            return text
        cost = self.unit_price * number
        price = ngettext("%(cost)s credit", "%(cost)s credits", cost) % {"cost": cost}
        after = gettext("%(left)s left after") % {"left": self.balance - cost}
        return f"{text} · {price}" + (f" ({after})" if self.balance >= cost else "")

    @cached_property
    def balance(self) -> int | None:
        return lifecycle.balance_of(user=self.form.user)

    @cached_property
    def unit_price(self) -> int:
        return lifecycle.unit_price(endpoint=self.endpoint)

    @property
    def label(self) -> str:
        row = next((row for row in self.form.basic if row.name == "num_images"), None)
        number = int(row.value) if row and row.value.isdecimal() else 1
        return self.labels[min(max(number, 1), len(self.labels)) - 1]

    @property
    def reasons(self) -> list[str]:
        """Why this cannot run now, but for an empty prompt, which the page sees by itself."""
        reasons = []
        if not self.channel.is_open:
            reasons.append(gettext(intake.CLOSED_REASONS[self.channel.mode]))
        try:
            self.model.endpoint_for(len(self.form.addresses))
        except catalogue.InvalidRequest as error:
            reasons += [gettext(problem.message) % problem.params for problem in error.problems]
        if self.balance is not None and self.balance < self.unit_price:
            reasons.append(
                gettext("A picture costs %(price)s credits here and you have %(balance)s.")
                % {"price": self.unit_price, "balance": self.balance}
            )
        return reasons


def _inputs(model: catalogue.Model) -> str:
    most = model.max_images
    if most == 0:
        return gettext("Words only")
    if model.min_images:
        return gettext("One picture, no words")
    if most == 1:
        return gettext("Words, or words and a picture")
    return gettext("Words, and up to %(count)s pictures") % {"count": most}


# ---------------------------------------------------------------- where a composer comes from
def from_address(
    *, request: HttpRequest, state: channel.Channel, newest: FluxTask | None
) -> Composer:
    """Return the composer for `/` with its query. Raises Http404 for what is not one's own.

    Without any query it stands as the member left it: at the model and settings of the
    `newest` task.
    """
    query = request.GET
    if "like" in query:
        return _like(request, state, query)
    addresses = query.getlist("image")
    if "reference" in query:
        addresses = [f"/media/{query['reference']}"]
    pictures = _own_pictures(request.user, addresses)
    if len(pictures) < len(addresses):
        raise Http404
    model = family(query.get("model", ""))
    if model:
        shown = catalogue.find_endpoint(query.get("shown", ""))
        values: Mapping[str, Any] = query
    else:
        model = family(newest.model if newest else "") or default_model(state)
        shown = None
        values = {**newest.parameters, "seed": ""} if newest else {}
        if addresses and model.max_images == 0:
            model = next(other for other in catalogue.MODELS if other.max_images)
            values = {}
    prompt = query.get("prompt", "")
    if newest and query.get("task") == newest.pk:
        # Where a form that was sent without scripts leads: the words stay.
        prompt = newest.prompt
    return _unbound(request.user, state, model, pictures, prompt, values, shown=shown)


def _like(request: HttpRequest, state: channel.Channel, query: QueryDict) -> Composer:
    tasks = FluxTask.objects.for_user(request.user).prefetch_related(
        "inputs__upload", "inputs__image"
    )
    keep, task_id = query.get("keep", "all"), query.get("like", "")
    if keep not in KEEP or not is_id(task_id):
        raise Http404
    task = get_object_or_404(tasks, pk=task_id)
    if keep == "prompt":
        return _unbound(request.user, state, default_model(state), [], task.prompt, {})
    seed = (task.result_seed or task.seed) if keep == "all" else ""
    return _unbound(
        request.user,
        state,
        family(task.model) or default_model(state),
        [item.picture for item in task.inputs.all()],
        task.prompt,
        {**task.parameters, "seed": seed},
    )


def from_post(*, request: HttpRequest, state: channel.Channel, edit: bool = False) -> Composer:
    """Return the composer for a form that was sent, its files taken in.

    With `edit` it is only shown again: nothing was asked yet, so nothing is checked.
    """
    post = request.POST
    model = family(post.get("model", "")) or default_model(state)
    addresses = post.getlist("image")
    taken, refusals = _take_in(request)
    addresses += taken
    if edit:
        addresses = _edited(addresses, post.get("edit", ""))
    pictures = _own_pictures(request.user, addresses)
    endpoint = shown_endpoint(model, len(addresses))
    shown = catalogue.find_endpoint(post.get("shown", ""))
    values: Mapping[str, Any] = post
    if shown is not endpoint:
        # Without scripts the settings on the page may be those of another endpoint.
        values = carry_over(post, shown=shown, endpoint=endpoint)
    if edit:
        # There is no field to say it beside while nothing is checked.
        for text in refusals:
            messages.error(request, text)
        return _unbound(
            request.user, state, model, pictures, post.get("prompt", ""), values, shown=shown
        )
    defaults = {p.name: p.default for p in endpoint.parameters}
    data = {**defaults, **{name: values[name] for name in defaults if name in values}}
    form = StudioForm(
        user=request.user,
        model=model,
        endpoint=endpoint,
        addresses=addresses,
        data={**data, "prompt": post.get("prompt", ""), "model": model.id},
    )
    for text in refusals:
        form.add_error("references", text)
    return Composer(
        form=form,
        channel=state,
        pictures=pictures,
        key=new_token(),
        refusals=list(refusals.values()),
    )


def _take_in(request: HttpRequest) -> tuple[list[str], dict[str, uploads.UploadRefused]]:
    """Return the addresses of the files that came with a form, and what to say of the others."""
    addresses: list[str] = []
    refusals: dict[str, uploads.UploadRefused] = {}
    files = request.FILES.getlist("files")
    for file in files[:MAX_FILES]:
        try:
            upload = uploads.save(user=request.user, file=cast(BinaryIO, file))
        except uploads.UploadRefused as error:
            refusals[f"{file.name}: {error.message}"] = error
        else:
            addresses.append(upload.url)
    if len(files) > MAX_FILES:
        text = gettext("At most %(count)d pictures can be brought at once.")
        text %= {"count": MAX_FILES}
        refusals[text] = uploads.UploadRefused("too_many_files", text)
    return addresses, refusals


def from_settings(
    *, user: Any, query: QueryDict, images: int, state: channel.Channel
) -> Composer | None:
    """Return the composer for a model and a number of pictures. None: no such model."""
    model = family(query.get("model", ""))
    if model is None:
        return None
    shown = catalogue.find_endpoint(query.get("shown", ""))
    composer = _unbound(user, state, model, [], "", query, shown=shown, images=images)
    composer.form.addresses = [""] * images
    return composer


def _unbound(
    user: Any,
    state: channel.Channel,
    model: catalogue.Model,
    pictures: Sequence[Upload | TaskImage],
    prompt: str,
    values: Mapping[str, Any],
    *,
    shown: catalogue.Endpoint | None = None,
    images: int | None = None,
) -> Composer:
    endpoint = shown_endpoint(model, len(pictures) if images is None else images)
    initial = carry_over(values, shown=shown, endpoint=endpoint)
    form = StudioForm(
        user=user,
        model=model,
        endpoint=endpoint,
        addresses=[picture.url for picture in pictures],
        initial={**initial, "prompt": prompt[: catalogue.MAX_PROMPT_LENGTH]},
    )
    return Composer(form=form, channel=state, pictures=pictures, key=new_token())


def _edited(addresses: Sequence[str], command: str) -> list[str]:
    """Carry out `remove:<n>` or `earlier:<n>` on the reference pictures; else change nothing."""
    edited = list(addresses)
    verb, _colon, number = command.partition(":")
    index = int(number) if re.fullmatch(r"\d{1,2}", number) else -1
    if verb not in ("remove", "earlier") or not 0 <= index < len(edited):
        return edited
    picture = edited.pop(index)
    if verb == "earlier":
        edited.insert(max(0, index - 1), picture)
    return edited


def _own_pictures(user: Any, addresses: Sequence[str]) -> list[Upload | TaskImage]:
    found = [
        media.find_own_picture(user=user, address=address)
        for address in addresses[: intake.MAX_IMAGE_URLS]
    ]
    return [picture for picture in found if picture is not None]


def is_id(text: str) -> bool:
    """Tell whether a text from an address can be an id: databases differ on what else is."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


# ---------------------------------------------------------------- models and endpoints
def family(model_id: str) -> catalogue.Model | None:
    """Return the model the picker shows for an id, also for ids that fix one endpoint."""
    for model in catalogue.MODELS:
        if model.id == model_id:
            return model
    for model in catalogue.MODELS:
        if any(endpoint.id == model_id for endpoint in model.endpoints):
            return model
    return None


def default_model(state: channel.Channel) -> catalogue.Model:
    chosen = family(state.config.default_model) or family(catalogue.DEFAULT_MODEL)
    return chosen or catalogue.MODELS[0]


def shown_endpoint(model: catalogue.Model, images: int) -> catalogue.Endpoint:
    """Return the endpoint for that many pictures, or the nearest when it takes none such."""
    return model.endpoint_for(min(max(images, model.min_images), model.max_images))


# ---------------------------------------------------------------- one click, one task
def idempotency_key(post: QueryDict, order: intake.Order) -> str:
    """Return the key of this click: the same form sent twice with the same content is one.

    The content is part of it: a form reached again by the browser's back button is changed
    and sent with its old key, and means a new task.
    """
    key = post.get("key", "")
    if not re.fullmatch(r"[0-9a-f]{32}", key):
        return new_token()
    content = repr(
        (order.model_id, order.prompt, order.addresses, sorted(order.parameters.items()))
    )
    return f"{key}.{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:32]}"
