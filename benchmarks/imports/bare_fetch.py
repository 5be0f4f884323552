"""Fetch every page of a source and discard it: the lower limit of an import's time.

Usage: python -m benchmarks.imports.bare_fetch URL CONNECTIONS.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import local

import orjson
import requests

PATHS = ("/tracks", "/users", "/listen_history")
thread_state = local()


def main(base_url: str, connections: int) -> None:
    before, cpu_before = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(connections) as pool:
        firsts = list(pool.map(_get, [f"{base_url}{path}?page=1&size=100" for path in PATHS]))
        lengths = [orjson.loads(body)["pages"] for body in firsts]
        count = sum(1 for _ in pool.map(_fetch, _remaining_urls(base_url, lengths)))
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu_before
    sys.stdout.buffer.write(orjson.dumps({"seconds": seconds, "cpu": cpu, "pages": count + len(firsts)}))


def _remaining_urls(base_url: str, lengths: list[int]) -> Iterator[str]:
    for path, pages in zip(PATHS, lengths, strict=True):
        for page in range(2, pages + 1):
            yield f"{base_url}{path}?page={page}&size=100"


def _get(url: str) -> bytes:
    if not hasattr(thread_state, "session"):
        thread_state.session = requests.Session()
    answer = thread_state.session.get(url, timeout=30)
    answer.raise_for_status()
    body: bytes = answer.content
    return body


def _fetch(url: str) -> None:
    _get(url)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
