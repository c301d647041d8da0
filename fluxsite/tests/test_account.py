"""A member's own pages: the account, the password, and tokens for other software."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.conf import settings as site_settings
from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import cache
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ
from rest_framework.test import APIClient

from conftest import PASSWORD
from fluxsite.forms import MAX_TOKENS
from fluxsite.models import SCOPES, ApiToken, MemberSettings

NEW_PASSWORD = "quiet harbour in winter"


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def works(secret: str) -> bool:
    caller = APIClient()
    answer = caller.get("/api/flux/history", headers={"Authorization": f"Bearer {secret}"})
    return answer.status_code == 200


def deliver() -> None:
    """Do what the workers would do with the messages that wait for them."""
    for message in OrmQ.objects.order_by("pk"):
        task = message.task
        import_string(task["func"])(*task["args"], **task["kwargs"])
        message.delete()


def make(member, **form) -> str:
    """Make a token on the page and return its secret."""
    answer = member.post("/tokens", {"name": "Open WebUI", "days": "", "scopes": [*SCOPES], **form})
    return re.search(r'value="(fx_[\w-]+)"', answer.content.decode())[1]


# ---------------------------------------------------------------- tokens
@pytest.mark.parametrize("path", ["/tokens", "/account", "/account/password"])
def test_nobody_sees_these_pages_without_an_account(client, db, path):
    assert client.get(path)["Location"] == f"/login?next={path}"


def test_a_token_made_on_the_page_works_and_is_shown_once(member):
    secret = make(member)

    assert works(secret)
    page = member.get("/tokens").content.decode()
    assert secret not in page
    assert f"…{secret[-4:]}" in page
    assert ApiToken.objects.get().expires_at is None


def test_the_answer_with_the_secret_is_kept_by_no_cache(member):
    answer = member.post("/tokens", {"name": "CI", "days": "", "scopes": [*SCOPES]})

    assert "no-store" in answer["Cache-Control"]


def test_a_token_ends_when_it_was_told_to(member):
    secret = make(member, days="30")
    token = ApiToken.objects.get()
    left = token.expires_at - timezone.now()
    assert timedelta(days=29) < left <= timedelta(days=30)
    assert works(secret)

    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert not works(secret)
    assert "Expired" in member.get("/tokens").content.decode()


def test_a_revoked_token_is_gone_from_the_page_and_useless(member):
    secret = make(member)
    token = ApiToken.objects.get()

    answer = member.post(f"/tokens/{token.pk}/revoke", follow=True)

    assert "Nothing can use this token any more." in answer.content.decode()
    assert f"…{token.hint}" not in answer.content.decode()
    assert not works(secret)
    assert member.post(f"/tokens/{token.pk}/revoke").status_code == 404


def test_the_tokens_of_others_can_be_neither_seen_nor_revoked(member, bob):
    token, secret = ApiToken.objects.issue(user=bob, name="of bob")

    assert "of bob" not in member.get("/tokens").content.decode()
    assert member.post(f"/tokens/{token.pk}/revoke").status_code == 404
    assert works(secret)


@pytest.mark.parametrize("form", [{"name": ""}, {"name": "x" * 101}, {"days": "4000"}])
def test_a_token_form_that_makes_no_sense_makes_no_token(member, form):
    answer = member.post("/tokens", {"name": "CI", "days": "30", "scopes": [*SCOPES], **form})

    assert answer.status_code == 422
    assert not ApiToken.objects.exists()


def test_there_is_an_end_to_the_number_of_tokens(member, alice):
    for number in range(MAX_TOKENS):
        ApiToken.objects.issue(user=alice, name=str(number))

    answer = member.post("/tokens", {"name": "one more", "days": "", "scopes": [*SCOPES]})

    assert "You have too many tokens." in answer.content.decode()
    assert ApiToken.objects.count() == MAX_TOKENS


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_of_tokens_takes_three_queries(member, alice, count, django_assert_num_queries):
    for number in range(count):
        ApiToken.objects.issue(user=alice, name=str(number))
    member.get("/tokens")

    # Session, member, tokens; the header asks for the channel.
    with django_assert_num_queries(4):
        member.get("/tokens")


# ---------------------------------------------------------------- the account
ACCOUNT = {"name": "Alice", "language": "", "theme": "system"}
LANGUAGE = site_settings.LANGUAGE_COOKIE_NAME


def chosen_language(member) -> str | None:
    """Return what the account page has preselected as the language."""
    page = member.get("/account").content.decode()
    select = re.search(r'<select name="language".*?</select>', page, re.DOTALL)[0]
    return re.search(r'value="([\w-]*)" selected', select)[1]


def test_a_member_changes_the_name(member, alice):
    answer = member.post("/account", ACCOUNT, follow=True)

    assert "Saved." in answer.content.decode()
    alice.refresh_from_db()
    assert alice.first_name == "Alice"


def test_a_member_reads_the_address_and_cannot_change_it(member, alice):
    page = member.get("/account").content.decode()
    assert "None is known. An administrator can enter one." in page

    alice.email = "alice@example.org"
    alice.save()
    member.post("/account", {**ACCOUNT, "email": "bob@example.org"})

    alice.refresh_from_db()
    assert alice.email == "alice@example.org"
    page = member.get("/account").content.decode()
    assert "alice@example.org" in page
    assert "An administrator can change it." in page
    assert 'name="email"' not in page


def test_language_and_theme_hold_at_once_and_after_the_next_login(member, client, alice):
    chosen = {**ACCOUNT, "language": "zh-hans", "theme": "dark", "notifies": "on"}
    page = member.post("/account", chosen, follow=True).content.decode()
    assert '<html lang="zh-hans" data-theme="dark">' in page

    client.cookies.clear()
    client.post("/login", {"username": "alice", "password": PASSWORD})

    assert '<html lang="zh-hans" data-theme="dark">' in client.get("/").content.decode()
    assert client.cookies["notify"].value == "1"


def test_a_language_chosen_in_the_bar_is_kept_with_the_account(member, alice):
    member.post("/language", {"language": "zh-hans", "next": "/"})

    assert MemberSettings.objects.get(user=alice).language == "zh-hans"


def test_saving_the_account_keeps_the_language_chosen_before_there_was_one(member, alice):
    member.cookies[LANGUAGE] = "zh-hans"
    assert chosen_language(member) == "zh-hans"

    member.post("/account", {**ACCOUNT, "language": chosen_language(member)})

    assert member.cookies[LANGUAGE].value == "zh-hans"
    assert MemberSettings.objects.get(user=alice).language == "zh-hans"


def test_logging_in_leaves_the_language_of_the_browser_alone(client, alice):
    MemberSettings.objects.create(user=alice, theme="dark")
    client.cookies[LANGUAGE] = "zh-hans"

    client.post("/login", {"username": "alice", "password": PASSWORD})

    assert client.cookies[LANGUAGE].value == "zh-hans"


def test_as_the_browser_takes_the_language_back(member, alice):
    member.post("/account", {**ACCOUNT, "language": "zh-hans"})
    member.post("/account", {**ACCOUNT, "language": ""})

    assert member.cookies[LANGUAGE].value == ""
    assert chosen_language(member) == ""
    assert MemberSettings.objects.get(user=alice).language == ""


def test_a_strange_language_is_not_kept(member, alice):
    member.post("/language", {"language": "tlh", "next": "/"})

    assert not MemberSettings.objects.exists()


# ---------------------------------------------------------------- the password
CHANGE = {
    "old_password": PASSWORD,
    "new_password1": NEW_PASSWORD,
    "new_password2": NEW_PASSWORD,
}


def test_a_member_changes_the_password_and_stays_logged_in(member, alice):
    answer = member.post("/account/password", CHANGE, follow=True)

    assert "Your password has been changed." in answer.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(NEW_PASSWORD)


def test_a_new_password_leaves_the_tokens_alone_unless_asked(member, alice):
    secret = make(member)

    member.post("/account/password", CHANGE)

    assert works(secret)


def test_a_new_password_revokes_the_tokens_when_asked(member, alice, bob):
    secrets = [make(member), make(member)]
    ApiToken.objects.issue(user=alice, name="old", expires_at=timezone.now())
    _token, of_bob = ApiToken.objects.issue(user=bob, name="of bob")
    page = member.get("/account/password").content.decode()
    assert "Also revoke my API tokens" in page
    assert "There are 2 of them" in page

    wrong = member.post(
        "/account/password", {**CHANGE, "old_password": "wrong", "revokes_tokens": "on"}
    )
    assert "Also revoke my API tokens" in wrong.content.decode()
    assert works(secrets[0])

    answer = member.post("/account/password", {**CHANGE, "revokes_tokens": "on"}, follow=True)

    assert "Your API tokens have been revoked." in answer.content.decode()
    assert [works(secret) for secret in [*secrets, of_bob]] == [False, False, True]
    assert not ApiToken.objects.filter(user=alice, revoked_at=None).exists()


def test_who_has_no_tokens_is_not_asked_about_them(member):
    assert "revoke my API tokens" not in member.get("/account/password").content.decode()


# ---------------------------------------------------------------- a forgotten password
@pytest.fixture
def mailing(alice, settings):
    """There is a mail server, the site knows its name, and Alice has an address."""
    settings.EMAIL_HOST = "mail.example.org"
    settings.ALLOWED_HOSTS = ["testserver", "studio.example.org"]
    alice.email = "alice@example.org"
    alice.save()
    cache.clear()
    yield
    cache.clear()


def forget(client, email="alice@example.org", **request):
    return client.post("/password/reset", {"email": email}, **request)


def link_in(letter) -> str:
    return re.search(r"https?://\S+/password/reset/\S+", letter.body)[0]


def test_without_a_mail_server_the_login_says_whom_to_ask(client, db):
    page = client.get("/login").content.decode()

    assert "An administrator can set a new one." in page
    assert "/password/reset" not in page
    assert client.get("/password/reset").status_code == 404


def test_a_site_that_answers_to_any_name_mails_no_links(client, mailing, settings):
    settings.ALLOWED_HOSTS = ["*"]

    page = client.get("/login").content.decode()

    assert "An administrator can set a new one." in page
    assert "/password/reset" not in page
    assert forget(client).status_code == 404
    assert not OrmQ.objects.exists()


def test_the_link_leads_to_the_public_address_whatever_host_was_asked(client, mailing, settings):
    settings.ALLOWED_HOSTS = ["*"]
    settings.PUBLIC_URL = "https://studio.example.org"
    assert "/password/reset" in client.get("/login").content.decode()

    forget(client, headers={"Host": "evil.example.net"})
    deliver()

    (letter,) = mail.outbox
    assert link_in(letter).startswith("https://studio.example.org/password/reset/")
    assert "evil" not in letter.body


def test_with_a_mail_server_a_forgotten_password_is_replaced(client, alice, mailing):
    assert "/password/reset" in client.get("/login").content.decode()

    forget(client)
    deliver()

    (letter,) = mail.outbox
    assert (letter.subject, letter.to) == ("A new password for Fluxsite", ["alice@example.org"])
    link = link_in(letter).removeprefix("http://testserver")
    form = client.get(link)["Location"]
    client.post(form, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})
    assert client.login(username="alice", password=NEW_PASSWORD)
    assert "This link is no longer good" in client.get(link, follow=True).content.decode()


def test_a_password_that_was_replaced_takes_the_tokens_with_it(client, alice, bob, mailing):
    _token, secret = ApiToken.objects.issue(user=alice, name="CI")
    _token, of_bob = ApiToken.objects.issue(user=bob, name="of bob")
    forget(client)
    deliver()
    form = client.get(link_in(mail.outbox[0]).removeprefix("http://testserver"))["Location"]
    assert "Your API tokens are revoked" in client.get(form).content.decode()
    client.post(form, {"new_password1": NEW_PASSWORD, "new_password2": "another one"})
    assert works(secret)

    client.post(form, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})

    assert (works(secret), works(of_bob)) == (False, True)


def test_the_message_to_the_worker_holds_no_secret_and_the_mail_speaks_the_visitors_language(
    client, alice, mailing
):
    client.cookies[LANGUAGE] = "zh-hans"
    forget(client)

    (message,) = OrmQ.objects.all()
    assert message.task["args"] == (alice.pk, "http://testserver", "zh-hans")
    deliver()
    assert "alice" in mail.outbox[0].body
    assert mail.outbox[0].subject != "A new password for Fluxsite"


def test_nobody_learns_which_addresses_have_an_account(client, mailing):
    strange = forget(client, "nobody@example.org")
    known = [forget(client) for _ in range(5)]

    said = {(answer.status_code, answer["Location"]) for answer in [strange, *known]}
    assert said == {(302, "/password/reset/sent")}
    page = client.get("/password/reset/sent").content.decode()
    assert "If there is an account with that address" in page


def test_a_mail_server_that_is_away_is_told_to_the_log(client, mailing, settings, caplog):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    assert forget(client).status_code == 302

    deliver()

    assert "the mail about a password was not sent" in caplog.text
    assert "/password/reset/" not in caplog.text


def test_a_member_gets_three_mails_an_hour(client, bob, mailing, time_machine):
    bob.email = "bob@example.org"
    bob.save()
    time_machine.move_to("2026-03-01 10:15Z", tick=False)
    for _ in range(5):
        forget(client)
    forget(client, "bob@example.org")
    deliver()
    assert [letter.to[0][0] for letter in mail.outbox] == ["a", "a", "a", "b"]

    time_machine.move_to("2026-03-01 11:00Z", tick=False)
    forget(client)
    deliver()

    assert len(mail.outbox) == 5


def test_a_client_that_asks_for_many_gets_one_mail_for_each_and_shuts_out_nobody(
    client, mailing, settings, monkeypatch
):
    monkeypatch.setattr("fluxsite.password_mail.MAILS_PER_CLIENT", 2)
    others = [
        User.objects.create_user(f"m{number}", f"m{number}@example.org", PASSWORD)
        for number in range(3)
    ]
    for _ in range(3):
        forget(client)
    for other in others:
        forget(client, other.email)
        forget(client, other.email)
    forget(client, others[0].email, REMOTE_ADDR="192.0.2.7")
    deliver()

    assert [letter.to[0] for letter in mail.outbox] == [
        "alice@example.org",
        "alice@example.org",
        "m0@example.org",
        "m1@example.org",
        "m2@example.org",
        "m0@example.org",
    ]


@pytest.mark.parametrize("change", [{"is_active": False}, {"email": ""}])
def test_no_mail_goes_to_who_left_in_the_meantime(client, alice, mailing, change):
    forget(client)
    User.objects.filter(pk=alice.pk).update(**change)

    deliver()

    assert mail.outbox == []
