"""The official `fal-client`, as its documentation says to use it: `subscribe` per picture.

`python -m benchmarks._fal_client async|fresh|sync URL N` says `ready`, waits for a line, asks for N
pictures at once, prints when the caller had each, as time.time() by prompt, and waits for
another line. It has drawn one picture before, except as `fresh`, which is `async` as well.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

import fal_client

from benchmarks._fal_queue import WARM_UP

ENDPOINT = "fal-ai/flux-1/schnell"


class Caller:
    def __init__(self) -> None:
        self.got: dict[str, float] = {}
        self.failed: list[str] = []

    async def ask(self, client: fal_client.AsyncClient, prompt: str) -> None:
        try:
            await client.subscribe(ENDPOINT, arguments={"prompt": prompt})
        except Exception as error:  # noqa: BLE001 - any way to fail is a result here
            self.failed.append(repr(error))
        else:
            self.got[prompt] = time.time()

    def ask_in_thread(self, client: fal_client.SyncClient, prompt: str) -> None:
        try:
            client.subscribe(ENDPOINT, arguments={"prompt": prompt})
        except Exception as error:  # noqa: BLE001
            self.failed.append(repr(error))
        else:
            self.got[prompt] = time.time()

    async def run_async(self, prompts: list[str], *, fresh: bool) -> None:
        client = fal_client.AsyncClient(key="a:b")
        if not fresh:
            await client.subscribe(ENDPOINT, arguments={"prompt": WARM_UP})
        await asyncio.to_thread(wait_for_start)
        await asyncio.gather(*(self.ask(client, prompt) for prompt in prompts))

    def run_sync(self, prompts: list[str]) -> None:
        client = fal_client.SyncClient(key="a:b")
        client.subscribe(ENDPOINT, arguments={"prompt": WARM_UP})
        wait_for_start()
        threads = [
            threading.Thread(target=self.ask_in_thread, args=(client, prompt)) for prompt in prompts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def main() -> None:
    form, url, count = sys.argv[1:]
    # The client has no setting for plain http.
    fal_client.client.QUEUE_URL_FORMAT = f"{url}/"
    prompts = [f"picture {number}" for number in range(int(count))]
    caller = Caller()
    if form == "sync":
        caller.run_sync(prompts)
    else:
        asyncio.run(caller.run_async(prompts, fresh=form == "fresh"))
    print(json.dumps({"got": caller.got, "failed": caller.failed}), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
