"""Simulated visits: what listeners do does not depend on how the visits are shared out."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from ingestion.demo.world.reactions import Reaction
from ingestion.demo.world.world import World
from moovitamix.simulation import simulator
from moovitamix.simulation.simulator import RecordedPlays, Simulation, Visit

MORNING = datetime(2026, 11, 2, 7, tzinfo=UTC)


class SameListForAll:
    """An app that gets the same songs for each listener and keeps the reactions that it sends."""

    def __init__(self, songs: list[int]) -> None:
        self._songs = songs
        self.sent: dict[int, list[Reaction]] = {}

    def get_recommendations(self, listener: int, at: datetime) -> dict[str, Any]:
        return {"recommendation_id": "", "items": [{"song": {"id": song}} for song in self._songs]}

    def send_feedback(self, listener: int, list_id: str, reactions: list[Reaction], at: datetime) -> None:
        self.sent[listener] = reactions


def test_reactions_do_not_depend_on_the_other_visits_of_the_process() -> None:
    world = World(songs=60, listeners=12, days=2)
    simulation = Simulation(world, [], date(2026, 11, 2), Path(), ("127.0.0.1", 0), seed=7, services=[])
    listeners = [row["id"] for row in world.rows("users")]
    visits = [Visit(one, MORNING + timedelta(minutes=place)) for place, one in enumerate(listeners)]
    songs = [row["id"] for row in world.rows("tracks")][:20]

    def simulate(*parts: list[Visit]) -> tuple[dict[int, list[Reaction]], Counter[str], list[RecordedPlays]]:
        app: Any = SameListForAll(songs)
        counts: Counter[str] = Counter()
        plays: list[RecordedPlays] = []
        # In a thread, which has a database connection of its own and closes it.
        with ThreadPoolExecutor(1) as thread:
            for part in parts:
                some, further = thread.submit(simulation._simulate_visits, app, part, 3).result()
                counts.update(some)
                plays += further
        return app.sent, counts, sorted(plays)

    together = simulate(visits)
    apart = simulate(visits[1::2], visits[::2])

    assert apart == together
    assert together[1]["lists"] == len(visits)
    assert together[1]["listen"] > 1
    assert {play.at - timedelta(minutes=12) for play in together[2]} <= {visit.at for visit in visits}


def test_an_error_of_one_process_is_raised_while_the_other_one_works() -> None:
    go_on = Event()

    def fail() -> bool:
        raise ConnectionError("It ended.")

    with ThreadPoolExecutor(2) as threads:
        try:
            with pytest.raises(ConnectionError, match="It ended"):
                simulator._results([threads.submit(go_on.wait), threads.submit(fail)])
            assert not go_on.is_set()
        finally:
            go_on.set()
