"""Heartbeats, and which process does a periodic check."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.jobs.heartbeats import add_facts, claim_turn, is_silent, latest_heartbeats, record_heartbeat
from ingestion.models import Heartbeat

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_a_part_that_beats_again_keeps_its_beginning_and_gets_new_facts() -> None:
    record_heartbeat("beat", NOW, entries=3)

    record_heartbeat("beat", NOW + MINUTE, entries=4)

    pulse = latest_heartbeats()["beat"]
    assert (pulse.at, pulse.since, pulse.facts) == (NOW + MINUTE, NOW, {"entries": 4})


def test_another_process_of_a_part_begins_anew() -> None:
    record_heartbeat("worker", NOW)
    Heartbeat.objects.update(pid=1)

    record_heartbeat("worker", NOW + MINUTE)

    assert latest_heartbeats()["worker"].since == NOW + MINUTE


@pytest.mark.parametrize(("after", "ours"), [(-3600, True), (0, False), (49, False), (50, True), (300, True)])
def test_a_round_is_ours_when_the_last_one_is_long_enough_ago_or_in_the_future(
    after: int, ours: bool
) -> None:
    claim_turn("watchdog", NOW, 50 * MINUTE / 60)

    assert claim_turn("watchdog", NOW + timedelta(seconds=after), 50 * MINUTE / 60) is ours


def test_what_is_noted_stays_until_the_part_beats_with_new_facts() -> None:
    add_facts("watchdog", lost=True)
    claim_turn("watchdog", NOW, MINUTE)
    add_facts("watchdog", queue=[1])
    add_facts("watchdog", checks=3)

    claim_turn("watchdog", NOW + MINUTE, MINUTE)

    assert latest_heartbeats()["watchdog"].facts == {"queue": [1], "checks": 3}


@pytest.mark.parametrize(("age", "silent"), [(0, False), (299, False), (300, True)])
def test_a_part_is_silent_after_five_minutes(age: int, silent: bool) -> None:
    record_heartbeat("beat", NOW)

    assert is_silent(latest_heartbeats()["beat"], NOW + timedelta(seconds=age)) is silent
    assert is_silent(latest_heartbeats().get("worker"), NOW) is True


def test_pulses_of_parts_are_told_apart(django_assert_num_queries: Any) -> None:
    record_heartbeat("beat", NOW)
    record_heartbeat("scheduler", NOW)

    with django_assert_num_queries(1):
        found = latest_heartbeats()

    assert sorted(found) == ["beat", "scheduler"]
