"""Who guesses passwords is locked out for a while, and nobody else is."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime

import pytest
import time_machine
from axes.models import AccessAttempt
from django.contrib.auth.models import Permission, User
from django.test import Client

from conftest import PASSWORD
from fluxsite import logging_in
from fluxsite.forms import PASSWORD_TRIES

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
DOORS = ["/login", "/admin/login/"]


@pytest.fixture(autouse=True)
def clock(settings):
    settings.LOGIN_TRIES = 3
    with time_machine.travel(NOON) as clock:
        yield clock


def try_in(name="alice", password="wrong", *, door="/login", address="192.0.2.1", **headers):
    """Return the status of the answer: 302 is in."""
    return answer_to(name, password, door=door, address=address, **headers).status_code


def answer_to(name="alice", password="wrong", *, door="/login", address="192.0.2.1", **headers):
    form = {"username": name, "password": password}
    return Client().post(door, form, REMOTE_ADDR=address, headers=headers)


def lock_out(**kwargs):
    for _ in range(3):
        try_in(**kwargs)


@pytest.mark.parametrize("door", DOORS)
def test_after_so_many_wrong_ones_not_even_the_right_one_is_looked_at(staff, door):
    assert [try_in("staff", door=door) for _ in range(4)] == [200, 200, 200, 429]
    assert [try_in("staff", PASSWORD, door=each) for each in DOORS] == [429, 429]


def test_the_page_says_how_long_to_wait_in_both_languages(alice, clock):
    lock_out()
    clock.shift(60)

    english = answer_to(**{"Accept-Language": "en"})
    chinese = answer_to(**{"Accept-Language": "zh-CN"})

    assert 830 < int(english["Retry-After"]) <= 840
    assert "Try again in 14 minutes" in english.content.decode()
    assert 'lang="zh' in chinese.content.decode()
    assert english["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in english


def test_after_the_wait_one_may_try_again(alice, clock):
    lock_out()
    clock.shift(15 * 60 - 10)
    assert try_in(password=PASSWORD) == 429

    clock.shift(20)

    assert try_in(password=PASSWORD) == 302


def test_to_try_in_vain_does_not_make_the_wait_longer(alice, clock):
    lock_out()
    for _ in range(3):
        clock.shift(299)
        assert try_in() == 429
    clock.shift(10)

    assert try_in(password=PASSWORD) == 302


def test_the_right_one_begins_the_count_anew(alice):
    tries = ["wrong", "wrong", PASSWORD, "wrong", "wrong", PASSWORD]

    assert [try_in(password=each) for each in tries] == [200, 200, 302, 200, 200, 302]
    assert AccessAttempt.objects.filter(user_agent=logging_in.ONE_NAME).count() == 0


def test_guessing_at_a_name_keeps_nobody_else_out(alice, bob):
    lock_out()

    assert try_in(password=PASSWORD, address="192.0.2.2") == 302
    assert try_in("bob", PASSWORD) == 302


def test_a_name_that_does_not_exist_is_answered_alike(alice):
    assert [try_in("nobody") for _ in range(4)] == [200, 200, 200, 429]


def test_other_browsers_and_made_up_addresses_are_the_same_visitor(alice):
    answers = [
        try_in(**{"User-Agent": f"browser {n}", "X-Forwarded-For": f"198.51.100.{n}"})
        for n in range(4)
    ]

    assert answers == [200, 200, 200, 429]


def test_behind_a_proxy_its_word_on_the_address_counts(alice, settings):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}

    lock_out(**{"X-Forwarded-For": "203.0.113.5, 198.51.100.1"})

    assert try_in(**{"X-Forwarded-For": "198.51.100.1"}) == 429
    assert try_in(**{"X-Forwarded-For": "198.51.100.2"}) == 200
    assert try_in(**{"X-Forwarded-For": "no address"}) == 200


@pytest.mark.parametrize(
    ("one", "same", "another"),
    [
        ("198.51.100.1:4711", "198.51.100.1:4712", "198.51.100.2:4711"),
        ("[2001:db8:1::1]:4711", "[2001:db8:1::2]", "[2001:db8:2::1]:4711"),
    ],
)
def test_a_proxy_that_names_the_port_does_not_make_all_visitors_one(
    alice, settings, one, same, another
):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}

    lock_out(**{"X-Forwarded-For": one})

    assert try_in(**{"X-Forwarded-For": same}) == 429
    assert try_in(**{"X-Forwarded-For": another}) == 200


def test_of_ipv6_a_whole_network_is_one_visitor(alice):
    lock_out(address="2001:db8::1")

    assert try_in(address="2001:db8::ffff:2") == 429
    assert try_in(address="2001:db8:0:1::1") == 200


def test_one_password_for_everybody_is_stopped_by_the_address(db, settings, clock):
    settings.LOGIN_TRIES_PER_ADDRESS = 5
    User.objects.create_user("carol", password=PASSWORD)

    assert [try_in(f"member{n}") for n in range(6)] == [200] * 5 + [429]
    assert try_in("carol", PASSWORD) == 429
    assert try_in("carol", PASSWORD, address="192.0.2.2") == 302
    clock.shift(15 * 60 + 1)
    assert try_in("carol", PASSWORD) == 302


def test_an_address_from_which_many_get_in_is_not_locked(alice, bob, settings):
    settings.LOGIN_TRIES_PER_ADDRESS = 3

    names = ["alice", "bob"] * 4
    assert [try_in(name, PASSWORD) for name in names] == [302] * 8


def test_who_is_locked_out_does_not_lock_out_the_address_by_going_on(alice, bob, settings):
    settings.LOGIN_TRIES_PER_ADDRESS = 5
    lock_out()
    for _ in range(10):
        try_in()

    assert try_in("bob", PASSWORD) == 302


def test_zero_switches_it_off(alice, settings):
    settings.AXES_ENABLED = False

    assert [try_in() for _ in range(5)] == [200] * 5
    assert AccessAttempt.objects.count() == 0


def test_nothing_that_was_typed_is_kept_or_logged(alice, caplog):
    with caplog.at_level(logging.DEBUG):
        for _ in range(4):
            answer_to("alice", "a secret word")

    kept = str(list(AccessAttempt.objects.values()))
    assert "a secret word" not in kept + caplog.text
    assert "too many tries" in caplog.text


def test_what_locks_nobody_out_is_forgotten_every_night(alice, clock):
    lock_out()
    clock.shift(15 * 60 + 1)
    try_in("bob")

    assert logging_in.forget() == 1
    assert AccessAttempt.objects.count() == 2


def test_staff_let_somebody_in_earlier(client, alice, staff):
    lock_out()
    client.force_login(staff)
    row = AccessAttempt.objects.get(username="alice")

    page = client.get("/admin/fluxsite/failedlogin/").content.decode()
    client.post("/admin/fluxsite/failedlogin/", {"action": "unlock", "_selected_action": [row.pk]})

    assert "192.0.2.1" in page
    assert try_in(password=PASSWORD) == 302


def test_staff_who_may_only_look_let_nobody_in(client, alice, bob):
    lock_out()
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(Permission.objects.get(codename="view_failedlogin"))
    client.force_login(bob)
    row = AccessAttempt.objects.get(username="alice")

    client.post("/admin/fluxsite/failedlogin/", {"action": "unlock", "_selected_action": [row.pk]})

    assert try_in(password=PASSWORD) == 429


@pytest.mark.parametrize("rows", [1, 3])
def test_the_list_of_failed_logins_takes_as_many_queries_for_any_number(
    client, staff, rows, django_assert_num_queries
):
    for n in range(rows):
        try_in(f"name{n}", address=f"192.0.2.{n}")
    client.force_login(staff)

    with django_assert_num_queries(6):
        client.get("/admin/fluxsite/failedlogin/")


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_exactly_so_many_reach_the_password(alice, race, settings):
    settings.LOGIN_TRIES = 5
    # Hashing costs time, in which others come: what the count must hold against.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]

    answers = race(lambda _n: try_in("nobody"), list(range(24)))

    assert Counter(answers) == {200: 5, 429: 19}
    counted = dict(AccessAttempt.objects.values_list("user_agent", "failures_since_start"))
    assert counted == {logging_in.ONE_NAME: 5, logging_in.ALL_NAMES: 5}


# ---------------------------------------------------------------- another door
def test_the_old_password_cannot_be_guessed_on_a_page_left_open(client, alice):
    client.force_login(alice)
    form = {"old_password": "wrong", "new_password1": "", "new_password2": ""}

    answers = [client.post("/account/password", form) for _ in range(PASSWORD_TRIES + 1)]
    right = {
        "old_password": PASSWORD,
        "new_password1": "quiet harbour in winter",
        "new_password2": "quiet harbour in winter",
    }
    late = client.post("/account/password", right)

    assert [answer.status_code for answer in answers] == [200] * PASSWORD_TRIES + [429]
    assert "Try again in 60 minutes." in answers[-1].content.decode()
    assert 0 < int(answers[-1]["Retry-After"]) <= 3600
    assert late.status_code == 429
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_staff_change_their_password_at_the_same_door(client, staff):
    client.force_login(staff)

    assert client.get("/admin/password_change/")["Location"] == "/account/password"
