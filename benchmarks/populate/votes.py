"""Add feedback on random songs of an imported catalogue.

Usage: python -m benchmarks.populate.votes EVENTS.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Final

import django
import numpy as np

django.setup()

from django.utils import timezone

from ingestion.models import Listener, Song
from recommender.models import Feedback

SEED: Final = 7
KINDS: Final = ("like", "listen", "listen", "skip", "dislike")
BLOCK_ROWS: Final = 2_000


def fill_votes(events: int) -> None:
    rows = _events(events)
    while block := list(islice(rows, BLOCK_ROWS)):
        Feedback.objects.bulk_create(block)


def _events(events: int) -> Iterator[Feedback]:
    songs = np.array(Song.objects.order_by("pk").values_list("pk", flat=True))
    listeners = np.array(Listener.objects.order_by("pk").values_list("pk", flat=True))
    draws = np.random.default_rng(SEED)
    first = timezone.now() - timedelta(days=50)
    # Popular songs get more votes, as in the catalogue's plays.
    places = (draws.power(0.4, events) * len(songs)).astype(int)
    for number, (song, listener) in enumerate(
        zip(songs[places].tolist(), draws.choice(listeners, events).tolist(), strict=True)
    ):
        at = first + timedelta(days=50) * number / events
        kind = KINDS[number % len(KINDS)]
        yield Feedback(
            event_id=str(number), listener_id=listener, song_id=song, kind=kind,
            seconds=200.0 if kind == "listen" else None, at=at, received_at=at,
        )  # fmt: skip


if __name__ == "__main__":
    fill_votes(int(sys.argv[1]))
