"""OpenAI's own client at the web server that `start` runs: what it sends is understood, what it
gets is what it expects."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest
from PIL import Image

from fluxsite.tests.test_start_site import PROC, Site, running

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc")

PREPARE = """
from django.contrib.auth.models import User
from fluxsite.models import ApiToken
for name in ("alice", "poor"):
    user = User.objects.create(username=name)
    print(ApiToken.objects.issue(user=user, name="test")[1])
"""


@dataclass(frozen=True, kw_only=True)
class Door:
    site: Site
    alice: str
    poor: str

    def client(self, token: str = "", **options: object) -> openai.OpenAI:
        base = f"http://127.0.0.1:{self.site.port}/v1"
        return openai.OpenAI(base_url=base, api_key=token or self.alice, **options)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A site with one process of two threads, and the tokens of two members."""
    directory = tmp_path_factory.mktemp("v1")
    with running(directory, WEB_THREADS="2", WORKERS="4", OPENAI_WAIT_SECONDS="20") as site:
        alice, poor = site.manage("shell", "-v0", "-c", PREPARE).split()
        yield Door(site=site, alice=alice, poor=poor)


def opened(encoded: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    image.load()
    return image


def test_a_picture_is_drawn_and_comes_with_the_answer(door):
    answer = door.client().images.generate(model="gpt-image-1", prompt="a lighthouse")

    [picture] = answer.data
    image = opened(picture.b64_json)
    assert (image.format, image.size) == ("PNG", (1024, 1024))
    assert picture.url is None
    assert answer.usage.total_tokens == 0
