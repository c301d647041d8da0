"""What members say of entries: votes and reports, by API and form; what staff do with them."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from history import feedback
from history.feedback import Satisfaction
from history.marks import Name
from history.models import Feedback
from history.tests import rows

URL = "/api/unified-history/feedback"


@pytest.fixture
def entry(alice):
    return rows.task("flux", alice, id="t1")


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def send(api, **said):
    return api.post(URL, {"source": "flux", "id": "t1", **said}, format="json")


# ---------------------------------------------------------------- by the API
@pytest.mark.parametrize("source", ["flux", "midjourney", "jimeng"])
def test_a_member_votes_on_entries_of_every_source(api, alice, source):
    rows.task(source, alice, id="x")

    answer = send(api, source=source, id="x", vote="like")

    assert answer.status_code == 200
    assert answer.json() == {"source": source, "id": "x", "vote": "like", "reason": "", "text": ""}


@pytest.mark.usefixtures("entry")
def test_the_latest_vote_counts_and_can_be_taken_back(api):
    for vote, kept in (("like", "like"), ("dislike", "dislike"), ("", "")):
        assert send(api, vote=vote).json()["vote"] == kept

    assert Feedback.objects.count() == 1


@pytest.mark.usefixtures("entry")
def test_a_report_leaves_the_vote_and_a_vote_the_report(api):
    send(api, vote="dislike")
    send(api, reason="broken", text="six fingers 六根手指")

    answer = send(api, vote="like")

    assert answer.json() == {
        "source": "flux",
        "id": "t1",
        "vote": "like",
        "reason": "broken",
        "text": "six fingers 六根手指",
    }


@pytest.mark.usefixtures("entry")
def test_a_new_report_is_open_again(api, staff):
    send(api, reason="broken")
    feedback.resolve(Feedback.objects.all(), by=staff)
    assert not Feedback.objects.get().is_open

    send(api, reason="unsafe", text="worse")

    said = Feedback.objects.get()
    assert (said.is_open, said.resolved_by, said.reason) == (True, None, "unsafe")


def test_an_entry_of_another_member_is_not_there(api, bob):
    rows.task("flux", bob, id="t1")

    answer = send(api, vote="like")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert Feedback.objects.count() == 0


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "vote"),
        ({"vote": "love"}, "vote"),
        ({"vote": None}, "vote"),
        ({"reason": "bored"}, "reason"),
        ({"reason": ""}, "reason"),
        ({"vote": "like", "text": "words"}, "reason"),
        ({"reason": "other", "text": "x" * 1001}, "text"),
        ({"reason": "other", "text": "\0"}, "text"),
        ({"source": "dalle", "vote": "like"}, "source"),
        ({"id": "", "vote": "like"}, "id"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(api, body, field):
    answer = send(api, **body)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_strangers_say_nothing(db):
    assert send(APIClient(), vote="like").status_code == 401


def test_feedback_is_posted(api):
    assert api.get(URL).status_code == 405


# ---------------------------------------------------------------- by the page's form
@pytest.mark.usefixtures("entry")
def test_the_page_shows_what_was_said_and_takes_more(member):
    response = member.post("/history/feedback", {"entry": "flux:t1", "vote": "like"})
    assert response["Location"] == "/history/flux/t1"

    member.post("/history/feedback", {"entry": "flux:t1", "reason": "other", "text": " so so "})

    said = member.get("/history/flux/t1").context["said"]
    assert (said.vote, said.reason, said.text) == ("like", "other", "so so")


@pytest.mark.usefixtures("entry")
def test_a_report_without_reason_is_not_taken(member):
    member.post("/history/feedback", {"entry": "flux:t1", "text": "words"})

    assert Feedback.objects.count() == 0


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"entry": "flux:t1", "vote": "love"}, 400),
        ({"entry": "flux:none", "vote": "like"}, 404),
        ({"entry": "dalle:t1", "vote": "like"}, 404),
        ({}, 404),
    ],
)
def test_a_form_that_is_not_ours_is_refused(member, fields, status):
    assert member.post("/history/feedback", fields).status_code == status


def test_the_form_of_a_stranger_leads_to_the_login(client, db):
    assert client.post("/history/feedback", {})["Location"].startswith("/login?")


# ---------------------------------------------------------------- in the table
def test_there_is_one_row_for_each_member_and_entry(alice):
    Feedback.objects.create(user=alice, source="flux", entry_id="t1")

    with pytest.raises(IntegrityError), transaction.atomic():
        Feedback.objects.create(user=alice, source="flux", entry_id="t1")


@pytest.mark.django_db(transaction=True)
def test_many_clicks_at_once_make_one_row(alice):
    barrier = threading.Barrier(6)

    def click(value):
        try:
            barrier.wait()
            feedback.vote(user=alice, name=Name("flux", "t1"), value=value)
        finally:
            connection.close()

    threads = [threading.Thread(target=click, args=[v]) for v in ("like", "dislike", "") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Feedback.objects.get().vote in ("like", "dislike", "")


# ---------------------------------------------------------------- on the whole
def test_satisfaction_counts_votes_since_a_moment_and_all_open_reports(
    alice, bob, staff, django_assert_num_queries
):
    now = timezone.now()
    for number in range(3):
        feedback.vote(user=alice, name=Name("flux", str(number)), value="like")
    feedback.vote(user=bob, name=Name("flux", "9"), value="dislike")
    feedback.report(user=bob, name=Name("flux", "9"), reason="broken")
    feedback.report(user=bob, name=Name("flux", "8"), reason="broken")
    Feedback.objects.filter(entry_id="0").update(updated_at=now - timedelta(days=8))
    Feedback.objects.filter(entry_id="8").update(updated_at=now - timedelta(days=8))

    with django_assert_num_queries(1):
        counted = feedback.satisfaction(since=now - timedelta(days=7))

    assert counted == Satisfaction(likes=2, dislikes=1, reports_open=2)
    feedback.resolve(Feedback.objects.filter(entry_id="8"), by=staff)
    assert feedback.satisfaction(since=now).reports_open == 1


# ---------------------------------------------------------------- staff
@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


LIST = "admin:history_feedback_changelist"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["open", "done", "vote"]),
        ("?state=open", ["open"]),
        ("?state=resolved", ["done"]),
        ("?state=none", ["vote"]),
        ("?vote__exact=like", ["vote"]),
        ("?reason__exact=broken", ["open", "done"]),
        ("?q=fingers", ["open"]),
    ],
)
def test_staff_filter_the_list(admin, alice, staff, query, found):
    feedback.vote(user=alice, name=Name("flux", "vote"), value="like")
    feedback.report(user=alice, name=Name("flux", "done"), reason="broken")
    feedback.resolve(Feedback.objects.all(), by=staff)
    feedback.report(user=alice, name=Name("flux", "open"), reason="broken", text="fingers")

    response = admin.get(f"{reverse(LIST)}{query}")

    assert [said.entry_id for said in response.context["cl"].result_list] == found


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_takes_the_same_queries_for_any_number_of_rows(
    admin, alice, count, django_assert_num_queries
):
    for number in range(count):
        feedback.report(user=alice, name=Name("flux", str(number)), reason="other")

    # The session, the member, two counts, the rows, and the head's two.
    with django_assert_num_queries(6):
        admin.get(reverse(LIST))


def test_staff_resolve_reports_and_nothing_else(admin, alice, staff):
    feedback.vote(user=alice, name=Name("flux", "vote"), value="like")
    feedback.report(user=alice, name=Name("flux", "open"), reason="broken")
    chosen = [str(said.pk) for said in Feedback.objects.all()]

    response = admin.post(
        reverse(LIST), {"action": "resolve", "_selected_action": chosen}, follow=True
    )

    assert "1 report resolved." in response.content.decode()
    assert Feedback.objects.get(entry_id="open").resolved_by == staff
    assert Feedback.objects.get(entry_id="vote").resolved_at is None


def test_staff_see_the_pictures_of_a_report(admin, alice, entry):
    picture = rows.picture("flux", entry)
    feedback.report(user=alice, name=Name("flux", "t1"), reason="broken")
    said = Feedback.objects.get()

    html = admin.get(reverse("admin:history_feedback_change", args=[said.pk])).content.decode()

    assert f'src="/media/{picture.pk}/320"' in html


def test_members_do_not_reach_the_list(member):
    assert member.get(reverse(LIST)).status_code == 302
