"""Prepare candidate lists, or request lists of listeners with longer histories, and print what it took.

Usage: python -m benchmarks.growth.serving_run preparation|history|workers SIZE...

With `workers`, sizes are numbers of processes that prepare the lists of all due listeners together.
"""

import subprocess
import sys
import time
from datetime import timedelta
from typing import Any, Final

import django
import orjson

django.setup()

from django.conf import settings
from django.utils import timezone

from benchmarks.memory import peak_memory
from ingestion.models import Listener, ListeningHistory, Song
from recommender.models import CandidateList, ServedList
from recommender.registry import model_loader
from recommender.serving.candidates.candidate_cache import (
    generate_rows,
    listeners_due,
    prepare_lists,
    prepare_part,
    split_due,
)
from recommender.serving.candidates.candidates import BLOCK_LISTENERS
from recommender.serving.list_limits import ServingOptions
from recommender.serving.recommendations import recommend

REQUESTS: Final = 40
SONGS_PER_SESSION: Final = 10


def measure_preparation(listeners: int) -> float:
    """CPU seconds for candidate lists of so many listeners."""
    loaded = model_loader.current_model(settings.MODEL_STORAGE)
    chosen = list(Listener.objects.order_by("pk").values_list("pk", flat=True)[:listeners])
    before = time.process_time()
    made = prepare_lists(chosen, loaded, timezone.now())
    cpu = time.process_time() - before
    if made != listeners:
        sys.exit(f"{made} candidate lists were prepared for {listeners} listeners")
    CandidateList.objects.all().delete()
    return cpu


def measure_request(sessions: int) -> float:
    """Median CPU seconds of a request whose candidate list is prepared, of a listener with these sessions."""
    now = timezone.now()
    listener = Listener.objects.order_by("-pk").values_list("pk", flat=True)[sessions % 997]
    songs = list(Song.objects.order_by("pk").values_list("pk", flat=True)[:500])
    ListeningHistory.objects.filter(user_id=listener).delete()
    ListeningHistory.objects.bulk_create(
        ListeningHistory(
            user_id=listener, items=[songs[(number + place) % 500] for place in range(SONGS_PER_SESSION)],
            created_at=now - timedelta(hours=1 + number), updated_at=now,
        )
        for number in range(sessions)
    )  # fmt: skip
    options = ServingOptions(settings.MODEL_STORAGE)
    recommend(listener, options=options)
    times = []
    for _ in range(REQUESTS):
        before = time.process_time()
        recommend(listener, options=options)
        times.append(time.process_time() - before)
        # Otherwise each request would read the lists of those before it.
        ServedList.objects.filter(listener_id=listener).delete()
    return sorted(times)[REQUESTS // 2]


def measure_workers(workers: int) -> float:
    """CPU seconds of the busiest of so many processes that prepare the lists of all due listeners.

    With a free core for each, and a database that none waits for, they are seconds by the clock. Those would
    measure what else the machine does.
    """
    loaded = model_loader.current_model(settings.MODEL_STORAGE)
    CandidateList.objects.all().delete()
    due = len(listeners_due(loaded, timezone.now()))
    command = [sys.executable, "-m", "benchmarks.growth.serving_run", "worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen(command, text=True, **pipes) for _ in range(workers)]  # type: ignore[call-overload]
    for one in started:
        one.stdout.readline()  # loaded and warm
    for one in started:
        one.stdin.write("\n")
        one.stdin.flush()
    done = [orjson.loads(one.communicate()[0]) for one in started]
    if (made := sum(one["lists"] for one in done)) != due:
        sys.exit(f"{made} candidate lists were prepared for {due} due listeners")
    return float(max(one["cpu_seconds"] for one in done))


def work() -> None:
    """One process of `measure_workers`: says that it is ready, waits for a line, and prints its figures."""
    loaded = model_loader.current_model(settings.MODEL_STORAGE)
    due = listeners_due(loaded, timezone.now())
    generate_rows(due[:BLOCK_LISTENERS], loaded, timezone.now())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    # As many tasks as for a large site: a worker goes on with the next part that no other one has.
    begun = time.process_time()
    lists = sum(prepare_part(*part, loaded, timezone.now()) for part in sorted(split_due(due).items()))
    figures = {"lists": lists, "cpu_seconds": time.process_time() - begun}
    sys.stdout.buffer.write(orjson.dumps(figures))


def main(kind: str, sizes: list[int]) -> None:
    measure = {"preparation": measure_preparation, "history": measure_request, "workers": measure_workers}[
        kind
    ]
    measure(sizes[0])
    found: list[dict[str, Any]] = [
        {"cpu_seconds": measure(size), "peak_memory": peak_memory()} for size in sizes
    ]
    sys.stdout.buffer.write(orjson.dumps({"sizes": found}))


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work()
    else:
        main(sys.argv[1], [int(size) for size in sys.argv[2:]])
