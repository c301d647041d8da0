"""GET /api/unified-history."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from history.tests import rows

URL = "/api/unified-history"


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def ids(response):
    return [row["id"] for row in response.json()["results"]]


def parameters(url):
    return dict(parse_qsl(urlsplit(url).query))


# ---------------------------------------------------------------- a row
def test_a_row_tells_what_the_specification_lists_and_its_pictures(api, alice):
    task = rows.task("flux", alice, id="t1", prompt="一只猫", cloud_image_url="/media/p0-t1")
    rows.picture("flux", task, 0)
    rows.picture("flux", task, 1, is_nsfw=True, stored_at=None, storage_key="")

    body = api.get(URL).json()

    assert body == {
        "results": [
            {
                "source": "flux",
                "id": "t1",
                "user_id": alice.pk,
                "model": "fal-ai/flux-1/schnell",
                "prompt": "一只猫",
                "image_url": "/media/p0-t1",
                "status": "SUCCESS",
                "created_at": "2026-05-04T12:00:00Z",
                "images": [
                    {
                        "id": "p0-t1",
                        "image_url": "/media/p0-t1",
                        "thumb_url": "/media/p0-t1/320",
                        "width": 1024,
                        "height": 768,
                        "nsfw": False,
                    },
                    {
                        "id": "p1-t1",
                        "image_url": "/media/p1-t1",
                        "thumb_url": "/media/p1-t1/320",
                        "width": 1024,
                        "height": 768,
                        "nsfw": True,
                    },
                ],
            }
        ],
        "next": None,
        "previous": None,
    }


def test_an_imported_task_has_its_one_address_for_a_picture(api, alice):
    rows.task("midjourney", alice, image_url="https://cdn.example/mj.png")

    [row] = api.get(URL).json()["results"]

    assert row["images"] == [
        {
            "id": "",
            "image_url": "https://cdn.example/mj.png",
            "thumb_url": "https://cdn.example/mj.png",
            "width": None,
            "height": None,
            "nsfw": False,
        }
    ]


def test_pictures_of_another_source_with_the_same_id_do_not_mix(api, alice):
    rows.picture("flux", rows.task("flux", alice, id="t1", minutes=1), id="of-flux")
    rows.picture("jimeng", rows.task("jimeng", alice, id="t1"), id="of-jimeng")

    results = api.get(URL).json()["results"]

    assert [[image["id"] for image in row["images"]] for row in results] == [
        ["of-flux"],
        ["of-jimeng"],
    ]


def test_times_are_utc_wherever_the_site_is(api, alice):
    rows.task("flux", alice)

    with timezone.override("Asia/Shanghai"):
        [row] = api.get(URL).json()["results"]

    assert row["created_at"] == "2026-05-04T12:00:00Z"


# ---------------------------------------------------------------- whose and which
def test_only_ones_own_entries_are_listed(api, alice, bob):
    rows.task("flux", alice, id="mine")
    rows.task("flux", bob, id="his")

    assert ids(api.get(URL)) == ["mine"]


def test_a_stranger_gets_nothing(db):
    response = APIClient().get(URL)

    assert response.status_code in (401, 403)
    assert "results" not in response.json()


def test_writing_is_not_possible(api):
    assert api.post(URL, {}, format="json").status_code == 405


def test_all_sources_are_listed_newest_first(api, alice):
    rows.task("midjourney", alice, id="m", minutes=2)
    rows.task("flux", alice, id="f", minutes=3)
    rows.task("jimeng", alice, id="j", minutes=1)

    assert ids(api.get(URL)) == ["f", "m", "j"]


@pytest.mark.parametrize("source", ["flux", "midjourney", "jimeng"])
def test_one_source_is_listed_alone(api, alice, source):
    for name in ("flux", "midjourney", "jimeng"):
        rows.task(name, alice, id=name)

    assert ids(api.get(URL, {"source": source})) == [source]


def test_an_empty_source_means_all_of_them(api, alice):
    rows.task("flux", alice, id="f")

    assert ids(api.get(URL, {"source": ""})) == ["f"]


# ---------------------------------------------------------------- paging
@pytest.fixture
def five(alice):
    for minutes in range(5):
        rows.task("flux", alice, id=f"t{minutes}", minutes=minutes)


@pytest.mark.usefixtures("five")
def test_next_leads_through_the_whole_list(api):
    seen, url = [], f"{URL}?limit=2&source=flux"
    while url:
        response = api.get(url)
        seen.append(ids(response))
        url = response.json()["next"]

    assert seen == [["t4", "t3"], ["t2", "t1"], ["t0"]]


@pytest.mark.usefixtures("five")
def test_links_by_page_keep_the_other_parameters(api):
    body = api.get(URL, {"page": 2, "limit": 2, "source": "flux", "mine": "ü&"}).json()

    assert body["next"].startswith("http://testserver/api/unified-history?")
    assert (parameters(body["next"]), parameters(body["previous"])) == (
        {"page": "3", "limit": "2", "source": "flux", "mine": "ü&"},
        {"page": "1", "limit": "2", "source": "flux", "mine": "ü&"},
    )


@pytest.mark.usefixtures("five")
def test_links_by_cursor_keep_the_other_parameters_and_lead_only_down(api):
    first = api.get(URL, {"limit": 2, "source": "flux"}).json()

    second = api.get(first["next"]).json()

    assert (first["previous"], second["previous"]) == (None, None)
    assert sorted(parameters(first["next"])) == ["cursor", "limit", "source"]
    assert sorted(parameters(second["next"])) == ["cursor", "limit", "source"]


@pytest.mark.usefixtures("five")
def test_a_page_past_the_end_is_empty(api):
    body = api.get(URL, {"page": 7, "limit": 2}).json()

    assert (body["results"], body["next"]) == ([], None)


def test_the_last_page_that_can_be_numbered_goes_on_by_cursor(api, alice, monkeypatch):
    monkeypatch.setattr("fluxsite.paging.MAX_DEPTH", 2)
    for minutes in range(3):
        rows.task("flux", alice, id=f"t{minutes}", minutes=minutes)

    body = api.get(URL, {"page": 2, "limit": 1}).json()

    assert sorted(parameters(body["next"])) == ["cursor", "limit"]
    assert ids(api.get(body["next"])) == ["t0"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=501", "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("source=dalle", "source"),
        ("source=%00", "source"),
        ("cursor=garbage", "cursor"),
        ("cursor=MTc3Nzg5NjAwMDAwMDAwMDphAGI", "cursor"),
    ],
)
def test_a_bad_parameter_is_a_400_that_names_it(api, query, field):
    response = api.get(f"{URL}?{query}")

    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]


# ---------------------------------------------------------------- cost
@pytest.mark.parametrize("count", [1, 3])
def test_a_page_takes_one_query_and_one_for_the_pictures_of_each_source(
    api, alice, count, django_assert_num_queries
):
    for minutes in range(count):
        for source in ("flux", "midjourney", "jimeng"):
            rows.picture(source, rows.task(source, alice, minutes=minutes))

    with django_assert_num_queries(4):
        response = api.get(URL)

    assert len(ids(response)) == 3 * count
