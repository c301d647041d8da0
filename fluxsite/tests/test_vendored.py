"""What others wrote and we serve is listed, with version, licence and hash."""

from __future__ import annotations

import hashlib
import re

from django.conf import settings

VENDOR = settings.BASE_DIR / "static/vendor"
ROW = re.compile(
    r"^\| `([^`]+)` \| [^|]+ \| ([\d.]+) \| [^|]+\(`([^`]+)`\) \| `(\w{64})` \|$", re.M
)


def test_every_vendored_script_is_listed_with_its_true_hash():
    listed = {row[0]: row for row in ROW.findall((VENDOR / "README.md").read_text())}

    scripts = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css", ".mjs")}
    assert set(listed) == scripts
    for name, version, licence, digest in listed.values():
        content = (VENDOR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert version in name
        assert version in content.decode()
        assert (VENDOR / licence).is_file()


def test_no_page_names_another_host():
    pages = (settings.BASE_DIR / "templates").rglob("*.html")
    loads = re.compile(r"""(?:src|href)=["'](?:https?:)?//|url\(["']?https?:""")

    assert [str(page) for page in pages if loads.search(page.read_text())] == []


def test_no_template_has_a_script_or_a_style_of_its_own():
    """The policy refuses them; and a page without them needs no exception."""
    inline = re.compile(r"<style\b|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", re.I)

    pages = (settings.BASE_DIR / "templates").rglob("*.html")
    assert [str(page) for page in pages if inline.search(page.read_text())] == []
