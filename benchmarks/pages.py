"""How soon does a page answer a click, and what does it weigh?

A real Chromium asks the site that `manage.py start` runs, with sixty tasks drawn by the sandbox,
as a member with a session, from a cold cache.

    click   from the click on the run button to the frame that shows the card, beside a bare
            fetch of the same request in the same page, in turns (`card_to_fetch`)
    weight  bytes that travelled for a page without its pictures, to the 60,000 there may be
    lcp     largest contentful paint on a slow phone: 150 ms and 1.6 Mbit/s away, its processor
            a quarter as fast as ours; beside that of the login page (`lcp_to_login`), which has
            next to nothing. `cls` is how much moved meanwhile.

`--quick` has twelve tasks and two rounds. Needs Chromium, on the PATH or named by CHROMIUM.
`python -m benchmarks.pages` runs the same site until it is interrupted (docs/pages.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.polling import percentile
from benchmarks.startup import ROOT, clean_environment, free_port, started, wait_for_answer

TASKS = 60
#: What a first visit may weigh without its pictures, in bytes.
MOST = 60_000
PATHS = {"login": "/login", "studio": "/", "history": "/history", "credits": "/credits"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 412, "height": 823},
    "device_scale_factor": 1.75,
    "is_mobile": True,
    "has_touch": True,
}
#: What Lighthouse calls a slow 4G.
SLOW = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_638_400 / 8,
    "uploadThroughput": 768_000 / 8,
}
PATIENCE_SECS = 300.0

MEMBER = """
from django.contrib.auth.models import User
from django.test import Client
from fluxsite.models import ApiToken
from credits import ledger
user = User.objects.create_user("alice")
ledger.grant(user=user, amount=1_000_000, reference="bench", reason="bench", actor="bench")
client = Client()
client.force_login(user)
_token, secret = ApiToken.objects.issue(user=user, name="bench")
print(client.cookies["sessionid"].value, secret)
"""
#: From the click to the frame after the one in which the card was put.
CLICK = """() => new Promise((done) => {
    const cards = document.getElementById("cards");
    const before = cards.querySelectorAll("[data-card]").length;
    let begun = 0;
    new MutationObserver((_changes, observer) => {
        if (cards.querySelectorAll("[data-card]").length <= before) return;
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
    }).observe(cards, { childList: true, subtree: true });
    const run = document.querySelector("[data-run]");
    run.addEventListener("click", () => (begun = performance.now()), { once: true, capture: true });
    run.click();
})"""
#: The same request, and nothing done with the answer. The page's key stays its own.
FETCH = """async () => {
    const body = new FormData(document.getElementById("composer"));
    body.set("key", crypto.randomUUID?.() ?? String(Math.random()));
    const begun = performance.now();
    const answer = await fetch("/", { method: "POST", body, headers: { "HX-Request": "true" } });
    await answer.text();
    if (!answer.ok) throw new Error(answer.status);
    return performance.now() - begun;
}"""
WATCH = """
window.seen = { lcp: 0, cls: 0 };
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) seen.lcp = entry.startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) seen.cls += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


def run(*, quick: bool) -> dict[str, Any]:
    tasks, rounds, visits = (12, 2, 1) if quick else (TASKS, 20, 5)
    with site(tasks) as here, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        weights = {name: weigh(browser, here, path) for name, path in PATHS.items()}
        paints: dict[str, list[dict[str, float]]] = {name: [] for name in PATHS}
        for _visit in range(visits):
            for name, path in PATHS.items():
                paints[name].append(paint(browser, here, path))
        clicks, fetches = click(browser, here, rounds=rounds)
        browser.close()
    lcp = {name: statistics.median(each["lcp"] for each in seen) for name, seen in paints.items()}
    cls = {name: max(each["cls"] for each in seen) for name, seen in paints.items()}
    figures = {
        "card_ms": {"p50": percentile(clicks, 50), "p95": percentile(clicks, 95)},
        "fetch_ms": {"p50": percentile(fetches, 50), "p95": percentile(fetches, 95)},
        "bytes": weights,
        "lcp_ms": lcp,
        "cls": cls,
    }
    for name, value in figures.items():
        print(f"{name}: {json.dumps(value)}", flush=True)
    ratios = {"card_to_fetch": statistics.median(clicks) / statistics.median(fetches)}
    ratios["card_p95_ms"] = percentile(clicks, 95)
    for name in ("studio", "history"):
        ratios[f"{name}_weight"] = weights[name] / MOST
        ratios[f"{name}_lcp_to_login"] = lcp[name] / lcp["login"]
        ratios[f"{name}_cls"] = cls[name]
    return {"ratios": ratios, "figures": figures}


def chromium() -> str:
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, filter(None, names))), None)
    return found or sys.exit("No Chromium was found; name one with CHROMIUM=/path/to/it.")


# ---------------------------------------------------------------- the site
@dataclass(frozen=True, kw_only=True)
class Site:
    url: str
    session: str
    token: str

    def call(self, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def wait_until_drawn(self) -> None:
        """Wait until no task is open and every picture is our own."""
        end = time.monotonic() + PATIENCE_SECS
        while time.monotonic() < end:
            tasks = self.call("/api/flux/history?limit=100")["results"]
            images = [image["image_url"] for task in tasks for image in task["images"]]
            is_done = all(task["status"] == "SUCCESS" for task in tasks)
            if is_done and all("/media/" in address for address in images):
                return
            time.sleep(0.5)
        raise SystemExit("The pictures are not drawn.")


@contextlib.contextmanager
def site(tasks: int) -> Iterator[Site]:
    port, sandbox = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        env = {
            "DATA_DIR": directory,
            "PORT": str(port),
            "FAL_KEY": "a:b",
            "FAL_BASE_URL": f"http://127.0.0.1:{sandbox}",
            "LOG_LEVEL": "ERROR",
        }
        manage = [sys.executable, "manage.py"]
        draw = [*manage, "sandbox_fal", "--port", str(sandbox), "--generation-seconds", "0.2"]
        with started(draw, ROOT, env), started([*manage, "start"], ROOT, env) as server:
            wait_for_answer(f"http://127.0.0.1:{port}/healthz", server)
            made = subprocess.run(
                [*manage, "shell", "--no-imports", "-c", MEMBER],
                cwd=ROOT,
                env=clean_environment() | env,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            session, token = made.stdout.split()
            here = Site(url=f"http://127.0.0.1:{port}", session=session, token=token)
            shapes = ["1:1", "3:2", "16:9", "3:4"]
            for number in range(tasks):
                body = {
                    "model": "fal-ai/flux-1/schnell",
                    "prompt": f"A lighthouse above a stormy sea, number {number}",
                    "aspect_ratio": shapes[number % len(shapes)],
                }
                here.call("/api/flux/text-to-image", body)
            here.wait_until_drawn()
            print(f"{tasks} pictures drawn", flush=True)
            yield here


# ---------------------------------------------------------------- what is measured
@contextlib.contextmanager
def visiting(browser: Browser, here: Site, path: str, **options: Any) -> Iterator[BrowserContext]:
    """A visitor with an empty cache; on the login page, one who is not logged in yet."""
    context = browser.new_context(base_url=here.url, **options)
    if path != "/login":
        cookie = {"name": "sessionid", "value": here.session, "url": here.url}
        context.add_cookies([cookie])
    try:
        yield context
    finally:
        context.close()


def weigh(browser: Browser, here: Site, path: str) -> int:
    """Return the bytes that travelled for a page, its pictures and favicon left out."""
    with visiting(browser, here, path) as context:
        page = context.new_page()
        devtools = context.new_cdp_session(page)
        kinds: dict[str, str] = {}
        bytes_of: dict[str, float] = {}
        devtools.on(
            "Network.responseReceived",
            lambda event: kinds.update({event["requestId"]: kind_of(event)}),
        )
        devtools.on(
            "Network.loadingFinished",
            lambda event: bytes_of.update({event["requestId"]: event["encodedDataLength"]}),
        )
        devtools.send("Network.enable")
        page.goto(path)
        page.wait_for_load_state("networkidle")
        return round(sum(size for name, size in bytes_of.items() if kinds.get(name) != "Picture"))


def kind_of(event: dict[str, Any]) -> str:
    mime = event["response"]["mimeType"]
    is_picture = mime.startswith("image/") and "icons.svg" not in event["response"]["url"]
    return "Picture" if is_picture else event["type"]


def paint(browser: Browser, here: Site, path: str) -> dict[str, float]:
    with visiting(browser, here, path, **PHONE) as context:
        page = context.new_page()
        devtools = context.new_cdp_session(page)
        devtools.send("Network.enable")
        devtools.send("Network.emulateNetworkConditions", SLOW)
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        page.add_init_script(WATCH)
        page.goto(path)
        page.wait_for_load_state("networkidle")
        return page.evaluate("seen")


def click(browser: Browser, here: Site, *, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds to the card and those of the bare fetch, one of each per round."""
    clicks: list[float] = []
    fetches: list[float] = []
    with visiting(browser, here, "/") as context:
        page = context.new_page()
        open_studio(page)
        for number in range(rounds + 1):
            clicked, fetched = page.evaluate(CLICK), page.evaluate(FETCH)
            if number:  # The first one warms everything up.
                clicks.append(clicked)
                fetches.append(fetched)
            here.wait_until_drawn()
    return sorted(clicks), sorted(fetches)


def open_studio(page: Page) -> None:
    page.goto("/")
    page.wait_for_load_state("networkidle")
    page.locator("#prompt").fill("A harbour town in winter, seen from the sea")
    page.wait_for_selector("[data-run][aria-disabled=false]")


def show() -> None:
    """Keep the site up, with a Chromium in which the member is logged in, for Lighthouse.

    A header with the cookie would not do: Chromium sends it for the page, not for its pictures.
    """
    with (
        site(TASKS) as here,
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as profile,
    ):
        port = free_port()
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium(),
            args=["--no-sandbox", f"--remote-debugging-port={port}"],
        )
        context.add_cookies([{"name": "sessionid", "value": here.session, "url": here.url}])
        print(f"{here.url} --port={port}", flush=True)
        signal.pause()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        show()
