"""Members who come by an OpenID Connect provider: a site of its own, and a provider beside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from fluxsite.tests.oidc_provider import CLIENT, SECRET, Provider

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = """
from django.contrib.auth.models import User
User.objects.create_user("alice", "Alice@example.org", "a password for tests")
User.objects.create_user("one", "shared@example.org"), User.objects.create_user("two", "shared@example.org")
User.objects.create_user("gone", "gone@example.org", is_active=False)
"""
TELL = """
import json
from django.contrib.auth.models import User
print(json.dumps(list(User.objects.order_by("pk").values("username", "email", "is_staff", "is_superuser"))))
"""


class Site:
    """A site that knows the provider, for as long as it runs; its members are kept between runs."""

    def __init__(self, directory: Path, provider: Provider) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(directory),
            "OIDC_SERVER_URL": provider.url,
            "OIDC_CLIENT_ID": CLIENT,
            "OIDC_CLIENT_SECRET": SECRET,
            "OIDC_NAME": "Example Staff",
        }
        self.provider = provider
        self.log = directory / "log"

    def manage(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def run(self, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "fluxsite.wsgi", "--threads", "4"),
                    *("--bind", f"127.0.0.1:{port}", "--no-control-socket"),
                ],
                cwd=ROOT,
                env=self.environment | environment,
                stderr=log,
            )
        end = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def come(self, path: str = "/login/oidc/login/?next=/account", **claims: Any) -> Any:
        """Return where a visitor with these claims ends, and the session they have then."""
        self.provider.claims = claims
        browser = requests.Session()
        browser.headers["Accept-Language"] = "en"
        answer = browser.get(f"{self.url}{path}", timeout=30)
        return answer, browser

    def members(self) -> dict[str, Any]:
        rows = json.loads(self.manage("shell", "--no-imports", "-c", TELL).splitlines()[-1])
        return {row.pop("username"): row for row in rows}


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def prepared(provider, tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("sso"), provider)
    site.manage("migrate", "-v0")
    site.manage("shell", "--no-imports", "-c", MEMBERS)
    return site


@pytest.fixture(scope="module")
def site(prepared):
    """Open to whoever the provider knows."""
    prepared.run()
    yield prepared
    prepared.stop()


@pytest.fixture(autouse=True)
def honest(provider):
    provider.signed, provider.refuses = {}, False


@pytest.fixture
def closed(prepared):
    """Open to those whose address is known, and staff by a group."""
    open_url = getattr(prepared, "url", None), getattr(prepared, "process", None)
    prepared.run(OIDC_NEW_MEMBERS="0", OIDC_STAFF_GROUP="admins")
    yield prepared
    prepared.stop()
    prepared.url, prepared.process = open_url


def person(who: str, **claims: Any) -> dict[str, Any]:
    address = {"email": f"{who}@example.org", "email_verified": True}
    return {"sub": f"sub-{who}", "preferred_username": who, **address, **claims}


def is_in(answer: Any) -> bool:
    return answer.status_code == 200 and answer.url.endswith("/account")


def test_the_login_page_leads_to_the_provider(site):
    page = requests.get(f"{site.url}/login", headers={"Accept-Language": "en"}, timeout=30).text

    assert "Log in with Example Staff" in page
    assert 'href="/login/oidc/login/?next=' in page


def test_somebody_new_becomes_a_member_and_comes_again_as_the_same(site):
    first, _browser = site.come(**person("nora", name="Nora N."))
    again, browser = site.come(**person("nora", preferred_username="another"))

    assert is_in(first)
    assert is_in(again)
    assert "nora@example.org" in again.text
    assert browser.get(f"{site.url}/api/credits", timeout=30).json()["credits_balance"] == 500
    nobody = {"email": "nora@example.org", "is_staff": False, "is_superuser": False}
    assert site.members()["nora"] == nobody
    assert "another" not in site.members()


def test_a_verified_address_belongs_to_the_member_who_has_it(site):
    before = site.members()

    answer, _browser = site.come(**person("alice", preferred_username="alice-at-work"))

    assert is_in(answer)
    assert ">alice<" in answer.text
    assert site.members() == before


def test_an_address_that_was_not_verified_is_nobodys(site):
    answer, _browser = site.come(
        **person("alice", sub="sub-mallory", email_verified=False, groups=["admins"])
    )

    assert is_in(answer)
    (name,) = [name for name in site.members() if name.startswith("alice-")]
    assert site.members()[name] == {"email": "", "is_staff": False, "is_superuser": False}


def test_an_address_that_two_members_share_tells_nobody_apart(site):
    answer, _browser = site.come(**person("shared"))

    assert is_in(answer)
    assert ">shared<" in answer.text


def test_an_account_that_was_closed_stays_closed(site):
    answer, browser = site.come(**person("gone"))

    assert answer.status_code == 403
    assert "Your account is closed." in answer.text
    assert browser.get(f"{site.url}/account", timeout=30).url.startswith(f"{site.url}/login")


def test_two_answers_about_two_people_let_nobody_in(site, provider):
    provider.signed = {"sub": "sub-somebody-else"}

    answer, _browser = site.come(**person("nora"))

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "signed", [{"aud": "another site"}, {"iss": "https://elsewhere.example"}, {"exp": 1}]
)
def test_a_token_for_somebody_else_lets_nobody_in(site, provider, signed):
    provider.signed = signed

    answer, _browser = site.come(**person("nora"))

    assert answer.status_code == 403
    assert "The provider did not let you in." in answer.text


def test_who_is_refused_by_the_provider_is_told(site, provider):
    provider.refuses = True

    answer, _browser = site.come(**person("nora"))

    assert answer.status_code == 403
    assert 'href="/login"' in answer.text


def test_an_answer_that_nobody_asked_for_is_refused(site):
    answer = requests.get(f"{site.url}/login/oidc/login/callback/?code=x&state=y", timeout=30)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "place", ["https://evil.example/", "//evil.example", "javascript:alert(1)"]
)
def test_one_is_led_nowhere_else_afterwards(site, place):
    answer, _browser = site.come(f"/login/oidc/login/?next={place}", **person("nora"))

    assert answer.url == f"{site.url}/"


def test_nothing_is_connected_to_who_is_logged_in(site):
    answer, _browser = site.come("/login/oidc/login/?process=connect", **person("eve"))

    assert answer.status_code == 403
    assert "eve" not in site.members()


@pytest.mark.parametrize("path", ["/accounts/signup/", "/login/signup/", "/accounts/login/"])
def test_no_other_door_is_open(site, path):
    assert requests.get(f"{site.url}{path}", timeout=30).status_code == 404


def test_neither_codes_nor_the_secret_are_in_the_log(site):
    site.come(**person("nora"))

    log = site.log.read_text()
    assert SECRET not in log
    assert "let me in" not in log


def test_where_nobody_new_is_let_in_the_known_still_are(closed):
    before = set(closed.members())
    stranger, _browser = closed.come(**person("stranger"))
    known, _browser = closed.come(**person("alice"))

    assert stranger.status_code == 403
    assert "Nobody here has your address." in stranger.text
    assert is_in(known)
    assert set(closed.members()) == before


def test_a_group_that_was_named_makes_staff_and_whoever_leaves_it_is_staff_no_more(closed):
    closed.come(**person("alice", groups=["admins", "others"]))
    in_it = closed.members()["alice"]
    closed.come(**person("alice", groups=["others"]))
    left = closed.members()["alice"]

    assert (in_it["is_staff"], in_it["is_superuser"]) == (True, False)
    assert (left["is_staff"], left["is_superuser"]) == (False, False)


BESS = """
from django.contrib.auth.models import User
User.objects.create_user("bess", "bess@example.org")
"""
TOLD = """
import json
from fluxsite.audit_log.models import AuditEntry
rows = AuditEntry.objects.filter(object_label="bess").exclude(action="login").order_by("pk")
print(json.dumps([[row.actor, row.action, row.changes] for row in rows]))
"""


def test_whom_the_provider_makes_staff_is_told_in_the_audit_log(closed):
    closed.manage("shell", "--no-imports", "-c", BESS)

    for groups in (["admins"], ["admins"], []):
        closed.come(**person("bess", groups=groups))

    assert json.loads(closed.manage("shell", "--no-imports", "-c", TOLD).splitlines()[-1]) == [
        ["single sign-on", "change", {"is_staff": [False, True]}],
        ["single sign-on", "change", {"is_staff": [True, False]}],
    ]


HELPER = """
import json
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Permission, User
from django.test import Client
root = User.objects.create_superuser("root")
helper = User.objects.create_user("helper", is_staff=True)
helper.user_permissions.set(Permission.objects.filter(content_type__app_label="socialaccount"))
own = SocialAccount.objects.create(user=helper, provider="oidc", uid="sub-helper")
browser = Client()
browser.force_login(helper)
form = {"user": root.pk, "provider": "oidc", "uid": "sub-another", "extra_data": '{"a": 1}'}
page = "/admin/socialaccount/socialaccount/"
answers = [
    browser.get(page).status_code,
    browser.post(f"{page}add/", form).status_code,
    browser.post(f"{page}{own.pk}/change/", form).status_code,
]
print(json.dumps([answers, SocialAccount.objects.filter(user=root).count()]))
"""


def test_no_staff_connect_an_account_of_the_provider_with_whoever_is_above_them(prepared):
    """Whoever comes by it afterwards is that member."""
    said = prepared.manage("shell", "--no-imports", "-c", HELPER).splitlines()[-1]

    assert json.loads(said) == [[200, 403, 403], 0]


# ---------------------------------------------------------------- settings
def python(tmp_path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {code}"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "fluxsite.settings",
            **environment,
        },
        check=False,
        capture_output=True,
        text=True,
    )


def test_without_a_provider_nothing_of_it_is_loaded(tmp_path):
    code = (
        "import sys, fluxsite.urls, fluxsite.admin; "
        "print(*[name for name in sys.modules if name.split('.')[0] in ('allauth', 'jwt')])"
    )

    assert python(tmp_path, code).stdout.strip() == ""


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OIDC_SERVER_URL": "http://sso.example.org", "OIDC_CLIENT_ID": "x"}, "must be an https"),
        ({"OIDC_SERVER_URL": "sso.example.org", "OIDC_CLIENT_ID": "x"}, "must be an https"),
        ({"OIDC_SERVER_URL": "https://sso.example.org"}, "OIDC_CLIENT_ID is not"),
    ],
)
def test_what_would_not_work_or_not_be_safe_is_refused_at_start(tmp_path, environment, told):
    done = python(tmp_path, "pass", **environment)

    assert done.returncode == 1
    assert told in done.stderr
