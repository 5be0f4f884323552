"""Keeps a training company: beats its heart and looks at its memory, while it is at work elsewhere."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from typing import Final

from django.db import DatabaseError, connection

from ingestion.lease import Heart, RunLost
from ingestion.meter import Meter

logger = logging.getLogger(__name__)

# A stage may take minutes, in which others must see that this training lives; far below the lease.
BEAT_EVERY: Final = 20.0  # seconds
# A look costs 30 us; a matrix that decides the peak lives longer than this.
SAMPLE_EVERY: Final = 0.1  # seconds


@contextmanager
def kept_alive(heart: Heart, meter: Meter) -> Iterator[None]:
    """While inside, another thread beats the heart and looks at the memory."""
    ended = Event()
    # In a copy of this thread's context, so that its log lines name the training.
    thread = Thread(
        target=copy_context().run, args=(_accompany, heart, meter, ended), name="training_alive", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _accompany(heart: Heart, meter: Meter, ended: Event) -> None:
    looks = 0
    while not ended.wait(SAMPLE_EVERY):
        meter.sample()
        looks += 1
        if looks % round(BEAT_EVERY / SAMPLE_EVERY):
            continue
        try:
            heart.beat_now()
        except (RunLost, DatabaseError) as error:
            # The work itself finds out at its next stage.
            logger.warning("training_heartbeat_failed reason=%r", str(error))
        finally:
            connection.close()
