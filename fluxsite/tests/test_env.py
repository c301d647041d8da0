import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from fluxsite import env


@pytest.fixture
def value(monkeypatch):
    """Return a function that sets the variable TEST_ENV_VALUE."""
    return lambda text: monkeypatch.setenv("TEST_ENV_VALUE", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("false", False),
        ("No", False),
        ("off", False),
    ],
)
def test_a_flag_is_read(value, text, expected):
    value(text)

    assert env.flag("TEST_ENV_VALUE", default=not expected) is expected


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_is_as_good_as_none(value, text):
    value(text)

    assert env.flag("TEST_ENV_VALUE", default=True) is True
    assert env.integer("TEST_ENV_VALUE", 7) == 7
    assert env.text("TEST_ENV_VALUE", "fallback") == "fallback"
    assert env.words("TEST_ENV_VALUE") == []
    assert env.database("TEST_ENV_VALUE") is None


@pytest.mark.parametrize("text", ["2", "maybe", "truee"])
def test_a_flag_that_is_neither_is_refused(value, text):
    value(text)

    with pytest.raises(ImproperlyConfigured, match="TEST_ENV_VALUE must be 1 or 0, not"):
        env.flag("TEST_ENV_VALUE", default=False)


@pytest.mark.parametrize("text", ["many", "1.5", "0", "-3", "٣", "--5", "1e3"])
def test_a_number_out_of_range_is_refused(value, text):
    value(text)

    with pytest.raises(ImproperlyConfigured, match="whole number of at least 1"):
        env.integer("TEST_ENV_VALUE", 7, minimum=1)


def test_words_are_parted_by_commas_and_blanks(value):
    value("one, two  three,")

    assert env.words("TEST_ENV_VALUE") == ["one", "two", "three"]


def test_a_path_is_made_absolute(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value("data")

    assert env.path("TEST_ENV_VALUE", tmp_path / "other") == tmp_path / "data"


def test_a_value_can_lie_in_a_file(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    monkeypatch.setenv("TEST_ENV_SECRET_FILE", str(secret))

    assert env.text("TEST_ENV_SECRET") == "s3cret"


def test_a_database_address_is_taken_apart(value):
    value("postgres://member:pass%2Fword@db:5433/studio")

    database = env.database("TEST_ENV_VALUE")

    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["USER"], database["PASSWORD"]) == ("member", "pass/word")
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db", 5433, "studio")


def test_each_name_is_noted_once(value):
    value("x")
    env.text("TEST_ENV_VALUE")
    env.text("TEST_ENV_VALUE")

    assert env.declared.count("TEST_ENV_VALUE") == 1


def test_an_address_of_an_sqlite_file_gets_the_same_backend_as_none(tmp_path):
    told = (
        "from django.conf import settings; database = settings.DATABASES['default'];"
        "print(database['ENGINE'], database['NAME'], database['OPTIONS']['transaction_mode'])"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "fluxsite.settings",
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/site.db",
    }

    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["fluxsite.sqlite", f"{tmp_path}/site.db", "IMMEDIATE"]


def test_a_choice_is_one_of_a_few_words(value):
    value("Auto")
    assert env.choice("TEST_ENV_VALUE", "data", among=("auto", "data")) == "auto"

    value("both")
    with pytest.raises(ImproperlyConfigured, match="TEST_ENV_VALUE must be one of auto, data"):
        env.choice("TEST_ENV_VALUE", "data", among=("auto", "data"))


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:3310", "clamd:1", "my-host.example:65535", "[::1]:3310", "unix:/run/a b.ctl"],
)
def test_the_address_of_a_daemon_is_read(value, text):
    value(text)

    assert env.address("TEST_ENV_VALUE") == text


@pytest.mark.parametrize(
    "text",
    [
        *["clamd", "3310", ":3310", "clamd:", "clamd:0", "clamd:65536", "clamd:٣", "a b:3310"],
        *["::1:3310", "http://clamd:3310", "unix:", "unix:run/a", "/run/a.ctl", "a:1\nb:2"],
    ],
)
def test_what_cannot_be_an_address_is_refused(value, text):
    value(text)

    with pytest.raises(ImproperlyConfigured, match="TEST_ENV_VALUE must be like"):
        env.address("TEST_ENV_VALUE")


def test_no_address_is_nowhere(value):
    value("")

    assert env.address("TEST_ENV_VALUE") == ""
