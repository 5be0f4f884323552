"""The watchdog inside every web process: somebody looks also where Beat and the workers are gone."""

import logging
from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread
from typing import Final

from django.db import Error, connections
from django.utils import timezone

from ingestion.services import run_watchdog

logger = logging.getLogger(__name__)

# Where the whole machine starts, Beat and the workers have given their signs of life by then.
FIRST_DELAY: Final = 120.0  # seconds
INTERVAL: Final = 60.0

WatchdogRound = Callable[[datetime], object]


def start_watchdog(
    run_round: WatchdogRound = run_watchdog, first_delay: float = FIRST_DELAY, interval: float = INTERVAL
) -> Event:
    """Look again and again in a thread that ends with its process, or when the returned event is set."""
    stop = Event()
    Thread(
        target=_run_rounds, args=(run_round, first_delay, interval, stop), name="watchdog", daemon=True
    ).start()
    return stop


def _run_rounds(run_round: WatchdogRound, first_delay: float, interval: float, stop: Event) -> None:
    pause, said = first_delay, ""
    while not stop.wait(pause):
        pause = interval
        try:
            run_round(timezone.now())
            said = ""
        except Error as error:
            # A database that is away, or has no tables yet: said once, not every minute.
            if said != type(error).__name__:
                logger.warning("watchdog_waits_for_database reason=%s", type(error).__name__)
            said = type(error).__name__
        except Exception:
            logger.exception("watchdog_round_broke")
        finally:
            # This thread's own; a connection that is kept for a minute is one that others lack.
            connections.close_all()
