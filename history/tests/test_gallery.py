"""The items of the gallery: quick, and to the letter what the template makes of each entry."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string
from django.utils import translation

from fluxsite.stencils import dense
from history import gallery
from history.entries import Entry
from history.sources import Picture
from history.tests.rows import NOON


def picture(number=1, **values):
    values = {"id": f"p{number}", "url": f"/media/p{number}", "width": 64, "height": 48} | values
    return Picture(**{"is_nsfw": False, "stored": True} | values)


def entry(**values):
    usual = {
        "source": "flux",
        "source_label": "FLUX",
        "id": "t1",
        "user_id": 1,
        "model": "fal-ai/flux-1/dev",
        "model_name": "FLUX.1 dev",
        "prompt": "a lighthouse",
        "image_url": "/media/p1",
        "status": "SUCCESS",
        "created_at": NOON,
        "is_favourite": False,
        "pictures": [picture()],
    }
    return Entry(**usual | values)


SHAPES = {
    "plain": entry(),
    "a favourite": entry(is_favourite=True),
    "of another source": entry(source="jimeng", id="a/b c?d%e", model_name="即梦"),
    "three pictures, one of them veiled": entry(
        pictures=[picture(1), picture(2, is_nsfw=True), picture(3, width=None, height=None)]
    ),
    "veiled": entry(pictures=[picture(is_nsfw=True)]),
    "of unknown size": entry(pictures=[picture(width=None, height=None)]),
    "elsewhere": entry(
        pictures=[picture(id="", url="https://cdn.example/a?b=1&c=2", stored=False)]
    ),
    "not saved yet": entry(pictures=[picture(stored=False)]),
    "lost": entry(pictures=[picture(lost=True, stored=False)]),
    "no picture": entry(pictures=[]),
    "failed": entry(pictures=[], status="FAILED", explained_at="/?task=t1#task-t1"),
    "failed elsewhere": entry(pictures=[], status="FAILED"),
    "without a prompt": entry(prompt=""),
    "a long prompt": entry(prompt="雨夜的茶馆，" * 30),
    "markup": entry(prompt="<b onclick=\"x\">&amp; 'quoted' {{ entry.key }} {0} %s</b>"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_an_item_is_what_the_template_makes_of_its_entry(shape, language):
    with translation.override(language):
        # Twice: the second comes from what the first left behind.
        gallery.items([SHAPES[shape]])
        written = gallery.items([SHAPES[shape]])
        rendered = render_to_string(gallery.TEMPLATE, {"entry": SHAPES[shape], "is_early": True})

    assert written == dense(rendered)


def test_the_pictures_of_the_first_screen_are_not_lazy():
    written = gallery.items([entry(id=f"t{n}") for n in range(gallery.EARLY + 2)])

    lazy = ['loading="lazy"' in item for item in written.split("</li>")[:-1]]
    assert lazy == [False] * gallery.EARLY + [True, True]


def test_entries_of_one_shape_keep_their_own_values():
    written = gallery.items([entry(id="t1", prompt="one"), entry(id="t2", prompt="<two>")])

    assert written.count("<li ") == 2
    assert written.index("flux:t1") < written.index("flux:t2")
    assert '<p class="entry-prompt">one</p>' in written
    assert '<p class="entry-prompt">&lt;two&gt;</p>' in written
