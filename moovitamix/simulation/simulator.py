"""Simulates days: ingestion from the demo source, the day's tasks, and listeners that use the API."""

import http.client
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from numpy.typing import NDArray

from ingestion.demo.scenarios import DAYS_PER_WEEK, ScenarioEvent, ScenarioSource
from ingestion.demo.server import DemoServer
from ingestion.demo.world.reactions import (
    Reaction,
    draw_reactions,
    draw_visits,
    rng_for_day,
    rng_for_listener,
)
from ingestion.demo.world.world import World
from ingestion.schedules import sync_timetable
from moovitamix.simulation import simulated_days
from moovitamix.simulation.report import PlantedEvent
from moovitamix.simulation.service_process import ServiceProcess
from moovitamix.simulation.simulated_process import SimulatedClock, clear_process_caches, midnight
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
T = TypeVar("T")


class Visit(NamedTuple):
    listener: int
    at: datetime


class RecordedPlays(NamedTuple):
    at: datetime
    listener: int
    songs: list[int]


@dataclass
class Simulation:
    """Consecutive days of a synthetic world."""

    world: World
    events: list[ScenarioEvent]
    first_day: date  # a Monday
    storage: Path
    source_address: tuple[str, int]
    seed: int
    services: Sequence[ServiceProcess]
    planted: list[PlantedEvent] = field(default_factory=list)  # the events injected so far
    # Served lists, reactions by kind, and requests of listeners that are not imported yet.
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clock = SimulatedClock(midnight(self.first_day))
        self.scenario_source = ScenarioSource(self.world)
        self._server: DemoServer | None = None
        self._tastes: dict[int, NDArray[np.float64]] = {}  # before a fad

    def run_days(self, days: int, progress: ProgressCallback) -> None:
        """Simulate the days, and the next morning, whose tasks review the last day."""
        with ExitStack() as running:
            running.enter_context(self.clock.replace_system_time())
            threads = running.enter_context(ThreadPoolExecutor(len(self.services)))
            running.push(self._stop_services_after_error)
            running.callback(self._stop_source)
            self._start_source()
            sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
            key = create_api_key()
            apps = [MusicAppClient(service, key) for service in self.services]
            for number in range(days):
                self._run_day(number, apps, threads)
                progress(self.first_day + timedelta(days=number))
            self._run_morning(days, threads)

    def _stop_services_after_error(self, kind: type[BaseException] | None, *_: object) -> None:
        # Otherwise the threads would go on with the visits and tasks of the day.
        if kind is not None:
            for service in self.services:
                service.stop()

    def _run_day(self, number: int, apps: "list[MusicAppClient]", threads: ThreadPoolExecutor) -> None:
        self._run_morning(number, threads)
        day = midnight(self.first_day + timedelta(days=number))
        visits = [
            Visit(listener, day + timedelta(hours=OPENING_HOUR + HOURS_OPEN * share))
            for listener, share in draw_visits(self.world, rng_for_day(self.seed, number))
        ]
        # A listener's requests always reach the same process.
        parts = [[one for one in visits if one.listener % len(apps) == place] for place in range(len(apps))]
        recorded: list[RecordedPlays] = []
        visited = [
            threads.submit(self._simulate_visits, app, part, number)
            for app, part in zip(apps, parts, strict=True)
        ]
        for counts, plays in _results(visited):
            self.counts.update(counts)
            recorded += plays
        for at, listener, songs in sorted(recorded):
            self.world.record_session(listener, songs, at)
        self.world.advance()

    def _simulate_visits(
        self, app: "MusicAppClient", visits: list[Visit], number: int
    ) -> tuple[Counter[str], list[RecordedPlays]]:
        """Request a list at each visit, and send the reactions; returns counts and the plays to record."""
        counts: Counter[str] = Counter()
        plays = []
        try:
            for listener, at in visits:
                served = app.get_recommendations(listener, at)
                if served is None:
                    counts["not yet imported"] += 1
                    continue
                # The result must not depend on which process is faster.
                rng = rng_for_listener(self.seed, number, listener)
                reactions = self._draw_reactions(listener, served, number, rng)
                counts["lists"] += 1
                counts.update(one.kind for one in reactions)
                app.send_feedback(listener, served["recommendation_id"], reactions, at + REACTION_DELAY)
                played = self.world.available_songs([one.song for one in reactions if one.kind == "listen"])
                if played:
                    plays.append(RecordedPlays(at + PLAY_DELAY, listener, played))
        finally:
            connection.close()
        return counts, plays

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

    def _run_morning(self, number: int, threads: ThreadPoolExecutor) -> None:
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
        # Beside this process, which serves the source's pages.
        self.services[0].run_task("ingest", self.clock())
        clear_process_caches(self.storage)
        if number == 0:
            self._train_first_champion()
        simulated_days.run_daily_tasks(
            day, self.clock, self.storage, after_review=lambda: self._propose_spoiled(number),
            prepare_lists=lambda: self._prepare_lists(threads),
        )  # fmt: skip

    def _prepare_lists(self, threads: ThreadPoolExecutor) -> None:
        """Run both parts of `prepare_candidate_lists` at once, as two workers would."""
        now = self.clock()
        tasks = zip(self.services, ("prepare-lists", "try-challengers"), strict=True)
        _results([threads.submit(service.run_task, name, now) for service, name in tasks])

    def _train_first_champion(self) -> None:
        is_handicapped = any(event.kind == "better" for event in self.events)
        simulated_days.train_first_champion(FIRST_METHODS[is_handicapped])
        clear_process_caches(self.storage)
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
            self._break_challengers(event.parameters["share"])
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
            self._break_challengers(0.0)

    def _break_challengers(self, share: float) -> None:
        for service in self.services:
            service.broken_share = share

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


def _results(started: Sequence[Future[T]]) -> list[T]:
    """The results in order, or the first error, for which the others are not waited for."""
    done, _ = wait(started, return_when=FIRST_EXCEPTION)
    for one in done:
        one.result()
    return [one.result() for one in started]


@dataclass(frozen=True)
class MusicAppClient:
    service: ServiceProcess
    key: str

    def get_recommendations(self, listener: int, at: datetime) -> dict[str, Any] | None:
        path = f"/api/v1/users/{listener}/recommendations/?n={LIST_LENGTH}"
        status, body = self._send_request("GET", path, at)
        if status == http.client.NOT_FOUND:
            return None
        return self._parse_answer(status, body)

    def send_feedback(self, listener: int, list_id: str, reactions: list[Reaction], at: datetime) -> None:
        events = [
            {"event_id": f"{list_id}:{one.song}", "user_id": listener, "song_id": one.song, "kind": one.kind,
             "seconds": one.seconds, "recommendation_id": list_id}
            for one in reactions
        ]  # fmt: skip
        if events:
            self._parse_answer(*self._send_request("POST", "/api/v1/feedback/", at, orjson.dumps(events)))

    def _parse_answer(self, status: int, body: bytes) -> dict[str, Any]:
        if status >= http.client.BAD_REQUEST:
            raise ConnectionError(f"The API answered {status}: {body[:300].decode(errors='replace')}")
        answer: dict[str, Any] = orjson.loads(body)
        return answer

    def _send_request(
        self, method: str, path: str, at: datetime, body: bytes | None = None
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        return self.service.send_request(method, path, at, body=body, headers=headers)


def create_api_key() -> str:
    user, _ = User.objects.get_or_create(username="rehearsal")
    return authentication.issue_key("rehearsal", user)[1]
