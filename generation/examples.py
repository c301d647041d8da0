"""Eight first ideas, for a member who has drawn nothing yet or is out of some. Each fills the
form."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from generation import catalogue


@dataclass(frozen=True, kw_only=True)
class Example:
    """`picture` is the name of a drawing in static/img/examples."""

    picture: str
    prompt: str
    model: str
    ratio: str = "1:1"

    @property
    def model_name(self) -> str:
        model = catalogue.find_model(self.model)
        return model.name if model else self.model

    @property
    def text(self) -> str:
        return gettext(self.prompt)

    @property
    def image(self) -> str:
        return f"img/examples/{self.picture}.svg"

    @property
    def url(self) -> str:
        query = {
            "model": self.model,
            "aspect_ratio": self.ratio,
            "prompt": self.text,
        }
        return f"{reverse('generation:studio')}?{urlencode(query)}"


EXAMPLES = (
    Example(
        picture="mountains",
        prompt=_(
            "Misty mountains at dawn in the manner of an ink painting, a small boat on the lake"
        ),
        model="fal-ai/flux-1/dev",
        ratio="3:2",
    ),
    Example(
        picture="teahouse",
        prompt=_(
            "A cosy tea house on a rainy night, warm light in the windows, reflections on wet stones"
        ),
        model="fal-ai/flux-2-pro",
        ratio="3:2",
    ),
    Example(
        picture="cat",
        prompt=_("An orange cat asleep on a windowsill, afternoon sun, film photograph"),
        model="fal-ai/flux-pro/v1.1-ultra",
        ratio="3:2",
    ),
    Example(
        picture="poster",
        prompt=_(
            "A poster for a jazz night: bold shapes, two colours, the words “Blue Hour” in large letters"
        ),
        model="fal-ai/flux-pro/kontext/max",
        ratio="3:2",
    ),
    Example(
        picture="papercut",
        prompt=_("A small town of layered paper, lanterns between the roofs, soft shadows"),
        model="fal-ai/flux-2",
        ratio="3:2",
    ),
    Example(
        picture="product",
        prompt=_("A ceramic cup on pale stone, morning light, quiet product photograph"),
        model="fal-ai/flux-1/schnell",
        ratio="3:2",
    ),
    Example(
        picture="robot",
        prompt=_(
            "A small robot holding a seedling on a hill at night, friendly, picture book illustration"
        ),
        model="fal-ai/flux-1/dev",
        ratio="4:3",
    ),
    Example(
        picture="garden",
        prompt=_(
            "A glasshouse full of tropical plants, watercolour on rough paper, light and airy"
        ),
        model="fal-ai/flux-pro/kontext",
        ratio="4:3",
    ),
)
