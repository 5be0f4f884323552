"""The watchdog thread of web processes, so that alerts are sent even if Beat and the workers are down."""

import logging
from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread
from typing import Final

from django.db import Error, connections
from django.utils import timezone

from ingestion.services import run_watchdog

logger = logging.getLogger(__name__)

# Long enough for the first heartbeats of Beat and the workers after a restart of the machine.
FIRST_DELAY: Final = 120.0  # seconds
INTERVAL: Final = 60.0

WatchdogRound = Callable[[datetime], object]


def start_watchdog(
    run_round: WatchdogRound = run_watchdog, first_delay: float = FIRST_DELAY, interval: float = INTERVAL
) -> Event:
    """Run the watchdog periodically in a daemon thread until the returned event is set."""
    stop = Event()
    Thread(
        target=_run_rounds, args=(run_round, first_delay, interval, stop), name="watchdog", daemon=True
    ).start()
    return stop


def _run_rounds(run_round: WatchdogRound, first_delay: float, interval: float, stop: Event) -> None:
    delay, last_error = first_delay, ""
    while not stop.wait(delay):
        delay = interval
        try:
            run_round(timezone.now())
            last_error = ""
        except Error as error:
            # The database is unavailable or has no tables yet: logged once, not every minute.
            if last_error != type(error).__name__:
                logger.warning("watchdog_waits_for_database reason=%s", type(error).__name__)
            last_error = type(error).__name__
        except Exception:
            logger.exception("watchdog_round_raised")
        finally:
            # Not kept until the next round, because the number of connections is limited.
            connections.close_all()
