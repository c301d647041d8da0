"""What a site does after every migration, also after one that leads back."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from generation import catalogue
from generation.models import FluxConfig, FluxTask, OfferedModel
from generation.tests.factories import FluxTaskFactory

BEFORE_REFUNDS = "0010"


@pytest.mark.django_db(transaction=True)
def test_a_site_goes_back_before_the_offer_of_models_and_forward_again(alice):
    FluxConfig.objects.get_or_create(pk=FluxConfig.PK, defaults={"timeout": 77})
    FluxConfig.objects.update(timeout=77)
    task = FluxTaskFactory(user=alice, succeeded=True)

    try:
        call_command("migrate", "generation", BEFORE_REFUNDS, verbosity=0, skip_checks=True)
    finally:
        call_command("migrate", "generation", verbosity=0, skip_checks=True)

    assert FluxConfig.objects.get().timeout == 77
    assert FluxTask.objects.get().pk == task.pk
    assert OfferedModel.objects.count() == len(catalogue.MODELS)
