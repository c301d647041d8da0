"""The same words for several models side by side: which models, and what each is asked.

What the models have in common is asked of each as far as it takes it: shape, number and seed.
Everything else stays at each one's own default, which is what is being compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from generation import catalogue, intake, offering

#: So many models can be compared.
FEWEST, MOST = 2, 4
SHARED = ("aspect_ratio", "num_images", "seed")


def named(ids: Iterable[str], *, menu: offering.Menu) -> list[catalogue.Model]:
    """Return the models of these names, in the order of the menu, each once."""
    wanted = set(ids)
    return [model for model in menu.models if model.id in wanted]


def nearest_endpoint(model: catalogue.Model, images: int) -> catalogue.Endpoint:
    """Return the endpoint for that many pictures, or the nearest when it takes none such."""
    return model.endpoint_for(min(max(images, model.min_images), model.max_images))


def shared_endpoint(models: Sequence[catalogue.Model], images: int) -> catalogue.Endpoint:
    """Return the settings a comparison shows, in the form of an endpoint: those of SHARED that
    one of the models has, as the first one has them."""
    parameters: dict[str, catalogue.Parameter] = {}
    for model in models or catalogue.MODELS[:1]:
        for name, parameter in nearest_endpoint(model, images).by_name.items():
            if name in SHARED:
                parameters.setdefault(name, parameter)
    return catalogue.Endpoint(
        id="",
        task_type="text_to_image",
        credits=0,
        parameters=tuple(parameters[name] for name in SHARED if name in parameters),
    )


def orders(
    *,
    models: Sequence[catalogue.Model],
    prompt: Any,
    addresses: Sequence[str],
    values: Mapping[str, Any],
) -> list[intake.Order]:
    """Return what each model is asked."""
    return [
        intake.Order(
            model_id=model.id,
            prompt=prompt,
            addresses=addresses,
            parameters={
                name: values[name]
                for name in nearest_endpoint(model, len(addresses)).by_name
                if name in SHARED and name in values
            },
        )
        for model in models
    ]
