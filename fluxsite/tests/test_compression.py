"""Pages, styles and scripts travel compressed, and a first visit is small."""

from __future__ import annotations

import gzip
import re

import brotli
import pytest
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.templatetags.static import static
from django.test import RequestFactory

from fluxsite import compression

#: What a first visit may weigh without its pictures, in bytes.
MOST = 60_000

GZIP = {"Accept-Encoding": "gzip, deflate"}
BROTLI = {"Accept-Encoding": "gzip, deflate, br, zstd"}
UNPACK = {"gzip": gzip.decompress, "br": brotli.decompress}


def body(answer) -> bytes:
    return b"".join(answer) if answer.streaming else answer.content


@pytest.mark.parametrize("encoding", UNPACK)
@pytest.mark.parametrize("name", ["css/base.css", "js/lightbox.js"])
def test_a_file_of_ours_travels_without_its_comments(client, db, name, encoding):
    plain = client.get(static(name))
    packed = client.get(static(name), headers={"Accept-Encoding": encoding})

    assert packed["Content-Encoding"] == encoding
    ours, sent = (
        each.decode().splitlines() for each in (body(plain), UNPACK[encoding](body(packed)))
    )
    # Lines keep their numbers, for whoever looks for a mistake in the browser.
    assert len(sent) == len(ours)
    assert {line for line in sent if line.strip()} < set(ours)
    assert not any(line.lstrip().startswith(("/*", "//")) for line in sent)
    assert packed["Content-Type"] == plain["Content-Type"]
    assert "Accept-Encoding" in plain["Vary"]
    assert "Content-Encoding" not in plain


def test_files_of_others_travel_unchanged(client, db):
    path = static("vendor/htmx-2.0.11.min.js")

    packed = client.get(path, headers=GZIP)

    assert gzip.decompress(body(packed)) == body(client.get(path))


def test_no_script_of_ours_has_a_line_of_text_that_looks_like_a_comment():
    for script in (settings.BASE_DIR / "static/js").glob("*.js"):
        text = re.sub(r"^[ \t]*(//.*|/\*\*[\s\S]*?\*/)", "", script.read_text(), flags=re.MULTILINE)
        assert text.count("`") % 2 == 0, script.name
        assert "/*" not in re.sub(r"[\"'`].*?[\"'`]", "", text), script.name


def test_only_what_is_a_page_by_itself_carries_a_policy(client, db):
    files = [static("img/mark.svg"), static("css/base.css"), static("js/dom.js")]
    answers = [client.get(path) for path in ["/login", *files]]

    assert all(body(answer) for answer in answers)
    policies = [answer.get("Content-Security-Policy") for answer in answers]
    assert policies == [policies[0], policies[0], None, None]
    assert {answer["X-Content-Type-Options"] for answer in answers} == {"nosniff"}


def test_a_browser_that_has_it_is_told_so(client, db):
    address = static("css/base.css")
    tag = client.get(address, headers=GZIP)["ETag"]

    assert client.get(address, headers={**GZIP, "If-None-Match": tag}).status_code == 304


def test_a_large_file_is_not_pressed_for_seconds(client, db):
    address = static("drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")

    packed = body(client.get(address, headers=BROTLI))

    assert packed == brotli.compress(brotli.decompress(packed), quality=5)


def test_a_page_is_compressed_for_those_who_can_read_it(client, db):
    packed = client.get("/login", headers=GZIP)

    assert packed["Content-Encoding"] == "gzip"
    assert b"<!doctype html>" in gzip.decompress(packed.content)
    assert "Content-Encoding" not in client.get("/login", headers={"Accept-Encoding": "gzip;q=0"})


def test_two_answers_of_the_same_page_differ_in_size(client, db):
    sizes = {len(client.get("/no/such/page", headers=GZIP).content) for _ in range(12)}

    assert len(sizes) > 1


@pytest.mark.parametrize(
    "response",
    [
        StreamingHttpResponse(iter([b"data: 1\n\n"]), content_type="text/event-stream"),
        HttpResponse(b"x" * 5000, content_type="image/png"),
        HttpResponse(b"x" * 5000, content_type="application/json"),
        HttpResponse(b"short", content_type="text/html"),
    ],
    ids=["events", "a picture", "an answer to a program", "a few words"],
)
def test_what_is_no_page_stays_as_it_is(response):
    answer = compression.middleware(lambda _request: response)

    request = RequestFactory().get("/", headers=GZIP)
    assert "Content-Encoding" not in answer(request)


@pytest.mark.parametrize("path", ["/login", "/", "/history", "/credits"])
def test_a_first_visit_is_small(client, alice, path):
    if path != "/login":
        client.force_login(alice)
    page = client.get(path, headers=GZIP)
    html = gzip.decompress(page.content).decode()

    wanted = set(re.findall(r'(?:href|src)="(/static/[^"#]+\.(?:css|js))[^"]*"', html))
    wanted |= {static("img/icons.svg"), static("img/mark.svg")}
    # What modules import is fetched as well.
    for name in list(wanted):
        wanted |= imports(client, name)

    weights = {name: len(body(client.get(name, headers=GZIP))) for name in wanted}
    total = len(page.content) + sum(weights.values())
    assert total <= MOST, sorted(weights.items(), key=lambda item: -item[1])


def imports(client, name: str) -> set[str]:
    if not name.endswith(".js") or "/vendor/" in name:
        return set()
    folder = name.rsplit("/", 1)[0]
    text = body(client.get(name)).decode()
    found = {
        f"{folder}/{each}" for each in re.findall(r'from "\./([^"]+)"|import "\./', text) if each
    }
    found |= {f"{folder}/{each}" for each in re.findall(r'import "\./([^"]+)"', text)}
    return found | {deeper for each in found for deeper in imports(client, each)}
