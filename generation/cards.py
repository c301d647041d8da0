"""What a task looks like on the studio page: one card, ready for a template without logic."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_noop as _

from generation import catalogue, errors, lifecycle, line, pace
from generation.forms import ratio_size
from generation.ids import new_token
from generation.models import FluxTask, TaskImage

Status = FluxTask.Status
Submission = FluxTask.Submission


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One true parameter of a task, in words."""

    label: str
    value: str


_STATE_WORDS = {
    "running": _("Drawing"),
    "saving": _("Saving"),
    "done": _("Done"),
    "failed": _("Failed"),
    "cancelled": _("Cancelled"),
}

#: The largest box a picture is shown in on a card, in pixels.
BOX = (824, 480)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The place of a picture: its proportions are known before the picture is there."""

    width: int
    height: int
    image: TaskImage | None = None

    @property
    def box_width(self) -> int:
        """Width it is shown at: placeholder and picture alike, so that nothing moves."""
        return round(self.width * self._scale)

    @property
    def box_height(self) -> int:
        return round(self.height * self._scale)

    @property
    def _scale(self) -> float:
        return min(BOX[0] / self.width, BOX[1] / self.height)

    @property
    def is_saving(self) -> bool:
        return self.image is not None and _is_saving(self.image)

    @property
    def template(self) -> str:
        if self.image is None:
            return "generation/_frame_empty.html"
        if self.image.stored_at is None:
            return "generation/_frame_unsaved.html"
        return "generation/_frame_picture.html"

    @property
    def thumbnail(self) -> str:
        return self.image.thumbnail_url(640) if self.image else ""


def _is_saving(image: TaskImage) -> bool:
    return image.stored_at is None and image.next_action_at is not None


@dataclass(frozen=True, kw_only=True)
class Card:
    task: FluxTask
    images: Sequence[TaskImage]
    position: line.Place | None
    is_open: bool = False
    #: Seconds such a task takes here, None while that is not known.
    typical: float | None = None

    # ------------------------------------------------------------ state
    @cached_property
    def state(self) -> str:
        """One of waiting, running, saving, done, failed, cancelled."""
        task = self.task
        if self.is_recovering:
            return "running"
        if task.status == Status.SUCCESS:
            # What was brought over is shown from where it is, and may be saved in days.
            is_saving = not task.origin and any(_is_saving(image) for image in self.images)
            return "saving" if is_saving else "done"
        return {
            Status.IN_PROGRESS.value: "running",
            Status.FAILED.value: "failed",
            Status.CANCELLED.value: "cancelled",
        }.get(task.status, "waiting")

    @property
    def is_live(self) -> bool:
        return self.state in ("waiting", "running", "saving")

    @property
    def is_unfinished(self) -> bool:
        return not self.task.is_finished

    @property
    def can_cancel(self) -> bool:
        return self.is_unfinished and self.task.cancel_requested_at is None

    @property
    def is_recovering(self) -> bool:
        """Its late result is being asked for."""
        return self.task.recover_requested_at is not None

    @cached_property
    def can_recover(self) -> bool:
        return lifecycle.is_recoverable(task=self.task, now=timezone.now())

    @property
    def recover_text(self) -> str:
        cost = self.task.cost_reserved
        if not cost:
            return gettext("Ask for the late picture")
        text = ngettext(
            "Ask for the late picture · up to %(count)s credit",
            "Ask for the late picture · up to %(count)s credits",
            cost,
        )
        return text % {"count": cost}

    @property
    def is_ended_badly(self) -> bool:
        return self.state in ("failed", "cancelled")

    @cached_property
    def version(self) -> str:
        """Changes whenever the card would read differently, but for ticking seconds."""
        return _digest(self.mark, self.status_text)

    @cached_property
    def mark(self) -> str:
        """Changes whenever more of the card is different than `status_text` and `since`, which
        the page can put right by itself. The same in every language."""
        task = self.task
        stored = [(image.pk, str(image.stored_at), image.store_attempts) for image in self.images]
        late = (self.can_recover, str(task.late_result_at))
        return _digest(self.state, self.can_cancel, task.error_code, stored, late)

    @property
    def is_settled(self) -> bool:
        """Whether all it shows is here to stay."""
        return self.state == "done" and not self.is_open and not self.is_recovering

    @property
    def settled_as(self) -> tuple[Hashable, ...]:
        """All that a card which is done is made of, but for the language."""
        task = self.task
        images = [(i.pk, i.width, i.stored_at, i.lost_at, i.store_attempts) for i in self.images]
        inputs = [item.picture.pk for item in task.inputs.all()]
        words = (self.model_name, task.cost_charged)
        return (task.pk, task.updated_at, *words, *images, *inputs)

    # ------------------------------------------------------------ words
    @property
    def status_text(self) -> str:
        task = self.task
        if self.is_unfinished and task.cancel_requested_at:
            return gettext("Cancelling")
        if self.is_recovering:
            return gettext("Asking for the late picture")
        if self.state == "waiting":
            return self._waiting_text
        return gettext(_STATE_WORDS[self.state])

    @property
    def _waiting_text(self) -> str:
        task = self.task
        if task.retry_count and task.submission == Submission.UNSENT:
            return gettext("The provider cannot be reached, still trying")
        if self.position:
            return self._place_text(self.position)
        if task.submission != Submission.ACCEPTED:
            return gettext("Sending")
        ahead = task.queue_position or 0
        if not ahead:
            return gettext("Next at the provider")
        text = ngettext("%(count)s ahead at the provider", "%(count)s ahead at the provider", ahead)
        return text % {"count": ahead}

    def _place_text(self, place: line.Place) -> str:
        words = {"place": place.position, "own": place.own, "total": place.total}
        if place.own == place.total:
            return gettext("Queued · #%(place)s of %(total)s") % words
        return gettext("Queued · #%(place)s (%(own)s of %(total)s are yours)") % words

    @property
    def announcement(self) -> str:
        """What a screen reader hears when the card gets here."""
        words = {"prompt": self.short_prompt}
        if self.state == "done":
            return gettext("Done: %(prompt)s") % words
        if self.is_ended_badly:
            return gettext("%(prompt)s: %(cause)s") % {**words, "cause": self.cause}
        return ""

    @property
    def title(self) -> str:
        return self.task.prompt or gettext("Variation without a prompt")

    @property
    def short_prompt(self) -> str:
        return self.title if len(self.title) <= 60 else f"{self.title[:59]}…"

    @property
    def model_name(self) -> str:
        model = self.task.display_model
        return model.name if model else self.task.model

    @property
    def seconds(self) -> str:
        seconds = self.task.generation_time
        return gettext("%(seconds).1f s") % {"seconds": seconds} if seconds else ""

    @property
    def since(self) -> datetime:
        """From when the seconds on the card count."""
        return self.task.submitted_at or self.task.created_at

    # ------------------------------------------------------------ how long it may take
    @property
    def has_pace(self) -> bool:
        return self.is_unfinished and self.typical is not None

    @property
    def pace_text(self) -> str:
        return gettext("usually %(pace)s") % {"pace": pace.in_words(self.typical)}

    @property
    def typical_seconds(self) -> int:
        """Whole seconds, at least one: what the bar is long."""
        return max(1, round(self.typical or 0))

    @property
    def elapsed(self) -> int:
        """How far the bar has grown: nothing while the task waits."""
        if self.state != "running":
            return 0
        seconds = (timezone.now() - self.since).total_seconds()
        return min(max(0, round(seconds)), self.typical_seconds)

    # ------------------------------------------------------------ a bad end
    @property
    def _explanation(self) -> errors.Explanation:
        return errors.explain(self.task.error_code)

    @property
    def cause(self) -> str:
        return gettext(self._explanation.cause)

    @property
    def advice(self) -> str:
        return gettext(self._explanation.advice)

    @property
    def charge(self) -> str:
        returned = self.task.cost_reserved
        if not returned:
            return gettext("Nothing was charged.")
        return ngettext(
            "Nothing was charged; %(count)s credit is back.",
            "Nothing was charged; %(count)s credits are back.",
            returned,
        ) % {"count": returned}

    @property
    def late_notice(self) -> str:
        """Say that the provider reported back after the task was given up."""
        if not (self.can_recover and self.task.late_result_at):
            return ""
        return gettext("The provider has reported back since: there may be a picture after all.")

    @cached_property
    def retry_key(self) -> str:
        """The name of one click on retry: the same form sent twice makes one task."""
        return new_token()

    @property
    def can_retry(self) -> bool:
        # The reference pictures of what was brought over are not here.
        return self._explanation.action not in ("edit", "model") and not self.task.origin

    @property
    def edit_text(self) -> str:
        if self._explanation.action == "model":
            return gettext("Choose another model")
        return gettext("Edit")

    # ------------------------------------------------------------ pictures
    @cached_property
    def frames(self) -> list[Frame]:
        width, height = self._ratio
        if self.task.status == Status.SUCCESS:
            return [
                Frame(width=image.width or width, height=image.height or height, image=image)
                for image in self.images
            ]
        return [Frame(width=width, height=height)] * max(1, self.task.num_images)

    @property
    def _ratio(self) -> tuple[int, int]:
        ratio = self.task.aspect_ratio
        if ratio in catalogue.RATIOS:
            return ratio_size(ratio)
        for item in self.task.inputs.all():
            if item.picture.width and item.picture.height:
                return item.picture.width, item.picture.height
        return 1, 1

    @property
    def layout(self) -> str:
        """The class that lays the pictures out: their number, and whether they are wide."""
        frame = self.frames[0] if self.frames else Frame(width=1, height=1)
        wide = "wide" if frame.width > frame.height * 1.1 else "tall"
        return f"frames-{min(4, len(self.frames))} frames-{wide}"

    @property
    def withheld_notice(self) -> str:
        """Say how many pictures the provider blacked out."""
        count = sum(lifecycle.is_withheld(task=self.task, picture=i) for i in self.images)
        if not count:
            return ""
        text = ngettext(
            "The provider's safety checker blacked out %(count)s picture. It was not charged.",
            "The provider's safety checker blacked out %(count)s pictures. They were not charged.",
            count,
        )
        return text % {"count": count}

    # ------------------------------------------------------------ true parameters
    @property
    def seed(self) -> str:
        return self.task.result_seed or self.task.seed

    @property
    def _cost_details(self) -> list[Detail]:
        if self.task.refunded_at:
            return [Detail(label=gettext("Credits"), value=gettext("refunded"))]
        if self.task.cost_charged:
            return [Detail(label=gettext("Credits"), value=str(self.task.cost_charged))]
        return []

    @property
    def details(self) -> list[Detail]:
        return [
            Detail(label=gettext("Model"), value=self.model_name),
            *self._cost_details,
            *_parameter_details(self.task, seed=self.seed),
            *(
                [Detail(label=pgettext("duration", "Time"), value=self.seconds)]
                if self.seconds
                else []
            ),
        ]


def _digest(*seen: object) -> str:
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:12]


def _parameter_details(task: FluxTask, *, seed: str) -> list[Detail]:
    endpoint = catalogue.find_endpoint(task.endpoint)
    values: Mapping[str, Any] = {**task.parameters, "seed": seed}
    return [
        Detail(label=gettext(parameter.label), value=_in_words(values[parameter.name]))
        for parameter in (endpoint.parameters if endpoint else ())
        if values.get(parameter.name) not in (None, "")
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cards shown side by side: those of one comparison. All others are alone."""

    cards: Sequence[Card]

    @property
    def is_comparison(self) -> bool:
        return len(self.cards) > 1

    @property
    def number(self) -> int:
        return len(self.cards)

    @property
    def label(self) -> str:
        return gettext("Comparison: %(prompt)s") % {"prompt": self.cards[0].short_prompt}


def grouped(cards: Sequence[Card]) -> list[Group]:
    """Put the cards of a comparison, which follow one another, into one group."""
    groups = []
    for _name, members in groupby(cards, lambda card: card.task.comparison or card.task.pk):
        in_order = sorted(members, key=lambda card: card.task.comparison_position or 0)
        groups.append(Group(cards=in_order))
    return groups


def build(
    tasks: Sequence[FluxTask],
    *,
    open_id: str = "",
    typical: Mapping[str, float] | None = None,
) -> list[Card]:
    """Return the cards of tasks whose inputs are prefetched. Up to three queries; one less
    with the `typical` seconds of the endpoints at hand."""
    finished = [task.pk for task in tasks if task.status == Status.SUCCESS]
    images: dict[str, list[TaskImage]] = {}
    if finished:
        for image in TaskImage.objects.of_tasks(source=TaskImage.Source.FLUX, ids=finished):
            images.setdefault(image.task_id, []).append(image)
    if typical is None and any(not task.is_finished for task in tasks):
        typical = pace.typical()
    places = line.positions(tasks)
    return [
        Card(
            task=task,
            images=images.get(task.pk, ()),
            position=places.get(task.pk),
            is_open=task.pk == open_id,
            typical=(typical or {}).get(task.endpoint),
        )
        for task in tasks
    ]
