"""What other software means by the names it calls models by.

Clients of OpenAI have its models' names built in: what such a name means here is a row that staff
edit (admin, "Model aliases"); those of KNOWN are there from the beginning, and mean the site's
defaults without a row too. Our own names mean themselves.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_noop as _

from generation import catalogue
from generation.channel import Channel
from generation.models import ModelAlias
from generation.offering import Menu

#: What clients have built in (openai 3.57.0, Open WebUI 0.12.4, LibreChat, LobeChat).
KNOWN = (
    *("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"),
    *("gpt-image-2.5-flare", "gpt-image-2.5-sunburst", "chatgpt-image-latest"),
    *("dall-e-2", "dall-e-3"),
)
#: What edits where nobody has said what does.
DEFAULT_EDITOR = "fal-ai/flux-pro/kontext"


class UnknownName(Exception):
    """No model and no alias is called so."""


def model_for(*, name: str, images: int, channel: Channel, user: Any) -> catalogue.Model:
    """Return the model that is meant by a name, "" for whichever fits, for a request with so many
    pictures. At most two queries. Raises UnknownName.

    What an alias or a default leads to is offered to the member, if anything that fits is; what
    is named by its own name may not be.
    """
    meant = name
    if name and catalogue.find_model(name) is None:
        alias = ModelAlias.objects.filter(pk=name).first() if catalogue.is_storable(name) else None
        if alias is None and name not in KNOWN:
            raise UnknownName(name)
        meant = (alias.edits if images else alias.draws) if alias else ""
    model = catalogue.find_model(meant)
    if model is not None:
        return model
    default = DEFAULT_EDITOR if images else channel.config.default_model
    return _fitting(channel.offer.menu(user=user), images=images, preferred=default)


def _fitting(menu: Menu, *, images: int, preferred: str) -> catalogue.Model:
    """Return the preferred model, or the first on the menu that takes so many pictures and words."""
    chosen = menu.default(preferred)
    for model in (chosen, *menu.models):
        if any(each.takes(images) and each.has_prompt for each in model.endpoints):
            return model
    return chosen


def names(menu: Menu) -> list[str]:
    """Return every name a member may call a model by: aliases first. One query."""
    own = ModelAlias.objects.values_list("name", flat=True)
    return [*sorted({*KNOWN, *own}), *(model.id for model in menu.models)]


def list_new() -> None:
    """Put KNOWN names on the list of the admin; what is there stays."""
    rows = [ModelAlias(name=name) for name in KNOWN]
    ModelAlias.objects.bulk_create(rows, ignore_conflicts=True)


def choices(*, with_pictures: bool) -> list[tuple[str, str]]:
    """Return what an alias may stand for, for a form: every model that does it with words."""
    fitting = [
        (model.id, model.name)
        for model in catalogue.MODELS
        if any(each.has_prompt and each.takes(int(with_pictures)) for each in model.endpoints)
    ]
    return [("", DEFAULT_WORDS), *fitting]


DEFAULT_WORDS = _("The site's default")
