"""The gallery, its next piece, and the page of one entry."""

from __future__ import annotations

import pytest
from django.utils import timezone

from fluxsite.paging import Cursor
from history import search, sources
from history.sources import Parameter, Picture
from history.tests import rows

HTMX = {"HX-Request": "true"}


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def templates(response):
    return [
        template.name
        for template in response.templates
        if template.name in ("history/page.html", "history/_entries.html", "history/entry.html")
    ]


def keys(response):
    return [entry.key for entry in response.context["entries"]]


# ---------------------------------------------------------------- the gallery
def test_gallery_shows_what_a_template_needs(member, alice):
    task = rows.task("flux", alice, id="t1", prompt="一只猫", is_favourite=True)
    rows.picture("flux", task)

    context = member.get("/history").context

    [entry] = context["entries"]
    assert (entry.key, entry.source, str(entry.source_label), entry.id) == (
        "flux:t1",
        "flux",
        "FLUX",
        "t1",
    )
    assert (entry.model, entry.model_name) == ("fal-ai/flux-1/schnell", "FLUX.1 schnell")
    assert (entry.prompt, entry.created_at, entry.is_favourite) == ("一只猫", rows.NOON, True)
    assert entry.url == "/history/flux/t1"
    assert entry.pictures == [
        Picture(
            id="p0-t1",
            url="/media/p0-t1",
            width=1024,
            height=768,
            is_nsfw=False,
            stored=True,
            storage_key="generated/t1/0.png",
        )
    ]
    assert (context["next_cursor"], context["bar"].values) == ("", {})
    assert [choice.value for choice in context["bar"].sources] == [
        *("", "flux", "midjourney", "jimeng"),
    ]


def test_a_thumbnail_is_the_pictures_address_and_a_width():
    ours = Picture(id="p", url="/media/p", width=1, height=1, is_nsfw=False, stored=True)
    theirs = Picture(
        id="", url="https://cdn.example/a", width=None, height=None, is_nsfw=False, stored=False
    )

    assert (ours.thumb_url(320), ours.thumb_320, ours.thumb_640) == (
        "/media/p/320",
        "/media/p/320",
        "/media/p/640",
    )
    assert theirs.thumb_url(320) == "https://cdn.example/a"


def test_gallery_shows_only_ones_own(member, alice, bob):
    rows.task("flux", alice, id="mine")
    rows.task("flux", bob, id="his")

    assert keys(member.get("/history")) == ["flux:mine"]


def test_gallery_shows_one_source_alone(member, alice):
    rows.task("flux", alice, id="f")
    rows.task("jimeng", alice, id="j")

    response = member.get("/history?source=jimeng")

    assert keys(response) == ["jimeng:j"]
    assert [c.value for c in response.context["bar"].sources if c.is_chosen] == ["jimeng"]


def test_a_source_nobody_knows_is_not_found(member):
    assert member.get("/history?source=dalle").status_code == 404


def test_a_stranger_is_sent_to_the_login(client, db):
    response = client.get("/history")

    assert (response.status_code, response["Location"]) == (302, "/login?next=/history")


def test_an_empty_history_is_a_page_too(member):
    response = member.get("/history")

    assert (response.status_code, keys(response)) == (200, [])
    assert "Make the first one" in response.content.decode()


# ---------------------------------------------------------------- filters
@pytest.fixture
def several(alice):
    rows.task("flux", alice, id="cat", prompt="a cat & a dog", is_favourite=True)
    rows.task("flux", alice, id="old", prompt="a cat", created_at=rows.NOON.replace(year=2025))
    rows.task("jimeng", alice, id="tea", prompt="茶馆", minutes=1)
    search.fill()


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("query", "found", "chips"),
    [
        ("text=cat", ["flux:cat", "flux:old"], ["“cat”"]),
        ("text=茶", ["jimeng:tea"], ["“茶”"]),
        ("favourite=1", ["flux:cat"], ["Favourites"]),
        ("model=jimeng-4.0", ["jimeng:tea"], ["jimeng-4.0"]),
        ("model=fal-ai/flux-1/schnell&until=2025-12-31", ["flux:old"], None),
        ("since=2026-05-04&until=2026-05-04", ["jimeng:tea", "flux:cat"], None),
        ("source=flux&text=dog&favourite=true", ["flux:cat"], ["FLUX", "Favourites", "“dog”"]),
        ("source=&model=&since=&until=&text=", ["jimeng:tea", "flux:cat", "flux:old"], []),
    ],
)
def test_gallery_shows_what_passes_the_filters_and_names_them(member, query, found, chips):
    response = member.get(f"/history?{query}")

    assert keys(response) == found
    if chips is not None:
        assert [chip.label for chip in response.context["bar"].chips] == chips


@pytest.mark.usefixtures("several")
def test_a_chip_leads_to_the_page_without_its_filter(member):
    bar = member.get("/history?source=flux&text=a%20cat%20%26").context["bar"]

    assert [(chip.name, chip.url) for chip in bar.chips] == [
        ("source", "/history?text=a+cat+%26"),
        ("text", "/history?source=flux"),
    ]
    assert bar.favourites.url == "/history?source=flux&text=a+cat+%26&favourite=1"
    assert bar.here == "/history?source=flux&text=a+cat+%26"


@pytest.mark.usefixtures("several")
def test_models_to_choose_from_are_those_one_drew_with(member, bob):
    rows.task("midjourney", bob)

    bar = member.get("/history?model=fal-ai/flux-2-pro").context["bar"]

    assert [(c.label, c.is_chosen) for c in bar.models] == [
        ("FLUX.1 schnell", False),
        ("FLUX.2 pro", True),
        ("jimeng-4.0", False),
    ]


def test_each_member_has_models_of_ones_own_to_choose_from(member, client, alice, bob):
    rows.task("midjourney", alice)
    rows.task("jimeng", bob)
    option = '<option value="%s" >'
    of_alice = member.get("/history").content.decode()
    client.force_login(bob)

    of_bob = client.get("/history").content.decode()

    assert (option % "midjourney" in of_alice, option % "jimeng-4.0" in of_alice) == (True, False)
    assert (option % "midjourney" in of_bob, option % "jimeng-4.0" in of_bob) == (False, True)


def test_the_days_to_choose_from_are_those_of_the_reader(member, settings):
    # 25 hours apart: it is never the same day there.
    settings.TIME_ZONE = "Pacific/Kiritimati"
    ahead, first = timezone.localdate(), member.get("/history").content.decode()
    settings.TIME_ZONE = "Pacific/Niue"
    behind, second = timezone.localdate(), member.get("/history").content.decode()

    assert (f'?since={ahead}"' in first, f'?since={ahead}"' in second) == (True, False)
    assert (f'?since={behind}"' in second) is True


@pytest.mark.usefixtures("several")
def test_a_result_without_entries_names_the_filters_and_the_way_out(member):
    html = member.get("/history?text=whale&favourite=1").content.decode()

    assert "Nothing fits these filters" in html
    assert "<strong>“whale”</strong>" in html
    assert "Clear all filters" in html


@pytest.mark.usefixtures("several")
def test_days_in_the_wrong_order_are_told_on_the_page(member):
    response = member.get("/history?since=2026-05-05&until=2026-05-04")

    assert (response.status_code, keys(response)) == (400, [])
    assert "This day is before the first one." in response.content.decode()


def test_words_of_a_stranger_do_not_become_markup(member, alice):
    rows.task("flux", alice, prompt="<script>alert(1)</script>")

    html = member.get("/history", {"text": "<script>"}).content.decode()

    assert "<script>alert" not in html
    assert "“<script>”" not in html


def test_show_older_keeps_the_filters(member, alice):
    for minutes in range(30):
        rows.task("flux", alice, minutes=minutes, is_favourite=True)
    first = member.get("/history?favourite=1&text=lighthouse")

    cursor = first.context["next_cursor"]

    link = f"/history?favourite=1&amp;text=lighthouse&amp;cursor={cursor}"
    assert f'hx-get="{link}"' in first.content.decode()


# ---------------------------------------------------------------- more of it
@pytest.fixture
def thirty(alice):
    for minutes in range(30):
        rows.task("flux", alice, id=f"t{minutes:02}", minutes=minutes)


@pytest.mark.usefixtures("thirty")
def test_htmx_gets_just_the_next_items(member):
    first = member.get("/history")

    second = member.get(f"/history?cursor={first.context['next_cursor']}", headers=HTMX)

    assert (len(keys(first)), keys(second)[0], keys(second)[-1]) == (24, "flux:t05", "flux:t00")
    assert templates(first)[0] == "history/page.html"
    assert templates(second) == ["history/_entries.html"]
    assert second.context["next_cursor"] == ""


@pytest.mark.usefixtures("thirty")
def test_without_scripts_the_next_items_are_a_page(member):
    first = member.get("/history")

    second = member.get(f"/history?cursor={first.context['next_cursor']}")

    assert templates(second)[0] == "history/page.html"


@pytest.mark.usefixtures("thirty")
def test_the_back_button_gets_the_whole_page(member):
    cursor = Cursor(created_at=rows.NOON, id="t03").encode()
    headers = {**HTMX, "HX-History-Restore-Request": "true"}

    response = member.get(f"/history?cursor={cursor}", headers=headers)

    assert templates(response)[0] == "history/page.html"


def test_caches_are_told_that_an_address_has_two_bodies(member):
    assert "HX-Request" in member.get("/history")["Vary"]


@pytest.mark.parametrize("cursor", ["garbage", "MTc3Nzg5NjAwMDAwMDAwMDphAGI"])
def test_garbage_for_a_cursor_is_refused(member, cursor):
    assert member.get(f"/history?cursor={cursor}").status_code == 400


@pytest.mark.parametrize("count", [1, 3])
def test_gallery_takes_the_same_queries_for_any_number_of_entries(
    member, alice, count, django_assert_num_queries
):
    for minutes in range(count):
        for source in ("flux", "midjourney", "jimeng"):
            rows.picture(source, rows.task(source, alice, minutes=minutes))

    # The session, the member, the page, the pictures of three sources, the head, and the models.
    with django_assert_num_queries(8):
        response = member.get("/history")

    assert len(keys(response)) == 3 * count


# ---------------------------------------------------------------- one entry
def test_entry_shows_what_it_was_made_with(member, alice):
    task = rows.task(
        "flux",
        alice,
        id="t1",
        parameters={"num_images": 2, "seed": None, "enable_safety_checker": False},
        result_seed="17454220438242315174",
        generation_time=1.5,
    )
    rows.picture("flux", task, 1)
    rows.picture("flux", task, 0)

    response = member.get("/history/flux/t1")

    assert templates(response)[0] == "history/entry.html"
    assert [picture.id for picture in response.context["entry"].pictures] == ["p0-t1", "p1-t1"]
    assert response.context["parameters"] == (
        Parameter(name="num_images", label="Pictures", value=2),
        Parameter(name="seed", label="Seed", value="17454220438242315174"),
        Parameter(name="enable_safety_checker", label="Safety checker", value=False),
    )
    assert response.context["seconds"] == 1.5


def test_entry_of_another_member_is_not_found(member, bob):
    rows.task("flux", bob, id="his")

    assert member.get("/history/flux/his").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/history/flux/none",
        "/history/dalle/t1",
        "/history/jimeng/t1",
        "/history/flux/%00",
        "/history/flux/%ff",
    ],
)
def test_an_entry_that_is_not_there_is_not_found(member, alice, path):
    rows.task("flux", alice, id="t1")

    assert member.get(path).status_code == 404


def test_a_trashed_entry_is_not_found(member, alice):
    rows.task("flux", alice, id="t1", trashed_at=rows.NOON)

    assert member.get("/history/flux/t1").status_code == 404


def test_an_entry_that_goes_while_one_looks_is_not_found(member, alice, settings):
    rows.task("flux", alice, id="t1")
    settings.HISTORY_SOURCES = ["history.tests.test_pages.SourceThatLostIt"]

    assert member.get("/history/flux/t1").status_code == 404


class SourceThatLostIt(sources.Source):
    name = "flux"
    label = "FLUX"

    def tasks(self, registry):
        raise NotImplementedError

    def pictures(self, ids):
        return {}

    def details_of(self, ids):
        return {}


def test_an_imported_id_may_hold_anything(member, alice):
    rows.task("midjourney", alice, id="a/b?c")

    [entry] = member.get("/history").context["entries"]

    assert member.get(entry.url).context["entry"].id == "a/b?c"


def test_entry_sends_a_stranger_to_the_login(client, db):
    assert client.get("/history/flux/t1").status_code == 302


@pytest.mark.parametrize("count", [1, 3])
def test_entry_takes_the_same_queries_for_any_number_of_pictures(
    member, alice, count, django_assert_num_queries
):
    task = rows.task("flux", alice, id="t1")
    for position in range(count):
        rows.picture("flux", task, position)

    # The session, the member, the entry, its parameters, its pictures, what was said of it, and
    # the head.
    with django_assert_num_queries(7):
        member.get("/history/flux/t1")


@pytest.mark.parametrize("path", ["/history", "/history/flux/t1"])
def test_pages_are_only_read(member, path):
    assert member.post(path).status_code == 405


def test_what_failed_is_seen_when_it_is_asked_for_and_leads_to_its_explanation(client, alice):
    failed = rows.task("flux", alice, prompt="a failed lighthouse", status="FAILED")
    rows.task("midjourney", alice, prompt="a failed tower", status="FAILED", image_url="")
    rows.task("flux", alice, prompt="a finished one")
    client.force_login(alice)

    page = client.get("/history?status=FAILED").content.decode()

    assert "a failed lighthouse" in page
    assert "a failed tower" in page
    assert "a finished one" not in page
    assert f'href="/?task={failed.pk}#task-{failed.pk}"' in page
    assert '<option value="FAILED" selected>' in page
