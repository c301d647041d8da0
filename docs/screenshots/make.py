"""Draw with a site of its own and photograph its pages.

    .venv/bin/python docs/screenshots/make.py               the pictures of the readmes
    .venv/bin/python docs/screenshots/make.py --all DIR     every page, size, theme and language

Site and sandbox run on free ports in a directory that is gone afterwards; `--data DIR` keeps
it, and what was drawn there, for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a password for pictures"

SIZES = {"phone": (360, 780), "tablet": (768, 1024), "desktop": (1440, 900)}
PAGES = {
    "studio": "/",
    "history": "/history",
    "trash": "/history/trash",
    "packed": "/history/exports",
    "credits": "/credits",
    "tokens": "/tokens",
    "account": "/account",
    "missing": "/no/such/page",
}
STAFF_PAGES = {
    "admin": "/admin/",
    "dashboard": "/admin/dashboard/",
    "admin-list": "/admin/generation/fluxtask/",
    "admin-form": "/admin/generation/fluxconfig/default/change/",
    "api-docs": "/api/docs",
}

#: What is drawn, oldest first: prompt, model, pictures, shape, and the rule it falls under.
TASKS = [
    ("A ceramic cup on pale stone, morning light", "fal-ai/flux-1/schnell", 1, "4:3", ""),
    ("A small town of layered paper, lanterns between the roofs", "fal-ai/flux-2", 2, "3:2", ""),
    ("窗台上的橘猫，午后阳光，胶片质感", "fal-ai/flux-pro/v1.1-ultra", 1, "3:4", ""),
    ("A lighthouse above a stormy sea at dusk", "fal-ai/flux-1/dev", 4, "1:1", ""),
    ("竹林深处的石阶，雨后，水墨", "fal-ai/flux-1/dev", 1, "9:16", ""),
    ("Desert dunes under the stars", "fal-ai/flux-1/dev", 1, "21:9", ""),
    ("A tram in a quiet city street, evening", "fal-ai/flux-2-pro", 1, "16:9", ""),
    ("Portrait of a violinist, oil on canvas", "fal-ai/flux-1/dev", 2, "3:4", "content_policy"),
    ("雪山脚下的湖泊，晨雾，远处有飞鸟", "fal-ai/flux-2", 1, "3:2", ""),
    ("Still life with pears and a blue jug", "fal-ai/flux-1/schnell", 3, "1:1", ""),
    ("山间的小茶馆，清晨的薄雾", "fal-ai/flux-1/dev", 2, "3:2", ""),
]
#: What is being written in the picture of the studio.
PROMPTS = {
    "en": "A wooden pier in the fog, a single lantern, soft morning light",
    "zh": "雾中的木栈桥，一盏孤灯，清晨柔和的光",
}
#: Asked for last, and never finished: one is being drawn, the others wait.
OPEN_TASKS = [
    ("A harbour town in winter, seen from the sea", "fal-ai/flux-2-pro", 1, "21:9", "IN_PROGRESS"),
    ("月光下的古桥", "fal-ai/flux-1/dev", 2, "1:1", "IN_QUEUE"),
]


# ---------------------------------------------------------------- the site
@dataclass
class Site:
    url: str
    sandbox: str
    environment: dict[str, str]

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def shell(self, *lines: str) -> str:
        return self.manage("shell", "--no-imports", "-c", "\n".join(lines))


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def call(url: str, body: Any = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {token}"} if token else {}
    )
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@contextlib.contextmanager
def site(data: Path) -> Iterator[Site]:
    """Run a site that draws with a sandbox as if that were fal: without the sandbox's badge."""
    port, sandbox_port = free_port(), free_port()
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    environment = {
        **os.environ,
        "DATA_DIR": str(data),
        "PORT": str(port),
        "ADMIN_PASSWORD": PASSWORD,
        "FAL_KEY": "a key for pictures",
        "FAL_BASE_URL": sandbox,
        "CREDITS_STARTING_GRANT": "2000",
        "LOG_LEVEL": "ERROR",
    }
    here = Site(url=f"http://127.0.0.1:{port}", sandbox=sandbox, environment=environment)
    manage = [sys.executable, str(ROOT / "manage.py")]
    programs = [
        subprocess.Popen(
            [*manage, "sandbox_fal", "--port", str(sandbox_port), "--generation-seconds", "0.3"],
            stdout=subprocess.DEVNULL,
            env=environment,
        ),
        subprocess.Popen([*manage, "start"], stdout=subprocess.DEVNULL, env=environment),
    ]
    try:
        wait_for(lambda: call(f"{here.url}/healthz"))
        wait_for(lambda: call(f"{sandbox}/"))
        yield here
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait(timeout=30)


def wait_for(condition: Any, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if answer := condition():
                return answer
        if time.monotonic() > end:
            msg = "It does not come."
            raise SystemExit(msg)
        time.sleep(0.1)


# ---------------------------------------------------------------- what is on it
def draw(here: Site) -> None:
    here.shell(
        "from django.contrib.auth.models import User",
        f"User.objects.create_user('alice', email='alice@example.org', password={PASSWORD!r})",
        f"User.objects.create_user('bob', password={PASSWORD!r})",
    )
    token = here.manage("create_token", "alice", "--name", "Open WebUI").strip()
    for prompt, model, count, shape, fault in TASKS:
        if fault:
            call(f"{here.sandbox}/_sandbox/faults", {"kind": fault, "prompt": prompt})
        task = order(here, token, prompt, model, count, shape)
        wait_for(lambda task=task: finished(here, token, task))
    here.shell(
        "from generation.models import FluxTask",
        "for task in FluxTask.objects.filter(status='SUCCESS').order_by('pk')[2:5]:",
        "    FluxTask.objects.filter(pk=task.pk).update(is_favourite=True)",
        "FluxTask.objects.filter(generation_time__gt=0).update(generation_time=3.4)",
    )


def order(here: Site, token: str, prompt: str, model: str, count: int, shape: str) -> str:
    body: dict[str, Any] = {"prompt": prompt, "model": model, "aspect_ratio": shape}
    if count > 1:
        body["num_images"] = count
    return call(f"{here.url}/api/flux/text-to-image", body, token)["id"]


def finished(here: Site, token: str, task: str) -> bool:
    state = call(f"{here.url}/api/flux/task/{task}", token=token)
    if state["status"] not in ("SUCCESS", "FAILED"):
        return False
    return all("/media/" in image["image_url"] for image in state["images"])


def open_tasks(here: Site, asked: list[tuple[str, str, int, str, str]]) -> None:
    """Ask for what stays unfinished. The sandbox forgets when it ends, so each time anew."""
    here.shell(
        "from generation.models import FluxTask",
        "FluxTask.objects.exclude(status__in=['SUCCESS', 'FAILED']).delete()",
    )
    token = here.manage("create_token", "alice", "--name", "CI").strip()
    for prompt, model, count, shape, state in asked:
        rule = {"kind": "never_completes", "prompt": prompt, "state": state}
        call(f"{here.sandbox}/_sandbox/faults", rule)
        order(here, token, prompt, model, count, shape)
    time.sleep(3)
    here.shell(
        "from fluxsite.models import ApiToken",
        "ApiToken.objects.filter(name='CI').delete()",
    )


# ---------------------------------------------------------------- photographs
#: A Debian without a desktop would show its last resort among fonts.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <selectfont><rejectfont><glob>*/dejavu/*</glob></rejectfont></selectfont>
</fontconfig>
"""


def visit(
    browser: Browser,
    here: Site,
    *,
    size: tuple[int, int],
    theme: str,
    language: str,
    user: str = "alice",
    scale: float = 1,
) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme,
        locale=language,
        device_scale_factor=scale,
        has_touch=size[0] < 500,
        is_mobile=size[0] < 500,
        reduced_motion="reduce",
    )
    page = context.new_page()
    if user:
        page.goto(f"{here.url}/login")
        page.locator("#id_username").fill(user)
        page.locator("#id_password").fill(PASSWORD)
        page.locator("form.stack button").click()
        page.wait_for_url(f"{here.url}/")
    return page


def settle(page: Page) -> None:
    page.wait_for_load_state("networkidle") if "/api/docs" in page.url else page.wait_for_timeout(
        300
    )
    page.evaluate("document.fonts.ready")
    page.wait_for_function(
        """() => [...document.images].every((image) => image.complete || image.loading === "lazy"
            || !image.checkVisibility())"""
    )
    page.wait_for_timeout(150)


def shoot(page: Page, path: Path, *, whole: bool = False, quality: int = 80) -> None:
    settle(page)
    with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as picture:
        if path.suffix == ".webp":
            picture.convert("RGB").save(path, quality=quality, method=6)
        else:
            picture.save(path)
    print(path)


def everything(browser: Browser, here: Site, target: Path, only: str) -> None:
    combinations = itertools.product(SIZES.items(), ("light", "dark"), ("en-GB", "zh-CN"))
    for (name, size), theme, language in combinations:
        mark = f"{name}-{theme}-{language[:2]}"
        if only and not any(word in mark for word in only.split(",")):
            continue
        page = visit(browser, here, size=size, theme=theme, language=language)
        for place, address in PAGES.items():
            page.goto(f"{here.url}{address}")
            shoot(
                page,
                target / f"{place}-{mark}.png",
                whole=place in ("studio", "credits", "account"),
            )
        page.goto(f"{here.url}/history")
        page.locator("a[data-picture]:not([hidden])").nth(3).click()
        page.wait_for_timeout(600)
        shoot(page, target / f"viewer-{mark}.png")
        page.context.close()
        page = visit(browser, here, size=size, theme=theme, language=language, user="")
        page.goto(f"{here.url}/login")
        shoot(page, target / f"login-{mark}.png")
        page.context.close()
        page = visit(browser, here, size=size, theme=theme, language=language, user="bob")
        shoot(page, target / f"first-{mark}.png")
        page.context.close()
        page = visit(browser, here, size=size, theme=theme, language=language, user="admin")
        for place, address in STAFF_PAGES.items():
            page.goto(f"{here.url}{address}")
            shoot(page, target / f"{place}-{mark}.png")
        page.context.close()


def for_readmes(browser: Browser, here: Site, target: Path) -> None:
    """In each readme's language: the studio, the history, one picture, and a phone."""
    for language, mark in (("en-GB", "en"), ("zh-CN", "zh")):
        page = visit(browser, here, size=SIZES["desktop"], theme="light", language=language)
        page.locator("#prompt").fill(PROMPTS[mark])
        page.locator("[name=aspect_ratio][value='3:2']").check(force=True)
        page.wait_for_timeout(400)
        shoot(page, target / f"studio-{mark}.webp")
        page.context.close()
        page = visit(browser, here, size=SIZES["desktop"], theme="dark", language=language)
        page.goto(f"{here.url}/history")
        shoot(page, target / f"history-{mark}.webp")
        page.locator(".entry", has_text="A lighthouse").locator("a[data-picture]").first.click()
        page.wait_for_timeout(600)
        shoot(page, target / f"viewer-{mark}.webp")
        page.context.close()
        phones(browser, here, target / f"phone-{mark}.webp", language)


def phones(browser: Browser, here: Site, path: Path, language: str) -> None:
    """Four screens of a phone side by side: studio, its settings, history, one picture."""
    page = visit(browser, here, size=SIZES["phone"], theme="light", language=language, scale=1.5)
    screens = []

    def keep() -> None:
        settle(page)
        screens.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))

    page.locator("[data-state=done]").first.scroll_into_view_if_needed()
    keep()
    page.locator(".settings-open").tap()
    page.wait_for_timeout(400)
    keep()
    page.context.add_cookies([{"name": "theme", "value": "dark", "url": here.url}])
    page.goto(f"{here.url}/history")
    keep()
    page.locator("a[data-picture]:not([hidden])").nth(1).tap()
    page.wait_for_timeout(600)
    keep()
    gap, width, height = 24, screens[0].width, screens[0].height
    sheet = Image.new("RGB", (len(screens) * (width + gap) + gap, height + 2 * gap), "#d8d9d5")
    for number, screen in enumerate(screens):
        sheet.paste(screen, (gap + number * (width + gap), gap))
    sheet.save(path, quality=78, method=6)
    print(path)
    page.context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, help="a directory for every page in every manner")
    parser.add_argument("--only", default="", help="with --all: such as phone-dark")
    parser.add_argument("--data", type=Path, help="keep the site's data here")
    options = parser.parse_args()
    data = options.data or Path(tempfile.mkdtemp(prefix="fluxsite-pictures-"))
    is_new = not (data / "fluxsite.sqlite3").exists()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    try:
        with site(data) as here, sync_playwright() as playwright:
            if is_new:
                draw(here)
            open_tasks(here, OPEN_TASKS if options.all else OPEN_TASKS[:1])
            (data / "fonts.conf").write_text(FONTS)
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox"],
                env={**os.environ, "FONTCONFIG_FILE": str(data / "fonts.conf")},
            )
            if options.all:
                options.all.mkdir(parents=True, exist_ok=True)
                everything(browser, here, options.all, options.only)
            else:
                for_readmes(browser, here, Path(__file__).parent)
            browser.close()
    finally:
        if not options.data:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main()
