"""A source more is a class and a line in the settings. Here is one, with a table of its own."""

from __future__ import annotations

import pytest
from django.apps.registry import Apps
from django.db import connection, models
from rest_framework.test import APIClient

from history import search, sources, view
from history.sources import Details, Parameter, Picture
from history.tests import rows

URL = "/api/unified-history"


class Sketch(models.Model):
    """A table as another program may have it. The types are those of the other tables."""

    id = models.CharField(primary_key=True, max_length=255)
    user_id = models.IntegerField()
    model = models.CharField(max_length=100)
    prompt = models.TextField()
    address = models.TextField(null=True)  # noqa: DJ001 - as we may find it
    status = models.CharField(max_length=20)
    created_at = models.DateTimeField()
    is_favourite = models.BooleanField(default=False)
    trashed_at = models.DateTimeField(null=True)

    class Meta:
        apps = Apps()
        app_label = "sketches"

    def __str__(self):
        return self.pk


class SketchSource(sources.Source):
    name = "sketch"
    label = "Sketches"

    def tasks(self, registry):
        return sources.as_columns(
            Sketch.objects.all(), source=self.name, image_url=models.F("address")
        )

    def pictures(self, ids):
        return {
            sketch.pk: [
                Picture(id="", url=sketch.address, width=8, height=8, is_nsfw=False, stored=False)
            ]
            for sketch in Sketch.objects.filter(pk__in=ids)
        }

    def details_of(self, ids):
        return {
            sketch.pk: Details(
                parameters=(Parameter(name="pencil", label="Pencil", value=sketch.model),),
                seconds=None,
            )
            for sketch in Sketch.objects.filter(pk__in=ids)
        }


@pytest.fixture
def fourth(transactional_db, settings):
    with connection.schema_editor() as editor:
        editor.create_model(Sketch)
    three = settings.HISTORY_SOURCES
    try:
        settings.HISTORY_SOURCES = [*three, "history.tests.test_fourth_source.SketchSource"]
        view.after_migrate(using="default")
        yield
    finally:
        settings.HISTORY_SOURCES = three
        view.after_migrate(using="default")
        with connection.schema_editor() as editor:
            editor.delete_model(Sketch)


def sketch(user, **fields):
    values = {
        "id": "s1",
        "user_id": user.pk,
        "model": "2B",
        "prompt": "一只狐狸, a fox",
        "address": "https://sketches.example/s1.png",
        "status": "SUCCESS",
        "created_at": rows.NOON,
    }
    return Sketch.objects.create(**{**values, **fields})


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_login(alice)
    return client


def ids(response):
    return [row["id"] for row in response.json()["results"]]


@pytest.mark.usefixtures("fourth")
def test_a_fourth_source_is_listed_shown_filtered_and_searched(api, alice, bob):
    sketch(alice, is_favourite=True)
    sketch(bob, id="his")
    sketch(alice, id="unfinished", status="DRAWING", address=None)
    sketch(alice, id="thrown-away", trashed_at=rows.NOON)
    rows.task("flux", alice, id="f1", prompt="a fox", minutes=1)
    search.fill()

    listed = api.get(URL).json()["results"]

    assert [(row["source"], row["id"], row["image_url"]) for row in listed] == [
        ("flux", "f1", listed[0]["image_url"]),
        ("sketch", "s1", "https://sketches.example/s1.png"),
    ]
    assert [image["width"] for image in listed[1]["images"]] == [8]
    for query, expected in [
        ({"source": "sketch"}, ["s1"]),
        ({"model": "2B"}, ["s1"]),
        ({"favourite": "1"}, ["s1"]),
        ({"status": "ALL"}, ["f1", "unfinished", "s1"]),
        ({"until": "2026-05-03"}, []),
        ({"text": "fox"}, ["f1", "s1"]),
        ({"text": "狐狸", "source": "sketch", "model": "2B"}, ["s1"]),
        ({"text": "狐狸", "source": "flux"}, []),
    ]:
        assert ids(api.get(URL, query)) == expected, query


@pytest.mark.usefixtures("fourth")
def test_an_entry_of_a_fourth_source_has_its_page(client, alice):
    sketch(alice)
    client.force_login(alice)

    response = client.get("/history/sketch/s1")

    assert response.status_code == 200
    assert [parameter.value for parameter in response.context["parameters"]] == ["2B"]
    assert response.context["entry"].source_label == "Sketches"


@pytest.mark.usefixtures("fourth")
def test_a_source_that_is_not_there_is_told_with_those_that_are(api):
    response = api.get(URL, {"source": "dalle"})

    assert response.json()["errors"] == {
        "source": ["Choose one of flux, midjourney, jimeng, sketch."]
    }
