"""What does it cost to copy a result into our storage, with its check and its thumbnails?

Baseline: what one writes at first. `requests.get(…).content`, all of it in memory; Pillow
decodes it whole; both thumbnails by Lanczos from the full size and as WebP with its default
method; `ContentFile` into Django's FileSystemStorage. Ours is `generation.storage.ingest` with
the default storage of a site, SHA-256 included, which the baseline does without. Each is a
process of its own with eight threads, against a local server that sends files by the kernel.
No database is asked.

- `store`: a file of 4 MB that is a very small picture with a long tail, so that next to
  nothing but copying is measured.
- `whole`: a picture of 1 megapixel, all of the way.
- `check`: decoding and thumbnails alone, in one thread, in memory, of 1 and 24 megapixels.

`cpu` is of the process, user and system; `memory` is the peak of its resident memory above
what it had before the round began, everything loaded. Medians of interleaved rounds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from benchmarks.startup import ROOT, clean_environment

THREADS = 8
STORED_BYTES = 4 * 1024 * 1024
SIZES = {"1mp.jpg": (1024, 1024), "24mp.jpg": (6000, 4000)}
WAYS = ("ours", "naive")


def run(*, quick: bool) -> dict[str, Any]:
    rounds, many, few = (1, 16, 2) if quick else (5, 160, 20)
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        make_files(files)
        with served(files) as url:
            parts = {
                "store": ("store", f"{url}/stored.jpg", many, THREADS),
                "whole": ("store", f"{url}/1mp.jpg", many, THREADS),
                "check_1mp": ("check", files / "1mp.jpg", 2 * few),
                "check_24mp": ("check", files / "24mp.jpg", few // 2),
            }
            taken: dict[str, dict[str, list[Any]]] = {
                part: {way: [] for way in WAYS} for part in parts
            }
            for _round in range(rounds):
                for part, (verb, *arguments) in parts.items():
                    for way in WAYS:
                        taken[part][way].append(measure(verb, way, *arguments))
    figures = {
        part: {way: medians(outcomes) for way, outcomes in ways.items()}
        for part, ways in taken.items()
    }
    tell(figures)
    ratios = {f"{part}_cpu": ratio(figures[part], "cpu_ms") for part in figures}
    ratios |= {f"{part}_memory": ratio(figures[part], "extra_mb") for part in figures}
    return {"ratios": ratios, "figures": figures, "load_average": os.getloadavg()[0]}


# ---------------------------------------------------------------- files
def make_files(directory: Path) -> None:
    for name, size in SIZES.items():
        (directory / name).write_bytes(jpeg(clouds(size)))
    small = jpeg(clouds((64, 64)))
    (directory / "small.jpg").write_bytes(small)
    # What follows the end of a JPEG is kept and never looked at.
    (directory / "stored.jpg").write_bytes(small + os.urandom(STORED_BYTES - len(small)))


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def clouds(size: tuple[int, int]) -> Image.Image:
    """A picture with as much detail at each scale as photographs have: half per octave."""
    bands = []
    for _band in "RGB":
        band, cells, strength = Image.new("L", size, 128), 4, 50.0
        while cells <= max(size):
            noise = Image.effect_noise((cells, cells), strength)
            noise = noise.resize(size, Image.Resampling.BICUBIC)
            band = ImageChops.add(band, noise, offset=-128)
            cells, strength = 2 * cells, strength / 2**0.5
        bands.append(band)
    return Image.merge("RGB", bands)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._file_server", str(directory)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


# ---------------------------------------------------------------- figures
def measure(verb: str, way: str, *arguments: object) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as data_dir:
        outcome = subprocess.run(
            [sys.executable, "-m", "benchmarks._ingester", verb, way, *map(str, arguments)],
            cwd=ROOT,
            env=clean_environment() | {"DATA_DIR": data_dir, "LOG_LEVEL": "WARNING"},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return json.loads(outcome.stdout)


def medians(outcomes: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in outcomes) for name in outcomes[0]}


def ratio(figures: dict[str, dict[str, float]], name: str) -> float:
    return figures["ours"][name] / figures["naive"][name]


def tell(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    for part, ways in figures.items():
        for way, each in ways.items():
            print(
                f"{part:10}  {way:5}: {each['cpu_ms']:7.1f} ms of CPU, {each['wall_ms']:7.1f} ms"
                f" a picture, at most {each['extra_mb']:6.1f} MB more memory"
            )
