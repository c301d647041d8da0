"""What the studio's form shows and sends: a model, reference pictures, words and settings.

A composer is made from an address (`/?like=…`, `/?preset=…`), from a form that was sent, or
from nothing, and knows in every case which endpoint's settings to show, what a click would
cost and why it could not run (generation/readiness.py).
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

from generation import (
    catalogue,
    channel,
    comparing,
    intake,
    lifecycle,
    media,
    offering,
    pace,
    readiness,
    uploads,
)
from generation import presets as saved
from generation.forms import StudioForm, carry_over
from generation.ids import new_token
from generation.models import FluxTask, Preset, TaskImage, Upload

#: How much of an old task `/?like=` takes over.
KEEP = ("all", "no-seed", "prompt")
#: Files taken from one form without scripts; with scripts they come one by one.
MAX_FILES = 8


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model as the picker shows it. `misfit` says why it cannot draw with the pictures that
    are attached, "" when it can; `price` is of one picture, in credits, and 0 while credits are
    switched off; `seconds` is None while too little is known."""

    model: catalogue.Model
    checked: bool
    compared: bool
    misfit: str
    price: int
    seconds: float | None

    @property
    def id(self) -> str:
        return self.model.id

    @property
    def slug(self) -> str:
        """The id, as the id of an element."""
        return re.sub(r"[^a-z0-9]+", "-", self.id)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def summary(self) -> str:
        return gettext(self.model.summary)

    @property
    def picture(self) -> str:
        return f"img/models/{self.model.picture}.svg"

    @property
    def inputs(self) -> str:
        most = self.model.max_images
        if most == 0:
            return gettext("Words only")
        if self.model.min_images:
            return gettext("One picture, no words")
        if most == 1:
            return gettext("Words, or words and a picture")
        return gettext("Words, and up to %(count)s pictures") % {"count": most}

    @property
    def price_text(self) -> str:
        if not self.price:
            return ""
        text = ngettext("%(cost)s credit a picture", "%(cost)s credits a picture", self.price)
        return text % {"cost": self.price}

    @property
    def pace_text(self) -> str:
        return pace.in_words(self.seconds)

    @property
    def compare_misfit(self) -> str:
        """Say why it cannot take part in a comparison, "" when it can."""
        if not all(endpoint.has_prompt for endpoint in self.model.endpoints):
            return gettext("Works without a prompt")
        return self.misfit


@dataclass(kw_only=True)
class Composer:
    """`compared` holds the models of a comparison; None while a single model draws."""

    form: StudioForm
    channel: channel.Channel
    menu: offering.Menu
    pictures: Sequence[Upload | TaskImage]
    key: str
    #: Files that came with the form and were not accepted.
    refusals: Sequence[uploads.UploadRefused] = ()
    compared: Sequence[catalogue.Model] | None = None
    #: The words of a preset that brings some.
    words: str = ""
    #: Whether the settings' problems also stand beside the button: without scripts nothing opens
    #: the sheet in which they are on a phone.
    repeats_problems: bool = False

    @property
    def model(self) -> catalogue.Model:
        return self.form.studio_model

    @property
    def images(self) -> int:
        return len(self.form.addresses)

    @cached_property
    def models(self) -> list[ModelChoice]:
        # With nothing on the menu the form still stands somewhere; the button says why it is idle.
        return [self._choice(model) for model in self.menu.models or (self.model,)]

    def _choice(self, model: catalogue.Model) -> ModelChoice:
        endpoint = shown_endpoint(model, self.images)
        return ModelChoice(
            model=model,
            checked=model.id == self.model.id,
            compared=model in (self.compared or ()),
            misfit=readiness.misfit(model, self.images),
            price=self.prices[endpoint.id],
            seconds=self.typical.get(endpoint.id),
        )

    @property
    def chosen(self) -> ModelChoice:
        return next(choice for choice in self.models if choice.checked)

    @property
    def endpoint(self) -> catalogue.Endpoint:
        return self.form.endpoint

    @property
    def is_comparing(self) -> bool:
        return self.compared is not None

    @property
    def most_compared(self) -> int:
        return comparing.MOST

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
        problems = [*self.form.problems_of("model"), *self.form.problems_of("__all__")]
        if self.repeats_problems:
            rows = [*self.form.basic, *self.form.advanced]
            problems += [f"{row.label}: {text}" for row in rows for text in row.problems]
        return problems

    # ------------------------------------------------------------ what it costs and takes
    @cached_property
    def prices(self) -> Mapping[str, int]:
        return lifecycle.price_list()

    @cached_property
    def typical(self) -> Mapping[str, float]:
        return pace.typical()

    @cached_property
    def balance(self) -> int | None:
        return lifecycle.balance_of(user=self.form.user)

    @cached_property
    def bill(self) -> readiness.Bill:
        endpoints = [shown_endpoint(model, self.images) for model in self.drawing]
        return readiness.Bill(
            shares=[(self.prices[each.id], each.max_num_images) for each in endpoints],
            balance=self.balance,
            budget=lifecycle.tightest_budget(user=self.form.user),
        )

    @property
    def drawing(self) -> Sequence[catalogue.Model]:
        """The models a click would put to work."""
        return [self.model] if self.compared is None else self.compared

    # ------------------------------------------------------------ the run button
    @property
    def labels(self) -> list[str]:
        """The button's text for one picture of each model, two, and so on."""
        return [self._label(n) for n in range(1, self.endpoint.max_num_images + 1)]

    def _label(self, number: int) -> str:
        if self.compared is not None and len(self.compared) < comparing.FEWEST:
            return gettext("Compare models")
        pictures, cost = self.bill.pictures(number), self.bill.cost(number)
        if self.compared is None:
            text = ngettext("Generate %(count)s image", "Generate %(count)s images", pictures)
        else:
            text = gettext("Generate %(count)s images with %(models)s models")
        text %= {"count": pictures, "models": len(self.drawing)}
        if self.balance is None:
            return text
        price = ngettext("%(cost)s credit", "%(cost)s credits", cost) % {"cost": cost}
        # Where the button is narrow its line does not break here.
        price = price.replace(" ", "\N{NO-BREAK SPACE}")
        after = gettext("%(left)s left after") % {"left": self.balance - cost}
        return f"{text} · {price}" + (f" ({after})" if self.balance >= cost else "")

    @property
    def number(self) -> int:
        """How many pictures of each model are chosen."""
        row = next((row for row in self.form.basic if row.name == "num_images"), None)
        number = int(row.value) if row and re.fullmatch(r"\d{1,3}", row.value) else 1
        return min(max(number, 1), self.endpoint.max_num_images)

    @property
    def label(self) -> str:
        return self.labels[self.number - 1]

    @cached_property
    def reasons(self) -> list[readiness.Reason]:
        """Why this cannot run now, but for what the page sees by itself: an empty prompt, an
        upload under way, and more pictures than can be paid for."""
        return readiness.reasons(
            user=self.form.user,
            state=self.channel,
            menu=self.menu,
            models=self.drawing,
            is_comparison=self.is_comparing,
            images=self.images,
            bill=self.bill,
        )

    @property
    def affordable(self) -> int:
        """So many pictures of each model can be paid for."""
        return self.bill.affordable(most=self.endpoint.max_num_images)

    @property
    def affordable_text(self) -> str:
        """Say it, where it is some but not all; "" else."""
        if not 0 < self.affordable < self.endpoint.max_num_images:
            return ""
        pictures = self.bill.pictures(self.affordable)
        text = ngettext(
            "Your credits are enough for %(count)s picture here.",
            "Your credits are enough for %(count)s pictures here.",
            pictures,
        )
        return text % {"count": pictures}

    @property
    def is_beyond_means(self) -> bool:
        return self.number > self.affordable

    @cached_property
    def standing(self) -> readiness.Standing:
        return readiness.standing(
            user=self.form.user, config=self.channel.config, balance=self.balance
        )


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
    if "preset" in query:
        return _from_preset(request, state, query)
    addresses = query.getlist("image")
    if "reference" in query:
        addresses = [f"/media/{query['reference']}"]
    pictures = _own_pictures(request.user, addresses)
    if len(pictures) < len(addresses):
        raise Http404
    menu = state.offer.menu(user=request.user)
    model = menu.family(query.get("model", ""))
    if model:
        shown = catalogue.find_endpoint(query.get("shown", ""))
        values: Mapping[str, Any] = query
    else:
        model = menu.family(newest.model if newest else "") or default_model(state, menu)
        shown = None
        values = {**newest.parameters, "seed": ""} if newest else {}
        if addresses and model.max_images == 0:
            model = next((other for other in menu.models if other.max_images), model)
            values = {}
    prompt = query.get("prompt", "")
    if newest and query.get("task") == newest.pk:
        # Where a form that was sent without scripts leads: the words stay.
        prompt = newest.prompt
    return _unbound(request.user, state, menu, model, pictures, prompt, values, shown=shown)


def _like(request: HttpRequest, state: channel.Channel, query: QueryDict) -> Composer:
    tasks = FluxTask.objects.for_user(request.user).prefetch_related(
        "inputs__upload", "inputs__image"
    )
    keep, task_id = query.get("keep", "all"), query.get("like", "")
    if keep not in KEEP or not is_id(task_id):
        raise Http404
    task = get_object_or_404(tasks, pk=task_id)
    menu = state.offer.menu(user=request.user)
    if keep == "prompt":
        return _unbound(request.user, state, menu, default_model(state, menu), [], task.prompt, {})
    seed = (task.result_seed or task.seed) if keep == "all" else ""
    return _unbound(
        request.user,
        state,
        menu,
        menu.family(task.model) or default_model(state, menu),
        [item.picture for item in task.inputs.all()],
        task.prompt,
        {**task.parameters, "seed": seed},
    )


def _from_preset(request: HttpRequest, state: channel.Channel, query: QueryDict) -> Composer:
    preset = own_preset(request.user, query)
    menu = state.offer.menu(user=request.user)
    if menu.family(preset.model) is None:
        messages.warning(request, gettext("The model of this preset is no longer offered here."))
    addresses = query.getlist("image")
    pictures = _own_pictures(request.user, addresses)
    if len(pictures) < len(addresses):
        raise Http404
    model = menu.family(preset.model) or default_model(state, menu)
    composer = _unbound(
        request.user, state, menu, model, pictures, preset.prompt, preset.parameters
    )
    composer.words = preset.prompt
    return composer


def own_preset(user: Any, query: QueryDict) -> Preset:
    """Return the preset an address names. Raises Http404 for what the member may not use."""
    preset = saved.find(user=user, preset_id=query.get("preset", ""))
    if preset is None:
        raise Http404
    return preset


def from_post(*, request: HttpRequest, state: channel.Channel, edit: bool = False) -> Composer:
    """Return the composer for a form that was sent, its files taken in.

    With `edit` it is only shown again: nothing was asked yet, so nothing is checked.
    """
    post = request.POST
    menu = state.offer.menu(user=request.user)
    model = menu.family(post.get("model", "")) or default_model(state, menu)
    addresses = post.getlist("image")
    taken, refusals = _take_in(request)
    addresses += taken
    if edit:
        addresses = _edited(addresses, post.get("edit", ""))
    pictures = _own_pictures(request.user, addresses)
    compared = asked_to_compare(post, menu)
    endpoint = shown_endpoint(model, len(addresses), compared)
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
            request.user,
            state,
            menu,
            model,
            pictures,
            post.get("prompt", ""),
            values,
            shown=shown,
            compared=compared,
        )
    defaults = {p.name: p.default for p in endpoint.parameters}
    data = {**defaults, **{name: values[name] for name in defaults if name in values}}
    form = StudioForm(
        user=request.user,
        model=model,
        endpoint=endpoint,
        addresses=addresses,
        compared=compared,
        data={**data, "prompt": post.get("prompt", ""), "model": model.id},
    )
    for text in refusals:
        form.add_error("references", text)
    for problem in _not_offered(post, menu):
        form.refuse(problem)
    return Composer(
        menu=menu,
        form=form,
        channel=state,
        pictures=pictures,
        key=new_token(),
        refusals=list(refusals.values()),
        compared=compared,
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
    """Return the composer for a model, or those compared, and a number of pictures. None: no
    such model."""
    menu = state.offer.menu(user=user)
    model = menu.family(query.get("model", ""))
    if model is None:
        return None
    return _unbound(
        user,
        state,
        menu,
        model,
        [],
        "",
        query,
        shown=catalogue.find_endpoint(query.get("shown", "")),
        images=images,
        compared=asked_to_compare(query, menu),
    )


def from_preset(*, user: Any, query: QueryDict, images: int, state: channel.Channel) -> Composer:
    """Return the composer a preset leads to, for a number of pictures. Raises Http404."""
    preset = own_preset(user, query)
    menu = state.offer.menu(user=user)
    model = menu.family(preset.model) or default_model(state, menu)
    composer = _unbound(user, state, menu, model, [], "", preset.parameters, images=images)
    composer.words = preset.prompt
    return composer


def asked_to_compare(query: QueryDict, menu: offering.Menu) -> list[catalogue.Model] | None:
    """Return the models to compare, None when one alone is to draw."""
    return comparing.named(query.getlist("models"), menu=menu) if query.get("compare") else None


def _not_offered(post: QueryDict, menu: offering.Menu) -> list[catalogue.Problem]:
    """Return what is wrong with models that a form names and that were taken off the menu since
    it was made. Another one must not draw, and cost, in their place."""
    ids = post.getlist("models") if post.get("compare") else [post.get("model", "")]
    named = [model for model in map(catalogue.family, ids) if model is not None]
    return [offering.problem_of(model) for model in named if not menu.offers(model)]


def _unbound(
    user: Any,
    state: channel.Channel,
    menu: offering.Menu,
    model: catalogue.Model,
    pictures: Sequence[Upload | TaskImage],
    prompt: str,
    values: Mapping[str, Any],
    *,
    shown: catalogue.Endpoint | None = None,
    images: int | None = None,
    compared: Sequence[catalogue.Model] | None = None,
) -> Composer:
    addresses = [picture.url for picture in pictures] if images is None else [""] * images
    endpoint = shown_endpoint(model, len(addresses), compared)
    initial = carry_over(values, shown=shown, endpoint=endpoint)
    form = StudioForm(
        user=user,
        model=model,
        endpoint=endpoint,
        addresses=addresses,
        compared=compared,
        initial={**initial, "prompt": prompt[: catalogue.MAX_PROMPT_LENGTH]},
    )
    return Composer(
        form=form,
        channel=state,
        menu=menu,
        pictures=pictures,
        key=new_token(),
        compared=compared,
    )


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
def default_model(state: channel.Channel, menu: offering.Menu) -> catalogue.Model:
    return menu.default(state.config.default_model)


def shown_endpoint(
    model: catalogue.Model, images: int, compared: Sequence[catalogue.Model] | None = None
) -> catalogue.Endpoint:
    """Return the endpoint whose settings are shown; for a comparison, what its models share."""
    if compared is not None:
        return comparing.shared_endpoint(compared, images)
    return comparing.nearest_endpoint(model, images)


# ---------------------------------------------------------------- one click, one task
def idempotency_key(post: QueryDict, orders: Sequence[intake.Order]) -> str:
    """Return the key of this click: the same form sent twice with the same content is one.

    The content is part of it: a form reached again by the browser's back button is changed
    and sent with its old key, and means a new task.
    """
    key = post.get("key", "")
    if not re.fullmatch(r"[0-9a-f]{32}", key):
        return new_token()
    contents = [
        (order.model_id, order.prompt, order.addresses, sorted(order.parameters.items()))
        for order in orders
    ]
    content = repr(contents[0] if len(contents) == 1 else contents)
    return f"{key}.{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:32]}"
