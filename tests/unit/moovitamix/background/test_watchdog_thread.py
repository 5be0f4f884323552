"""The watchdog thread of a web process continues after any error."""

import logging
from datetime import datetime
from threading import Event
from threading import enumerate as all_threads

import pytest
from django.db import OperationalError

from moovitamix.background import watchdog_thread


def test_it_looks_again_after_every_kind_of_error(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception | None] = [
        OperationalError("away"), OperationalError("away"), ValueError("odd"), None, OperationalError("away"),
    ]  # fmt: skip
    done = Event()
    looked: list[datetime] = []

    def look(now: datetime) -> None:
        looked.append(now)
        if not errors:
            done.set()
            return
        error = errors.pop(0)
        if error is not None:
            raise error

    with caplog.at_level(logging.WARNING, "moovitamix"):
        stop = watchdog_thread.start_watchdog(look, first_delay=0.0, interval=0.001)
        assert done.wait(10)
        stop.set()

    assert len(looked) >= 6
    assert all(at.tzinfo is not None for at in looked)
    # The same trouble is said once; after a round that went well, anew.
    said = [record.message for record in caplog.records]
    assert said == [
        "watchdog_waits_for_database reason=OperationalError",
        "watchdog_round_raised",
        "watchdog_waits_for_database reason=OperationalError",
    ]


def test_it_waits_before_the_first_look_and_does_not_keep_its_process_alive() -> None:
    looked = Event()

    stop = watchdog_thread.start_watchdog(lambda now: looked.set(), first_delay=60.0)

    (thread,) = (one for one in all_threads() if one.name == "watchdog" and one.is_alive())
    stop.set()
    thread.join(10)
    assert thread.daemon
    assert not thread.is_alive()
    assert not looked.is_set()
