"""A site in production as the documents describe it, and one on a desk."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.checks import run_checks
from django.core.exceptions import ValidationError

from conftest import PASSWORD
from generation.tests.faults.processes import ROOT, manage

DOCUMENTED = re.search(
    r"### In production\n.*?```sh\n(.*?)```", (ROOT / "docs/configuration.md").read_text(), re.S
)[1]
PRODUCTION = dict(line.split("=", 1) for line in DOCUMENTED.splitlines())
SETTINGS = """
import json
from django.conf import settings
names = '''SECURE_SSL_REDIRECT SECURE_HSTS_SECONDS SESSION_COOKIE_SECURE CSRF_COOKIE_SECURE
SESSION_COOKIE_HTTPONLY SESSION_COOKIE_SAMESITE CSRF_COOKIE_SAMESITE SECURE_PROXY_SSL_HEADER
SECURE_REFERRER_POLICY SECURE_CROSS_ORIGIN_OPENER_POLICY SECURE_CONTENT_TYPE_NOSNIFF X_FRAME_OPTIONS
DATA_UPLOAD_MAX_MEMORY_SIZE FILE_UPLOAD_MAX_MEMORY_SIZE DATA_UPLOAD_MAX_NUMBER_FIELDS
USE_X_FORWARDED_HOST USE_X_FORWARDED_PORT DEBUG'''.split()
print(json.dumps({name: getattr(settings, name) for name in names}))
"""


def run(tmp_path, *arguments, **environment) -> subprocess.CompletedProcess[str]:
    paths = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    return manage({**paths, **environment}, *arguments)


def test_a_site_in_production_as_documented_passes_every_check(tmp_path):
    done = run(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_site_in_production_has_these_settings(tmp_path):
    done = run(tmp_path, "shell", "--no-imports", "-c", SETTINGS, **PRODUCTION)

    assert json.loads(done.stdout) == {
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 365 * 24 * 3600,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SAMESITE": "Lax",
        "SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"],
        "SECURE_REFERRER_POLICY": "same-origin",
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
        "SECURE_CONTENT_TYPE_NOSNIFF": True,
        "X_FRAME_OPTIONS": "DENY",
        "DATA_UPLOAD_MAX_MEMORY_SIZE": 1024**2,
        "FILE_UPLOAD_MAX_MEMORY_SIZE": 2 * 1024**2,
        "DATA_UPLOAD_MAX_NUMBER_FIELDS": 200,
        "USE_X_FORWARDED_HOST": False,
        "USE_X_FORWARDED_PORT": False,
        "DEBUG": False,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ALLOWED_HOSTS": ["*"]}, "fluxsite.W019"),
        ({"PUBLIC_URL": "http://studio.example.org"}, "fluxsite.W021"),
    ],
)
def test_what_is_left_open_is_told(settings, changes, expected):
    settings.ALLOWED_HOSTS = ["studio.example.org"]
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for name, value in changes.items():
        setattr(settings, name, value)

    found = run_checks(tags=["security"], include_deployment_checks=True)

    assert [each.id for each in found if each.id.startswith("fluxsite")] == [expected]


def test_on_a_desk_one_logs_in_by_plain_http(client, alice):
    answer = client.post("/login", {"username": "alice", "password": PASSWORD})

    assert (answer.status_code, answer.url) == (302, "/")
    assert not answer.cookies["sessionid"]["secure"]
    assert "Strict-Transport-Security" not in answer
    assert client.get("/account").status_code == 200


@pytest.mark.parametrize("password", ["elevenlette", "administrator", "123456789012"])
def test_a_short_or_common_password_is_refused(password):
    with pytest.raises(ValidationError):
        validate_password(password)
