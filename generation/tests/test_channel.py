"""The configuration row, the key at rest, and which way is open."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from generation import channel, fields
from generation.models import FluxConfig


@pytest.fixture
def environment(db, settings):
    """Return a function that sets the environment's values and takes them over."""

    def take(**values):
        for name, value in values.items():
            setattr(settings, name, value)
        return channel.apply_environment()

    return take


def test_without_anything_the_site_says_it_is_not_configured(db):
    state = channel.current()

    assert (state.mode, state.is_open) == ("not_configured", False)
    with pytest.raises(channel.ChannelClosed):
        state.provider()


def test_the_sandbox_draws_while_there_is_no_key(db, settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"

    state = channel.current()

    assert (state.mode, state.connection.base_url) == ("sandbox", "http://127.0.0.1:9")
    assert not channel.has_key()


def test_the_environment_seeds_the_first_row(environment):
    config = environment(
        FAL_KEY="a:b\n", FAL_BASE_URL="https://relay.example", FAL_AUTH_SCHEME="Bearer"
    )

    state = channel.current()
    assert (config.get_api_key(), state.mode) == ("a:b", "fal")
    assert state.connection == channel.Connection(
        base_url="https://relay.example", api_key="a:b", auth_scheme="Bearer"
    )


def test_a_key_beats_the_sandbox(environment):
    environment(FAL_KEY="a:b", SANDBOX_URL="http://127.0.0.1:9")

    assert channel.current().mode == "fal"
    assert channel.has_key()


def test_the_same_environment_does_not_undo_an_administrators_change(environment):
    config = environment(FAL_KEY="a:b")
    config.set_api_key("new:key")
    config.save()

    environment(FAL_KEY="a:b")

    assert FluxConfig.objects.get().get_api_key() == "new:key"


def test_a_changed_environment_is_taken_over(environment):
    environment(FAL_KEY="a:b", FAL_BASE_URL="http://127.0.0.1:1")

    environment(FAL_KEY="a:b", FAL_BASE_URL="http://127.0.0.1:2")

    assert FluxConfig.objects.get().base_url == "http://127.0.0.1:2"


def test_a_changed_key_alone_leaves_the_address_an_administrator_set(environment):
    config = environment(FAL_KEY="a:b", FAL_BASE_URL="")
    config.base_url = "https://relay.example"
    config.save()

    environment(FAL_KEY="c:d")

    assert FluxConfig.objects.get().base_url == "https://relay.example"


def test_an_address_alone_is_taken_over_too(environment):
    environment(FAL_KEY="", FAL_BASE_URL="https://relay.example")

    assert FluxConfig.objects.get().base_url == "https://relay.example"


def test_an_environment_without_a_key_leaves_the_stored_one(environment):
    environment(FAL_KEY="a:b")

    environment(FAL_KEY="")

    assert FluxConfig.objects.get().get_api_key() == "a:b"


def test_the_key_is_not_readable_in_the_database(environment):
    environment(FAL_KEY="secret-id:secret-value")

    stored = FluxConfig.objects.values_list("api_key", flat=True).get()

    assert "secret" not in stored
    assert FluxConfig.objects.get().masked_api_key() == "••••alue"


def test_keys_can_be_rotated(environment, settings):
    environment(FAL_KEY="a:b")
    settings.FIELD_ENCRYPTION_KEYS = [
        Fernet.generate_key().decode(),
        *settings.FIELD_ENCRYPTION_KEYS,
    ]

    assert FluxConfig.objects.get().get_api_key() == "a:b"


def test_a_key_that_cannot_be_decrypted_closes_the_channel_with_a_word(environment, settings):
    environment(FAL_KEY="a:b")
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    assert channel.current().mode == "key_unreadable"
    assert FluxConfig.objects.get().masked_api_key() == "????"
    with pytest.raises(fields.KeyUnreadable, match="Enter the key again"):
        FluxConfig.objects.get().get_api_key()


def test_switched_off_is_off_with_or_without_a_key(environment):
    environment(FAL_KEY="a:b")
    FluxConfig.objects.update(enabled=False)

    assert channel.current().mode == "off"


def test_results_may_come_from_fals_hosts_and_from_the_base_url(environment):
    environment(FAL_KEY="a:b", FAL_BASE_URL="https://relay.example/x")

    hosts = channel.current().result_hosts

    assert ".fal.media" in hosts.public
    assert hosts.trusted == ("relay.example",)


def test_an_address_among_the_result_hosts_is_trusted_to_be_anywhere(environment, settings):
    settings.RESULT_HOSTS = ["files.example", "10.0.0.7"]
    environment(FAL_KEY="a:b", FAL_BASE_URL="https://relay.example/x")

    assert channel.current().result_hosts.trusted == ("relay.example", "10.0.0.7")


def test_one_client_serves_a_connection_until_it_changes(environment):
    environment(FAL_KEY="a:b")
    first, again = channel.current().provider(), channel.current().provider()
    environment(FAL_KEY="c:d")

    assert first is again
    assert channel.current().provider() is not first
