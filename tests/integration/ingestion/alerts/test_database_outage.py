"""The incident of an unavailable database survives in its file, whatever happens to file or process."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.alerts import database_outage
from ingestion.alerts.channels import MessageContent, NotSent
from ingestion.models import Incident

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Ear:
    """A channel that stores the messages it is given, or raises its `error`."""

    name: str
    error: Exception | None = None
    heard: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, content: MessageContent) -> None:
        if self.error is not None:
            raise self.error
        self.heard.append((subject, content["id"]))


def away(minutes: float, place: Path, *ears: Ear) -> int:
    return database_outage.database_unavailable(
        NOW + timedelta(minutes=minutes), place, "OperationalError: refused", ears, remind_after=DAY,
        link="http://127.0.0.1/", language="en",
    )  # fmt: skip


def back(minutes: float, place: Path) -> Incident | None:
    return database_outage.database_recovered(
        NOW + timedelta(minutes=minutes), place, link="http://127.0.0.1/", language="en"
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "var" / "database-away.json"


def test_many_processes_of_a_machine_tell_once(place: Path) -> None:
    ear = Ear("email")
    away(0, place, ear)

    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: away(4, place, ear), range(8)))

    assert sum(sent) == len(ear.heard) == 1


@pytest.mark.parametrize("written", ["", "{", "[]", '{"since": "soon"}', '{"since": null, "told_at": 3}'])
def test_a_damaged_file_is_as_good_as_none(place: Path, written: str) -> None:
    ear = Ear("email")
    place.parent.mkdir()
    place.write_text(written)

    assert [away(minutes, place, ear) for minutes in (0, 4, 5)] == [0, 1, 0]


def test_a_channel_that_breaks_in_any_way_is_tried_again_and_stops_no_other(place: Path) -> None:
    down = Ear("slack", NotSent("Slack answered 503", down=True))
    broken, well = Ear("other-1", RuntimeError("https://secret")), Ear("email")
    away(0, place, down, broken, well)
    first = away(4, place, down, broken, well)
    down.error = broken.error = None
    second = away(5, place, down, broken, well)

    assert (first, second) == (1, 2)
    assert [len(ear.heard) for ear in (down, broken, well)] == [1, 1, 1]


@pytest.mark.django_db
def test_who_died_before_the_file_was_gone_keeps_one_incident(place: Path) -> None:
    ear = Ear("email")
    away(0, place, ear)
    away(4, place, ear)
    left = place.read_text()
    first = back(60, place)
    place.write_text(left)
    second = back(61, place)

    assert first is not None
    assert first == second
    assert first.resolved_at == NOW + timedelta(hours=1)
    assert first.notifications.get().subject == ear.heard[0][0]
    assert not place.exists()


@pytest.mark.django_db
def test_where_every_channel_was_silent_the_outage_is_recorded_and_nobody_is_told(place: Path) -> None:
    assert back(0, place) is None
    away(0, place)
    short = back(1, place)
    away(2, place)
    away(12, place)

    incident = back(13, place)

    assert short is None
    assert incident is not None
    assert (incident.resolved_at, incident.notifications.count()) == (NOW + timedelta(minutes=13), 0)
