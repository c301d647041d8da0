"""Every text has a Chinese version, and what is shipped is what was translated."""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.translation import gettext as translate
from django.utils.translation import override

from generation import catalogue, errors

LOCALE = settings.BASE_DIR / "locale"
CATALOGUE = LOCALE / "zh_Hans" / "LC_MESSAGES" / "django.po"

_ENTRY_LINE = re.compile(r'(?:(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) )?(".*")$')


def read(path: Path) -> list[dict[str, str]]:
    """Return the entries of a .po file; `flags` holds what stands behind `#,`."""
    entries = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        entry: dict[str, str] = {"flags": ""}
        field = ""
        for line in block.splitlines():
            if line.startswith("#,"):
                entry["flags"] += line
            elif match := _ENTRY_LINE.match(line):
                field = match[1] or field
                entry[field] = entry.get(field, "") + literal_eval(match[2])
        if "msgid" in entry:
            entries.append(entry)
    return entries


def key(entry: dict[str, str]) -> str:
    context = entry.get("msgctxt")
    return f"{context}\x04{entry['msgid']}" if context else entry["msgid"]


def text(entry: dict[str, str]) -> str:
    return entry.get("msgstr") or entry.get("msgstr[0]", "")


def test_every_text_is_translated_and_none_is_a_guess():
    entries = read(CATALOGUE)

    assert [key(entry) for entry in entries if not text(entry)] == []
    assert [key(entry) for entry in entries if "fuzzy" in entry["flags"]] == []


def test_a_translation_has_the_places_of_its_original():
    def places(words: str) -> set[str]:
        return set(re.findall(r"%\(\w+\)|\{\w+\}", words))

    texts = [entry for entry in read(CATALOGUE) if entry["msgid"]]

    assert [key(entry) for entry in texts if places(text(entry)) != places(entry["msgid"])] == []


def test_what_is_shipped_is_what_was_translated():
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)._catalog

    compiled = {
        msgid[0] if isinstance(msgid, tuple) else msgid: words for msgid, words in shipped.items()
    }
    written = {key(entry): text(entry) for entry in read(CATALOGUE)}
    compiled.pop("", None)
    written.pop("", None)
    assert compiled == written


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="gettext is not installed")
def test_every_text_of_the_code_is_in_the_catalogue(tmp_path):
    for name in ("fluxsite", "generation", "credits", "history", "templates"):
        source = settings.BASE_DIR / name
        ignored = shutil.ignore_patterns("__pycache__", "tests", "migrations")
        shutil.copytree(source, tmp_path / name, ignore=ignored)
    (tmp_path / "locale").mkdir()
    arguments = ["makemessages", "--locale", "zh_Hans", "--no-location", "--verbosity", "0"]
    command = [sys.executable, "-m", "django", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)

    fresh = read(tmp_path / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po")

    known = {key(entry) for entry in read(CATALOGUE)}
    assert sorted({key(entry) for entry in fresh} - known) == []


def test_the_texts_of_the_catalogues_are_translated():
    labels = {
        parameter.label
        for model in catalogue.MODELS
        for endpoint in model.endpoints
        for parameter in endpoint.parameters
    }
    words = [
        *labels,
        *(model.summary for model in catalogue.MODELS),
        *(explanation.cause for explanation in errors.EXPLANATIONS.values()),
        *(explanation.advice for explanation in errors.EXPLANATIONS.values()),
    ]

    with override("zh-hans"):
        assert [each for each in words if translate(each) == each] == []


@pytest.mark.parametrize(
    ("accepted", "title"), [("zh-CN,zh;q=0.9", "登录"), ("en-GB", "Log in"), ("fr", "Log in")]
)
def test_the_browsers_language_decides_first(client, db, accepted, title):
    html = client.get("/login", headers={"Accept-Language": accepted}).content.decode()

    assert f"<title>{title} · Fluxsite</title>" in html


def test_a_chosen_language_goes_before_the_browsers(client, db):
    chosen = client.post("/language", {"language": "zh-hans", "next": "/login"}, follow=True)

    assert "<title>登录 · Fluxsite</title>" in chosen.content.decode()
