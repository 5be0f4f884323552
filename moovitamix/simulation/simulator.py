"""Weeks lived in minutes: the twin's days, their ingestion, the loop's tasks, and listeners at the API."""

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

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from django.db import connection

from ingestion.demo.scenarios import Event, PlantedSource
from ingestion.demo.server import DemoServer
from ingestion.demo.world.reactions import Reaction, coming, draws_of, reactions
from ingestion.demo.world.world import World
from ingestion.schedules import sync_timetable
from ingestion.tasks import ingest_due
from moovitamix.simulation import simulated_days
from moovitamix.simulation.report import Planted
from moovitamix.simulation.simulated_days import Clock, midnight
from recommender.api import authentication
from recommender.models import ModelVersion
from recommender.registry.registry import champion_row
from recommender.services import verify

logger = logging.getLogger(__name__)

LIST: Final = 20
# Listeners come from 7 in the morning, when the day's tasks are done, up to 23.
OPENS, OPEN_HOURS = 7.0, 16.0
# A list is looked at, then something comes of it.
REACTS_AFTER: Final = timedelta(minutes=10)
HEARD_AFTER: Final = timedelta(minutes=12)
METHODS: Final = {True: ModelVersion.Method.CLASSIC, False: ModelVersion.Method.MIX}
Progress = Callable[[date], object]


class Quiet(WSGIRequestHandler):
    """Thousands of requests, of which each is in the tables."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


@dataclass
class Rehearsal:
    """Days to come of a world, and what was planted in those that were lived.

    Attributes:
        first: the first day, a Monday.
        counts: lists that were served, reactions, and what the API refused.
    """

    world: World
    events: list[Event]
    first: date
    storage: Path
    source: tuple[str, int]
    seed: int
    planted: list[Planted] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clock = Clock(midnight(self.first))
        self.served = PlantedSource(self.world)
        self._server: DemoServer | None = None

    def live(self, days: int, progress: Progress) -> None:
        """Live so many days, and the morning after, on which the last night's is judged."""
        with ExitStack() as running:
            running.enter_context(self.clock.rules())
            running.callback(self._go_down)
            self._come_up()
            sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
            app = App(running.enter_context(web_server()), api_key())
            for number in range(days):
                self._day(number, app)
                progress(self.first + timedelta(days=number))
            self._morning(days)

    def _day(self, number: int, app: "App") -> None:
        self._morning(number)
        day = midnight(self.first + timedelta(days=number))
        rng = draws_of(self.seed, number)
        for listener, share in coming(self.world, rng):
            at = day + timedelta(hours=OPENS + OPEN_HOURS * share)
            self.clock.set(at)
            served = app.recommendations(listener)
            if served is None:
                self.counts["asked before they were taken in"] += 1
                continue
            found = reactions(self.world, listener, [item["song"]["id"] for item in served["items"]], rng)
            self.counts["lists"] += 1
            self.counts.update(one.kind for one in found)
            self.clock.set(at + REACTS_AFTER)
            app.tell(listener, served["recommendation_id"], found)
            heard = [one.song for one in found if one.kind == "listen"]
            known = self.world.known(heard)
            if known:
                self.world.record_session(listener, known, at + HEARD_AFTER)
        self.world.advance()

    def _morning(self, number: int) -> None:
        """What is planted, the source's rows, and the day's tasks."""
        day = midnight(self.first + timedelta(days=number))
        self.clock.set(day)
        for event in self.events:
            if event.ends(number):
                self._end(event)
            if event.begins(number):
                self._begin(event)
        self.clock.set(day + timedelta(hours=2, minutes=1))
        simulated_days.attempt(ingest_due)
        simulated_days.forget(self.storage)
        if number == 0:
            self._found()
        simulated_days.morning(day, self.clock, self.storage, lambda: self._propose(number))

    def _found(self) -> None:
        is_handicapped = any(event.kind == "better" for event in self.events)
        simulated_days.found(METHODS[is_handicapped])
        simulated_days.forget(self.storage)
        champion = champion_row()
        self._note("better", champion.label if champion else "")

    def _propose(self, number: int) -> None:
        if any(event.kind == "worse" and event.begins(number) for event in self.events):
            version = simulated_days.propose_spoiled(self.storage, self.clock(), verify)
            self._note("worse", version.label)

    def _begin(self, event: Event) -> None:
        if event.kind == "outage":
            self._go_down()
        elif event.kind == "reset":
            self.served.new_catalogue()
        elif event.kind == "feed":
            self.served.break_feature(event.terms["feature"], event.terms["value"], self._today())
        elif event.kind == "drift":
            self.world.shift_tastes(event.terms["styles"], event.terms["weight"])
        since = self.clock()
        subject = str(event.terms.get("feature", ""))
        self.planted.append(
            Planted(event.kind, event.told, since, since + timedelta(days=event.days), subject)
        )

    def _end(self, event: Event) -> None:
        if event.kind == "outage":
            self._come_up()
        elif event.kind == "reset":
            self.served.come_back()
        elif event.kind == "feed":
            self.served.mend_features()

    def _note(self, kind: str, subject: str) -> None:
        """Which version the last planted event of this kind is about."""
        for place, one in reversed(list(enumerate(self.planted))):
            if one.kind == kind and not one.subject:
                self.planted[place] = Planted(one.kind, one.told, one.since, one.until, subject)
                return

    def _today(self) -> date:
        return self.clock().date()

    def _come_up(self) -> None:
        self._server = DemoServer(self.served, *self.source)
        self._server.start()

    def _go_down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


@dataclass(frozen=True)
class App:
    """The music app, as the API sees it: one key, one request after the other."""

    address: tuple[str, int]
    key: str

    def recommendations(self, listener: int) -> dict[str, Any] | None:
        """A new list; None where the listener is not known yet."""
        status, body = self._ask("GET", f"/api/v1/users/{listener}/recommendations/?n={LIST}")
        if status == http.client.NOT_FOUND:
            return None
        return self._checked(status, body)

    def tell(self, listener: int, list_id: str, found: list[Reaction]) -> None:
        events = [
            {"event_id": f"{list_id}:{one.song}", "user_id": listener, "song_id": one.song, "kind": one.kind,
             "seconds": one.seconds, "recommendation_id": list_id}
            for one in found
        ]  # fmt: skip
        if events:
            self._checked(*self._ask("POST", "/api/v1/feedback/", orjson.dumps(events)))

    def _checked(self, status: int, body: bytes) -> dict[str, Any]:
        if status >= http.client.BAD_REQUEST:
            raise ConnectionError(f"The API answered {status}: {body[:300].decode(errors='replace')}")
        answer: dict[str, Any] = orjson.loads(body)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        asked = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            asked.request(method, path, body, headers)
            answer = asked.getresponse()
            return answer.status, answer.read()
        finally:
            asked.close()


def api_key() -> str:
    user, _ = User.objects.get_or_create(username="rehearsal")
    return authentication.issue_key("rehearsal", user)[1]


@contextmanager
def web_server() -> Iterator[tuple[str, int]]:
    """The project's own pages and API in a thread of this process, which so has this process's time."""
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)

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
