"""The key that secrets are encrypted with is replaced, and none of them is lost."""

from __future__ import annotations

import io

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from generation import channel, fields
from generation.models import FluxConfig

OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))
SECRET = "12345678-abcd:0123456789abcdef"


@pytest.fixture
def config(db, settings):
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    config = channel.load_config()
    config.set_api_key(SECRET)
    config.save()
    return config


def rotate(**options) -> str:
    stdout = io.StringIO()
    call_command("rotate_keys", stdout=stdout, **options)
    return stdout.getvalue().strip()


def key_in_clear() -> str:
    return FluxConfig.objects.get().get_api_key()


def test_afterwards_the_old_key_can_be_taken_away(config, settings):
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    assert key_in_clear() == SECRET

    assert rotate() == "1 encrypted anew, 0 were already."

    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert key_in_clear() == SECRET


def test_a_second_time_there_is_nothing_to_do(config, settings):
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    rotate()
    before = FluxConfig.objects.get().api_key

    assert rotate() == "0 encrypted anew, 1 were already."
    assert FluxConfig.objects.get().api_key == before


def test_nothing_else_of_the_row_changes(config, settings):
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    names = [field.name for field in FluxConfig._meta.fields if field.name != "api_key"]
    before = FluxConfig.objects.values(*names).get()

    rotate()

    assert FluxConfig.objects.values(*names).get() == before


def test_what_no_key_reads_is_named_and_left_alone(config, settings):
    settings.FIELD_ENCRYPTION_KEYS = [NEW, LOST]

    with pytest.raises(CommandError, match=r"No key reads: flux_config.api_key of default\."):
        rotate()

    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    assert key_in_clear() == SECRET


def test_without_a_secret_there_is_nothing_to_do(db):
    assert rotate() == "0 encrypted anew, 0 were already."


def test_a_key_that_was_saved_meanwhile_is_kept(config, settings):
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    saved = []

    def save_another(execute, sql, *rest):
        if sql.startswith("UPDATE") and not saved:
            saved.append("another")
            FluxConfig.objects.update(api_key=fields.encrypt("another"))
        return execute(sql, *rest)

    with connection.execute_wrapper(save_another):
        assert rotate() == "0 encrypted anew, 0 were already."
    assert key_in_clear() == "another"


def test_a_new_key_is_printed_and_nothing_else(config, settings):
    key = rotate(new_key=True)

    settings.FIELD_ENCRYPTION_KEYS = [key, OLD]
    assert rotate() == "1 encrypted anew, 0 were already."


def test_another_secret_key_does_not_bring_back_what_the_environment_says(db, settings):
    settings.FAL_KEY, settings.SECRET_KEY = "from:environment", "a secret key from before"
    channel.apply_environment()
    config = channel.load_config()
    config.set_api_key("from:administrator")
    config.save()

    for fallbacks in (["a secret key from before"], []):
        settings.SECRET_KEY = "another secret key"
        settings.SECRET_KEY_FALLBACKS = fallbacks
        channel.apply_environment()
        assert key_in_clear() == "from:administrator"
