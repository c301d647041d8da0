"""/admin/dashboard/: who sees it, what it says, and that it stays quick."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from fluxsite.models import Incident
from fluxsite.operations import hours, probes
from generation import polling
from generation.models import FluxTask, StorageUse
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UserFactory
from history import feedback
from history.marks import Name

URL = "/admin/dashboard/"


@pytest.fixture(autouse=True)
def _storage_known():
    """Asked once, whatever was known, so that each test has the same queries."""
    probes.check_storage(fresh=True)


@pytest.fixture
def admin(client, staff, settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    polling.sweep(window=0.01, idle=0)
    client.force_login(staff)
    return client


def text_of(response):
    """Return the words of the page, without its markup."""
    html = response.content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html[html.index('class="dash"') :]))


def tiles(response):
    """Return the figures of the page by their labels: value and note."""
    found = re.findall(
        r"<dt>(.*?)</dt>\s*<dd[^>]*>(.*?)</dd>\s*<dd[^>]*>(.*?)</dd>",
        response.content.decode(),
        re.DOTALL,
    )
    return {re.sub(r"<[^>]+>", "", label): (value, note) for label, value, note in found}


# ---------------------------------------------------------------- who
def test_members_and_strangers_are_sent_to_the_login(client, alice):
    assert client.get(URL)["Location"] == f"/admin/login/?next={URL}"
    client.force_login(alice)
    assert client.get(URL)["Location"] == f"/admin/login/?next={URL}"


def test_staff_find_it_from_every_page_of_the_admin(admin):
    assert f'<a href="{URL}">Dashboard</a>' in admin.get("/admin/").content.decode()
    assert admin.post(URL).status_code == 405


# ---------------------------------------------------------------- what
def test_what_is_unfinished_is_told(admin, alice):
    now = timezone.now()
    FluxTaskFactory.create_batch(2, user=alice, created_at=now - timedelta(minutes=5, seconds=5))
    FluxTaskFactory(user=alice, at_provider=True)
    FluxTaskFactory(user=alice, submission="UNKNOWN", submitted_at=now)
    StorageUse.objects.create(user=alice, byte_size=3 * 1024**3, counted_at=now)
    feedback.report(user=alice, name=Name(source="flux", id="a"), reason="broken")

    found = tiles(admin.get(URL))

    assert found["Waiting"][0] == "2"
    assert found["Waiting"][1].startswith("the oldest for 5 min")
    assert found["At the provider"] == ("2", "of 5 places")
    assert found["Fate unknown"][0] == "1"
    assert found["Storage used"][0].replace("\xa0", " ") == "3 GB"
    assert found["Open reports"][0] == "1"


def test_what_a_day_brought_is_told(admin, alice):
    for seconds in (1.2, 1.3, 1.4, 20.0):
        task = FluxTaskFactory(user=alice, succeeded=True, generation_time=seconds, cost_charged=6)
        TaskImageFactory(task=task, user=alice, store_attempts=1 if seconds == 20.0 else 0)
    FluxTaskFactory(user=alice, failed=True, error_code="timeout")
    FluxTaskFactory(user=alice, failed=True, error_code="provider_error")
    feedback.vote(user=alice, name=Name(source="flux", id="a"), value="like")
    hours.roll_up()

    page = admin.get(URL)
    found = tiles(page)

    assert found["Success rate"] == ("66.7%", "4 of 6 tasks")
    assert found["Credits spent"][0] == "24"
    assert found["Provider failures"] == ("16.7%", "1 of 6 tasks")
    assert found["Timeouts"] == ("16.7%", "1 of 6 tasks")
    assert found["Storing failed"] == ("25.0%", "1 of 4 pictures at first; 0 lost")
    assert found["Satisfaction"] == ("100%", "1 of 1 votes liked it")
    assert found["Generation time"][0] == "1.3 s"
    assert "FLUX.1 schnell 6 100% 66.7%" in text_of(page)


def test_a_failure_says_what_to_do_and_leads_to_its_tasks(admin, alice):
    task = FluxTaskFactory(user=alice, failed=True, error_code="submit_unknown")
    FluxTaskFactory(user=alice, failed=True, error_code="timeout")
    hours.roll_up()

    html = admin.get(URL).content.decode()
    link = re.search(r'class="count" href="([^"]*submit_unknown[^"]*)"', html)[1]
    listed = admin.get(link.replace("&amp;", "&"))

    assert "Look at the provider&#x27;s own list of requests" in html
    assert [row.pk for row in listed.context["cl"].result_list] == [task.pk]


def test_every_link_of_the_page_leads_somewhere(admin, alice):
    FluxTaskFactory(user=alice, succeeded=True)
    FluxTaskFactory(user=alice, failed=True, error_code="timeout")
    FluxTaskFactory(
        user=alice, at_provider=True, next_action_at=timezone.now() - timedelta(minutes=9)
    )
    hours.roll_up()
    html = admin.get(URL).content.decode()
    links = set(re.findall(r'href="([^"#]+)"', html[html.index('class="dash"') :]))

    answers = {
        link: admin.get(link.replace("&amp;", "&"), follow=True)
        for link in links
        if link.startswith("/")
    }

    assert len(answers) >= 10
    assert {link for link, answer in answers.items() if answer.status_code != 200} == set()
    # The admin answers a filter it does not know with a list of everything and ?e=1.
    assert {
        link for link, answer in answers.items() if "e=1" in str(answer.redirect_chain)
    } == set()


def test_tasks_that_nobody_touches_are_named_with_their_next_step(admin, alice):
    now = timezone.now()
    stuck = FluxTaskFactory(user=alice, at_provider=True, next_action_at=now - timedelta(minutes=9))
    unknown = FluxTaskFactory(
        user=alice, submission="UNKNOWN", submitted_at=now - timedelta(seconds=90),
        next_action_at=now + timedelta(seconds=90),
    )  # fmt: skip
    FluxTaskFactory(user=alice, at_provider=True, next_action_at=now + timedelta(seconds=2))

    page = admin.get(URL)

    assert [row["task"].pk for row in page.context["tasks"]] == [stuck.pk, unknown.pk]
    assert "No worker looks at it: see whether the workers run" in text_of(page)
    assert "Wait: it ends by itself within three minutes" in text_of(page)
    assert f"/admin/generation/fluxtask/{stuck.pk}/change/" in page.content.decode()


def test_what_is_wrong_is_at_the_top(admin):
    Incident.objects.create(
        kind="storage", is_open=True, opened_at=timezone.now(), detail="No space <left>"
    )

    html = admin.get(URL).content.decode()

    assert "<strong>Pictures cannot be stored</strong>" in html
    assert "No space &lt;left&gt;" in html


def test_a_site_without_a_past_says_so(admin):
    page = admin.get(URL)

    assert page.status_code == 200
    assert tiles(page)["Success rate"] == ("–", "0 of 0 tasks")
    assert "Nothing in this time." in text_of(page)


def test_without_credits_nothing_of_them_is_shown(admin, settings):
    settings.CREDITS_ENABLED = False

    assert "Credits" not in text_of(admin.get(URL))


def test_the_page_needs_neither_script_nor_style_of_its_own(admin, alice):
    FluxTaskFactory(user=alice, succeeded=True)
    hours.roll_up()

    html = admin.get(URL).content.decode()
    page = html[html.index('class="dash"') :]

    assert "<svg" in page
    assert not re.search(r"style=|<style|<script| on\w+=", page)


@pytest.mark.parametrize("period", ["24h", "7d", "30d", "forever", ""])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_every_period_is_shown_in_either_language(admin, alice, period, language):
    FluxTaskFactory(user=alice, succeeded=True, generation_time=2.5)
    hours.roll_up()

    response = admin.get(URL, {"period": period}, headers={"Accept-Language": language})

    assert response.status_code == 200
    chosen = re.search(r'href="\?period=(\w+)" aria-current', response.content.decode())[1]
    assert chosen == (period if period in ("24h", "7d", "30d") else "24h")
    # A decimal comma would not be a number of SVG.
    assert not re.search(r'(points|x|y|width|height)="[^"]*\d,\d+,', response.content.decode())


# ---------------------------------------------------------------- quick
@pytest.mark.parametrize("tasks", [1, 3])
def test_it_takes_the_same_queries_whatever_there_is(admin, tasks, django_assert_num_queries):
    for _each in range(tasks):
        user = UserFactory()
        FluxTaskFactory(user=user)
        FluxTaskFactory(user=user, succeeded=True)
        FluxTaskFactory(user=user, failed=True, error_code="timeout")
        FluxTaskFactory(
            user=user, at_provider=True, next_action_at=timezone.now() - timedelta(minutes=9)
        )
    hours.roll_up()
    FluxTask.objects.filter(status="SUCCESS").update(model="another")

    # Session and member; what is unfinished, 5; what the period brought; storage, reports,
    # incidents and tasks to look at; the state of the channel, which every page of the admin tells.
    with django_assert_num_queries(13):
        admin.get(URL)
