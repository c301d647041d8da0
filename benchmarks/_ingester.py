"""Takes pictures in, our way or the naive way, and tells what it cost.

`python -m benchmarks._ingester store WAY URL COUNT THREADS`, with the environment of a site,
copies the picture at URL so many times into the default storage, under a new name each time.
`… check WAY FILE COUNT` only decodes a file and makes its thumbnails, in memory. One line of
JSON tells what one picture took: `cpu_ms`, and `wall_ms`; and for all of them `extra_mb`, the
most memory above what the process had before, after taking in one small picture.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
    import django

    django.setup()
    part, way, source, *numbers = sys.argv[1:]
    if part == "check":
        content, do = Path(source).read_bytes(), {"ours": check, "naive": check_naively}[way]
        print(json.dumps(measure(lambda _number: do(content), count=int(numbers[0]), threads=1)))
        return
    count, threads = map(int, numbers)
    ingest = {"ours": ingest_ours, "naive": ingest_naively}[way]
    # What is loaded on first use is no cost of a picture.
    ingest(f"{source.rpartition('/')[0]}/small.jpg", "warm")
    print(
        json.dumps(
            measure(lambda number: ingest(source, f"{number:06}"), count=count, threads=threads)
        )
    )


# ---------------------------------------------------------------- our way
def ingest_ours(url: str, name: str) -> None:
    from generation import storage
    from generation.fetching import Hosts
    from generation.models import TaskImage

    image = TaskImage(task_id=name, position=0, provider_url=url)
    storage.ingest(image=image, allowed_hosts=Hosts(trusted=("127.0.0.1",)))


def check(content: bytes) -> None:
    from generation import pixels

    pixels.check(io.BytesIO(content))


# ---------------------------------------------------------------- the naive way
def ingest_naively(url: str, name: str) -> None:
    import requests
    from django.core.files.base import ContentFile
    from django.core.files.storage import FileSystemStorage

    content = requests.get(url).content
    thumbnails = check_naively(content)
    storage = FileSystemStorage()
    storage.save(f"{name}.jpg", ContentFile(content))
    for width, thumbnail in thumbnails.items():
        storage.save(f"{name}-{width}.webp", ContentFile(thumbnail))


def check_naively(content: bytes) -> dict[int, bytes]:
    from PIL import Image

    picture = Image.open(io.BytesIO(content))
    picture.load()
    thumbnails = {}
    for limit in (320, 640):
        width = min(limit, picture.width)
        height = round(picture.height * width / picture.width)
        buffer = io.BytesIO()
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
        small.save(buffer, "WEBP", method=4)
        thumbnails[limit] = buffer.getvalue()
    return thumbnails


# ---------------------------------------------------------------- what it takes
def measure(do: Callable[[int], object], *, count: int, threads: int) -> dict[str, float]:
    numbers, lock = iter(range(count)), threading.Lock()

    def work() -> None:
        while (number := next_of(numbers, lock)) is not None:
            do(number)

    # From here on, the most memory it had is counted anew (man 5 proc_pid_clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before, begun, cpu = memory_kb("VmRSS"), time.perf_counter(), cpu_seconds()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {
        "cpu_ms": 1000 * (cpu_seconds() - cpu) / count,
        "wall_ms": 1000 * (time.perf_counter() - begun) / count,
        "extra_mb": (memory_kb("VmHWM") - before) / 1024,
    }


def next_of(numbers: Iterable[int], lock: threading.Lock) -> int | None:
    with lock:
        return next(iter(numbers), None)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_kb(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    (value,) = re.findall(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(value)


if __name__ == "__main__":
    main()
