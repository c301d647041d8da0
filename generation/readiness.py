"""What a click on the run button would cost, and every reason why it cannot run.

The words here are for the page, before anything is sent; who decides is generation/intake.py
and generation/lifecycle.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext

from generation import catalogue, channel, comparing, intake, lifecycle, line, offering
from generation.models import FluxConfig


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason, and a link to what can be done about it."""

    text: str
    link: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """`shares` are price and greatest number of pictures of each model that would draw.
    `balance` None means that credits are switched off."""

    shares: Sequence[tuple[int, int]]
    balance: int | None
    budget: lifecycle.Budget | None = None

    def pictures(self, number: int) -> int:
        """Return how many pictures there are with `number` of each, as far as each can."""
        return sum(min(number, most) for _price, most in self.shares)

    def cost(self, number: int) -> int:
        return sum(price * min(number, most) for price, most in self.shares)

    @property
    def _means(self) -> int | None:
        if self.balance is None:
            return None
        return min(self.balance, self.budget.left) if self.budget else self.balance

    def affordable(self, *, most: int) -> int:
        """Return the greatest number up to `most` that can be paid for."""
        means = self._means
        numbers = range(most, 0, -1)
        return next((n for n in numbers if means is None or self.cost(n) <= means), 0)


def misfit(model: catalogue.Model, images: int) -> str:
    """Say in few words why a model cannot draw with that many pictures, "" when it can."""
    if images < model.min_images:
        return gettext("Needs a picture")
    if images <= model.max_images:
        return ""
    if model.max_images == 0:
        return gettext("Takes no picture")
    text = ngettext(
        "Takes at most %(count)s picture", "Takes at most %(count)s pictures", model.max_images
    )
    return text % {"count": model.max_images}


def reasons(
    *,
    user: Any,
    state: channel.Channel,
    menu: offering.Menu,
    models: Sequence[catalogue.Model],
    is_comparison: bool,
    images: int,
    bill: Bill,
) -> list[Reason]:
    """Return why a click cannot run, most fundamental first."""
    found = [] if state.is_open else [_closed(user, state.mode)]
    if is_comparison and not comparing.FEWEST <= len(models) <= comparing.MOST:
        text = gettext("Choose %(fewest)s to %(most)s models to compare.")
        found.append(Reason(text=text % {"fewest": comparing.FEWEST, "most": comparing.MOST}))
    for model in models:
        if not menu.offers(model):
            found.append(_not_offered(user, model))
            continue
        try:
            model.endpoint_for(images)
        except catalogue.InvalidRequest as error:
            texts = [gettext(problem.message) % problem.params for problem in error.problems]
            found += [Reason(text=text) for text in texts]
    return found + _unpaid(bill)


def _not_offered(user: Any, model: catalogue.Model) -> Reason:
    problem = offering.problem_of(model)
    text = gettext(problem.message) % problem.params
    if not user.is_staff:
        return Reason(text=text)
    url = reverse("admin:generation_offeredmodel_changelist")
    return Reason(text=text, link=gettext("Open the models"), url=url)


def _closed(user: Any, mode: channel.Mode) -> Reason:
    text = gettext(intake.CLOSED_REASONS[mode])
    if not user.is_staff:
        return Reason(text=text)
    try:
        url = reverse("admin:generation_fluxconfig_change", args=[FluxConfig.PK])
    except NoReverseMatch:
        return Reason(text=text)
    return Reason(text=text, link=gettext("Open the configuration"), url=url)


def _unpaid(bill: Bill) -> list[Reason]:
    found = []
    cost = bill.cost(1)
    if bill.balance is not None and bill.balance < cost:
        if len(bill.shares) > 1:
            text = gettext("This costs %(price)s credits and you have %(balance)s.")
        else:
            text = gettext("A picture costs %(price)s credits here and you have %(balance)s.")
        text = f"{text} {gettext('An administrator can give you more.')}"
        words = {"price": cost, "balance": bill.balance}
        link = gettext("Redeem a code")
        found.append(Reason(text=text % words, link=link, url=reverse("credits:page")))
    if bill.budget and bill.budget.left < cost:
        text = gettext(
            "Your budget of %(limit)s credits has %(left)s left; it starts anew on %(resets_at)s."
        )
        resets_at = timezone.localtime(bill.budget.resets_at, timezone.get_default_timezone())
        state: dict[str, Any] = {
            "limit": bill.budget.limit,
            "left": bill.budget.left,
            "resets_at": date_format(resets_at, "DATETIME_FORMAT"),
        }
        found.append(Reason(text=text % state))
    return found


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a member stands: credits left, None while they are switched off, and how many of the
    tasks they may have at the provider are there."""

    balance: int | None
    running: int
    limit: int

    @property
    def url(self) -> str:
        """Where more is told about it."""
        return reverse("credits:page" if self.balance is not None else "generation:studio")

    @property
    def credits_text(self) -> str:
        if self.balance is None:
            return ""
        text = ngettext("%(cost)s credit", "%(cost)s credits", self.balance)
        return text % {"cost": self.balance}

    @property
    def running_text(self) -> str:
        text = gettext("%(running)s of %(limit)s running")
        return text % {"running": self.running, "limit": self.limit}

    @property
    def turn_notice(self) -> str:
        """Say that the next task would wait until one is done. "" if not."""
        if self.running < self.limit:
            return ""
        text = gettext("%(running)s of %(limit)s running: the next one waits for its turn.")
        return text % {"running": self.running, "limit": self.limit}


def standing(*, user: Any, config: FluxConfig, balance: int | None) -> Standing:
    """Return how the member stands. One query."""
    most = config.max_concurrent_tasks
    return Standing(
        balance=balance,
        running=line.drawing_of(user=user),
        limit=min(config.max_concurrent_per_member or most, most),
    )
