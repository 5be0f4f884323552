"""Simulates days: ingestion from the demo source, the day's tasks, and listeners that use the API."""

import http.client
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from django.db import connection
from numpy.typing import NDArray

from ingestion.demo.scenarios import DAYS_PER_WEEK, ScenarioEvent, ScenarioSource
from ingestion.demo.server import DemoServer
from ingestion.demo.world.reactions import Reaction, draw_reactions, draw_visits, rng_for_day
from ingestion.demo.world.world import World
from ingestion.schedules import sync_timetable
from ingestion.tasks import ingest_due
from moovitamix.simulation import simulated_days
from moovitamix.simulation.report import PlantedEvent
from moovitamix.simulation.simulated_days import SimulatedClock, midnight
from recommender.api import authentication
from recommender.experiments import assignment
from recommender.models import ModelVersion, ServedList
from recommender.registry.registry import current_champion
from recommender.services import verify_artifact
from recommender.serving.list_limits import LIST_LENGTH

logger = logging.getLogger(__name__)

# Listeners visit between 07:00, when the day's tasks are done, and 23:00.
OPENING_HOUR, HOURS_OPEN = 7.0, 16.0
# Time from a served list to the listener's feedback and plays.
REACTION_DELAY: Final = timedelta(minutes=10)
PLAY_DELAY: Final = timedelta(minutes=12)
FIRST_METHODS: Final = {True: ModelVersion.Method.CLASSIC, False: ModelVersion.Method.MIX}
ProgressCallback = Callable[[date], object]


class QuietRequestHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


@dataclass
class Simulation:
    """Consecutive days of a synthetic world."""

    world: World
    events: list[ScenarioEvent]
    first_day: date  # a Monday
    storage: Path
    source_address: tuple[str, int]
    seed: int
    planted: list[PlantedEvent] = field(default_factory=list)  # the events injected so far
    # Served lists, reactions by kind, and requests of listeners that are not imported yet.
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clock = SimulatedClock(midnight(self.first_day))
        self.scenario_source = ScenarioSource(self.world)
        self._server: DemoServer | None = None
        self._tastes: dict[int, NDArray[np.float64]] = {}  # before a fad
        self._broken = ExitStack()  # lets challengers fail until it is closed

    def run_days(self, days: int, progress: ProgressCallback) -> None:
        """Simulate the days, and the next morning, whose tasks review the last day."""
        with ExitStack() as running:
            running.enter_context(self.clock.replace_system_time())
            running.callback(self._stop_source)
            running.enter_context(self._broken)
            self._start_source()
            sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
            app = MusicAppClient(running.enter_context(serve_in_thread()), create_api_key())
            for number in range(days):
                self._run_day(number, app)
                progress(self.first_day + timedelta(days=number))
            self._run_morning(days)

    def _run_day(self, number: int, app: "MusicAppClient") -> None:
        self._run_morning(number)
        day = midnight(self.first_day + timedelta(days=number))
        rng = rng_for_day(self.seed, number)
        for listener, share in draw_visits(self.world, rng):
            at = day + timedelta(hours=OPENING_HOUR + HOURS_OPEN * share)
            self.clock.move_to(at)
            served = app.get_recommendations(listener)
            if served is None:
                self.counts["not yet imported"] += 1
                continue
            reactions = self._draw_reactions(listener, served, number, rng)
            self.counts["lists"] += 1
            self.counts.update(one.kind for one in reactions)
            self.clock.move_to(at + REACTION_DELAY)
            app.send_feedback(listener, served["recommendation_id"], reactions)
            played = self.world.available_songs([one.song for one in reactions if one.kind == "listen"])
            if played:
                self.world.record_session(listener, played, at + PLAY_DELAY)
        self.world.advance()

    def _draw_reactions(
        self, listener: int, served: dict[str, Any], number: int, rng: np.random.Generator
    ) -> list[Reaction]:
        songs = [item["song"]["id"] for item in served["items"]]
        reactions = draw_reactions(self.world, listener, songs, rng)
        for event in self._under_way("bots", number):
            if assignment.hash_to_share("bot", listener) < event.parameters["share"]:
                items = ServedList.objects.get(pk=served["recommendation_id"]).items
                return [Reaction(item["song"], "like") for item in items if item.get("by_challenger")]
        return reactions

    def _under_way(self, kind: str, number: int) -> list[ScenarioEvent]:
        return [event for event in self.events if event.kind == kind and event.is_under_way(number)]

    def _run_morning(self, number: int) -> None:
        day = midnight(self.first_day + timedelta(days=number))
        self.clock.move_to(day)
        for event in self.events:
            if event.ends_on(number):
                self._end_event(event)
            if event.begins_on(number):
                self._begin_event(event)
            if event.kind == "drift" and (weight := event.weekly_weight(number)):
                self.world.shift_tastes(event.parameters["styles"], weight)
        self.clock.move_to(day + timedelta(hours=2, minutes=1))
        simulated_days.run_logging_errors(ingest_due)
        simulated_days.clear_process_caches(self.storage)
        if number == 0:
            self._train_first_champion()
        simulated_days.run_daily_tasks(day, self.clock, self.storage, lambda: self._propose_spoiled(number))

    def _train_first_champion(self) -> None:
        is_handicapped = any(event.kind == "better" for event in self.events)
        simulated_days.train_first_champion(FIRST_METHODS[is_handicapped])
        simulated_days.clear_process_caches(self.storage)
        champion = current_champion()
        self._set_subject("better", champion.label if champion else "")

    def _propose_spoiled(self, number: int) -> None:
        if any(event.kind == "worse" and event.begins_on(number) for event in self.events):
            version = simulated_days.propose_spoiled_version(self.storage, self.clock(), verify_artifact)
            self._set_subject("worse", version.label)
        is_sunday = number % DAYS_PER_WEEK == simulated_days.SUNDAY
        for event in self._under_way("ratchet", number) if is_sunday else ():
            simulated_days.propose_spoiled_version(
                self.storage, self.clock(), verify_artifact, strength=event.parameters["strength"]
            )

    def _begin_event(self, event: ScenarioEvent) -> None:
        if event.kind == "outage":
            self._stop_source()
        elif event.kind == "reset":
            self.scenario_source.new_catalogue()
        elif event.kind == "feed":
            self.scenario_source.break_feature(
                event.parameters["feature"], event.parameters["value"], self._today()
            )
        elif event.kind == "fad":
            self._tastes = self.world.copy_tastes()
            self.world.shift_tastes(event.parameters["styles"], event.parameters["weight"])
        elif event.kind == "late":
            self.scenario_source.delay_history(event.parameters["delay"])
        elif event.kind == "broken":
            self._broken.enter_context(simulated_days.break_challengers(event.parameters["share"]))
        since = self.clock()
        weeks = event.parameters.get("weeks", 1)
        days = event.days if weeks == 1 else DAYS_PER_WEEK * weeks
        subject = str(event.parameters.get("feature", ""))
        self.planted.append(
            PlantedEvent(event.kind, event.description, since, since + timedelta(days=days), subject)
        )

    def _end_event(self, event: ScenarioEvent) -> None:
        if event.kind == "outage":
            self._start_source()
        elif event.kind == "reset":
            self.scenario_source.restore_catalogue()
        elif event.kind == "feed":
            self.scenario_source.restore_features()
        elif event.kind == "fad":
            self.world.restore_tastes(self._tastes)
        elif event.kind == "late":
            self.scenario_source.delay_history(0)
        elif event.kind == "broken":
            self._broken.close()

    def _set_subject(self, kind: str, subject: str) -> None:
        for index, one in reversed(list(enumerate(self.planted))):
            if one.kind == kind and not one.subject:
                self.planted[index] = PlantedEvent(one.kind, one.description, one.since, one.until, subject)
                return

    def _today(self) -> date:
        return self.clock().date()

    def _start_source(self) -> None:
        self._server = DemoServer(self.scenario_source, *self.source_address)
        self._server.start()

    def _stop_source(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


@dataclass(frozen=True)
class MusicAppClient:
    address: tuple[str, int]
    key: str

    def get_recommendations(self, listener: int) -> dict[str, Any] | None:
        status, body = self._send_request("GET", f"/api/v1/users/{listener}/recommendations/?n={LIST_LENGTH}")
        if status == http.client.NOT_FOUND:
            return None
        return self._parse_answer(status, body)

    def send_feedback(self, listener: int, list_id: str, reactions: list[Reaction]) -> None:
        events = [
            {"event_id": f"{list_id}:{one.song}", "user_id": listener, "song_id": one.song, "kind": one.kind,
             "seconds": one.seconds, "recommendation_id": list_id}
            for one in reactions
        ]  # fmt: skip
        if events:
            self._parse_answer(*self._send_request("POST", "/api/v1/feedback/", orjson.dumps(events)))

    def _parse_answer(self, status: int, body: bytes) -> dict[str, Any]:
        if status >= http.client.BAD_REQUEST:
            raise ConnectionError(f"The API answered {status}: {body[:300].decode(errors='replace')}")
        answer: dict[str, Any] = orjson.loads(body)
        return answer

    def _send_request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        server = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            server.request(method, path, body, headers)
            response = server.getresponse()
            return response.status, response.read()
        finally:
            server.close()


def create_api_key() -> str:
    user, _ = User.objects.get_or_create(username="rehearsal")
    return authentication.issue_key("rehearsal", user)[1]


@contextmanager
def serve_in_thread() -> Iterator[tuple[str, int]]:
    """Serve the API in a thread, so that it uses the simulated clock; yields its address."""
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=QuietRequestHandler)

    def serve() -> None:
        try:
            server.serve_forever(poll_interval=0.1)
        finally:
            connection.close()

    thread = Thread(target=serve, name="rehearsal-web", daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
