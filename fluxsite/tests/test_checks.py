"""Every mistake in the storage's variables is told by name before anything starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks

from fluxsite import keys
from fluxsite.checks import TAG

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "STORAGE": "cos",
    "COS_BUCKET": "pictures-1250000000",
    "COS_REGION": "ap-guangzhou",
    "COS_SECRET_ID": "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
    "COS_SECRET_KEY": "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
    "COS_TOKEN": "",
    "COS_DOMAIN": "",
    "COS_SCHEME": "https",
    "COS_LOCATION": "",
    "COS_URL_HOURS": 6,
}

LOCAL = {"STORAGE": "local", "COS_BUCKET": ""}


@pytest.fixture
def found(settings):
    """Return a function: what the checks find when these settings are not good."""

    def found(**changes):
        for name, value in {**GOOD, **changes}.items():
            setattr(settings, name, value)
        return run_checks(tags=[TAG])

    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"COS_TOKEN": "a.token_of-the/service=="},
        {"COS_REGION": "", "COS_DOMAIN": "img.example.org"},
        {"COS_DOMAIN": "127.0.0.1:8091", "COS_SCHEME": "http"},
        {"COS_DOMAIN": "localhost:8091", "COS_SCHEME": "http"},
        {"COS_LOCATION": "studio/pictures-1.0"},
        {"COS_LOCATION": "studio/"},
        {"COS_REGION": "na-siliconvalley"},
        {"COS_REGION": "ap-shanghai-fsi"},
        {"COS_URL_HOURS": 168},
        {"STORAGE": "local"},
    ],
)
def test_good_settings_pass(found, changes):
    assert found(**changes) == []


def test_without_cos_nothing_of_it_matters(found):
    assert (
        found(STORAGE="local", COS_BUCKET="", COS_REGION="", COS_SECRET_ID="", COS_SCHEME="x") == []
    )


@pytest.mark.parametrize(
    ("number", "changes", "told"),
    [
        ("E001", {"COS_BUCKET": ""}, "STORAGE is cos, but COS_BUCKET is not set"),
        ("E002", {"COS_BUCKET": "pictures"}, "hyphen and the APPID"),
        ("E002", {"COS_BUCKET": "Pictures-1250000000"}, "COS_BUCKET is 'Pictures"),
        ("E002", {"COS_BUCKET": "pictures-1250000000.cos.ap-guangzhou.myqcloud.com"}, "COS_BUCKET"),
        ("E003", {"COS_SECRET_ID": ""}, "COS_SECRET_ID is not set"),
        ("E004", {"COS_SECRET_ID": "AKID z8kr"}, "COS_SECRET_ID has a blank"),
        ("E005", {"COS_SECRET_KEY": ""}, "COS_SECRET_KEY is not set"),
        ("E006", {"COS_SECRET_KEY": "Gu5t9\txGARN"}, "COS_SECRET_KEY has a blank"),
        ("E006", {"COS_SECRET_KEY": "Gu5t9\nxGARN"}, "COS_SECRET_KEY has a blank"),
        ("E007", {"COS_TOKEN": "two words"}, "COS_TOKEN has a blank"),
        ("E008", {"COS_REGION": ""}, "COS_REGION is not set"),
        (
            "E009",
            {"COS_REGION": "https://cos.ap-guangzhou.myqcloud.com"},
            "not the name of a region",
        ),
        ("E009", {"COS_REGION": "cos.ap-guangzhou"}, "not the name of a region"),
        ("E009", {"COS_REGION": "Guangzhou"}, "not the name of a region"),
        ("E010", {"COS_DOMAIN": "https://img.example.org"}, "more than a host"),
        ("E010", {"COS_DOMAIN": "img.example.org/studio"}, "more than a host"),
        ("E010", {"COS_DOMAIN": "img.example.org; script-src *"}, "more than a host"),
        ("E011", {"COS_SCHEME": "ftp"}, "neither http nor https"),
        ("W012", {"COS_SCHEME": "http"}, "in the clear"),
        ("W012", {"COS_SCHEME": "http", "COS_DOMAIN": "img.example.org"}, "in the clear"),
        ("W012", {"COS_SCHEME": "http", "COS_DOMAIN": "127.0.0.1.example.org"}, "in the clear"),
        ("E013", {"COS_LOCATION": "/studio"}, "begin without a slash"),
        ("E014", {"COS_LOCATION": "studio/../other"}, "parts that cannot be in a name"),
        ("E014", {"COS_LOCATION": "studio//pictures"}, "parts that cannot be in a name"),
        ("E015", {"COS_URL_HOURS": 0}, "not from 1 to 168"),
        ("E015", {"COS_URL_HOURS": 169}, "not from 1 to 168"),
    ],
)
def test_each_mistake_is_told_with_its_variable_and_what_to_set(found, number, changes, told):
    (message,) = found(**changes)

    assert message.id == f"fluxsite.{number}"
    assert told in message.msg
    assert next(iter(changes)) in message.msg
    assert f"Set {next(iter(changes))} " in message.hint


def test_a_message_does_not_hold_the_secret(found):
    messages = found(COS_SECRET_ID="AKID secret", COS_SECRET_KEY="key secret", COS_TOKEN="t secret")

    assert [message.id[-4:] for message in messages] == ["E004", "E006", "E007"]
    assert "secret" not in str(messages).replace("COS_SECRET", "")


def start(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a site that will not start."""
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data"), **variables}
    return subprocess.run(
        [sys.executable, "manage.py", "start"],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_site_with_a_mistake_does_not_start_and_says_why(tmp_path):
    (tmp_path / "key").write_text("two words\n")

    done = start(
        tmp_path,
        STORAGE="cos",
        COS_BUCKET="pictures",
        COS_REGION="ap-guangzhou",
        COS_SECRET_ID="AKIDz8krbsJ5",
        COS_SECRET_KEY_FILE=str(tmp_path / "key"),
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "(fluxsite.E002) COS_BUCKET is 'pictures'" in done.stderr
    assert "HINT: Set COS_BUCKET to the bucket's full name" in done.stderr
    assert "(fluxsite.E006) COS_SECRET_KEY has a blank in it" in done.stderr
    assert "Traceback" not in done.stderr
    assert "two words" not in done.stderr
    assert not (tmp_path / "data/fluxsite.sqlite3").exists()


def test_a_storage_that_does_not_exist_is_refused_by_name(tmp_path):
    done = start(tmp_path, STORAGE="s3")

    assert done.returncode == 1
    assert done.stderr == "Fluxsite cannot start: STORAGE must be one of local, cos, not 's3'.\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"STORAGE": "local", "INPUT_TRANSPORT": "url"}, ["fluxsite.E016"]),
        ({"STORAGE": "cos", "INPUT_TRANSPORT": "url"}, []),
        ({**LOCAL, "MEDIA_X_ACCEL": "/protected/pictures"}, []),
        ({**LOCAL, "MEDIA_X_ACCEL": "protected"}, ["fluxsite.E017"]),
        ({**LOCAL, "MEDIA_X_ACCEL": "https://elsewhere.example"}, ["fluxsite.E017"]),
    ],
)
def test_what_leans_on_the_storage_is_checked_with_it(found, changes, expected):
    assert [message.id for message in found(**changes)] == expected


def test_what_is_no_key_is_told_before_anything_starts(settings):
    settings.FIELD_ENCRYPTION_KEYS = [keys.new_field_key(), "my secret word"]

    (message,) = run_checks(tags=[TAG])

    assert message.id == "fluxsite.E018"
    assert "number 2 is not a Fernet key" in message.msg
    assert "secret word" not in str(message)


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"SECURE_SSL_REDIRECT": True, "SECURE_PROXY_SSL_HEADER": None}, 20),
        ({"PUBLIC_URL": "https://other.example.org", "ALLOWED_HOSTS": [".example.com"]}, 22),
        ({"MEDIA_X_ACCEL": "/protected"}, 23),
        ({**LOCAL, "MEDIA_PROXY": True}, 24),
    ],
)
def test_variables_that_do_not_go_together_are_told_with_what_to_set(found, changes, number):
    (warning,) = found(**changes)

    assert warning.id == f"fluxsite.W{number:03}"
    assert re.search(r"\b(Set|set|Add) [A-Za-z_ ]+", warning.hint)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DATABASE_URL", "nonsense", "postgres://user:password@host:5432/name"),
        (
            "DATABASE_URL",
            "mysql://user:hidden@host/name",
            "postgres://user:password@host:5432/name",
        ),
        (
            "DATABASE_URL",
            "postgres://user:hid/den@host/x",
            "postgres://user:password@host:5432/name",
        ),
        ("SECRET_KEY_FILE", "/nowhere", "the path of a file that can be read"),
        ("DATA_DIR", "/proc/nowhere", "a directory that we may make or write to"),
        ("TIME_ZONE", "Mars/Base", "such as Asia/Shanghai, not 'Mars/Base'"),
        ("TIME_ZONE", "../etc/passwd", "such as Asia/Shanghai"),
        ("LANGUAGE_CODE", "klingon", "one of en, zh-hans, not 'klingon'"),
        ("LOG_LEVEL", "LOUD", "one of debug, info, warning, error"),
        ("CSRF_TRUSTED_ORIGINS", "studio.example.org", "like https://studio.example.org"),
        ("FAL_BASE_URL", "ftp://relay", "like https://queue.fal.run, not 'ftp://relay'"),
        ("FAL_AUTH_SCHEME", "Basic", "like Key or Bearer, not 'Basic'"),
        ("RESULT_HOSTS", "https://files.example.org", "like .fal.media or files.example.org"),
        ("REDIS_URL", "hidden:6379", "like redis://:password@host:6379/0."),
        ("SENTRY_DSN", "hidden", "like https://key@sentry.example.org/1."),
    ],
)
def test_a_start_with_a_value_that_cannot_be_names_the_variable_and_shows_how_it_looks(
    tmp_path, name, value, told
):
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), name: value}
    started = subprocess.run(
        [sys.executable, "manage.py", "start"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode == 1
    (line,) = started.stderr.splitlines()
    assert line.startswith(f"Fluxsite cannot start: {name} must be")
    assert told in line
    assert "hid" not in line
