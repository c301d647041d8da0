"""The documents tell the truth where a machine can tell."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxsite import env

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "docs/configuration.md"
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        "docs/configuration.md",
        "docs/administration.md",
        "deploy/README.md",
        "docs/api.md",
        "docs/openai.md",
        "docs/backup.md",
        "docs/operations.md",
        "docs/reports.md",
    )
]
READERS = {
    *("text", "flag", "integer", "choice", "words", "path", "address", "database", "email"),
    *("matching", "time_zone"),
}
SOURCES = [
    path
    for folder in ("fluxsite", "generation", "history", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.parts
] + [ROOT / "conftest.py"]


def documented_variables() -> list[str]:
    """Return the names in the first column of all tables of docs/configuration.md."""
    return re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION.read_text(), re.MULTILINE)


def read_variables() -> Iterator[str]:
    """Yield the names the source asks `fluxsite.env` for, whether or not it was run yet."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="env"), attr=reader),
                    args=[ast.Constant(value=str(name)), *_],
                ) if reader in READERS:
                    yield name


def script_variables() -> set[str]:
    """Return the environment variables `run` and `.ci/run` ask for by ${NAME-…}."""
    scripts = (ROOT / "run").read_text() + (ROOT / ".ci/run").read_text()
    return set(re.findall(r"\$\{([A-Z][A-Z_]+)[:}+-]", scripts))


def test_every_variable_is_documented_and_every_documented_one_is_read():
    read = {*read_variables(), *script_variables()}
    # NAME_FILE is the same for all and told once.
    read = {name for name in read if not name.endswith("_FILE")}

    assert sorted(documented_variables()) == sorted(read)


def test_every_variable_has_a_default_and_an_example():
    rows = re.findall(r"^\| `[A-Z_]+` \|.*$", CONFIGURATION.read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]

    assert [row[0] for row in cells if len(row) != 4 or not all(row)] == []


def test_what_has_been_read_so_far_was_found_in_the_source():
    read = {name for name in env.declared if not name.startswith("TEST_ENV_")}

    assert read <= {*read_variables()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text())

    missing = [target for target in targets if not (document.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize(("name", "limit"), [("README.md", 150), ("CONTRIBUTING.md", 60)])
def test_a_document_stays_short(name, limit):
    assert len((ROOT / name).read_text().splitlines()) <= limit


def test_both_readmes_tell_the_same():
    english, chinese = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))

    def names(text: str) -> list[list[str]]:
        """Return what is set as code in each row of each table."""
        return [re.findall(r"`[^`]+`", row) for row in text.splitlines() if row.startswith("|")]

    assert names(english) == names(chinese)
