"""Kills web, worker, Beat, Valkey and PostgreSQL at random moments, and checks what is left.

Each round starts an import, a training or a promotion, or only feedback, while apps send feedback all the
time. Somewhere inside, one part gets SIGKILL and is started again. The next import must succeed and agree
with the source; every acknowledged event must be stored once; there is one champion, and every version is
intact.
"""

import itertools
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import requests

from benchmarks.service.faults.installation import BEAT, POSTGRES, VALKEY, WEB, WORKER, Installation
from benchmarks.workspace import MeasurementFailed
from ingestion.demo.source import LISTEN_HISTORY, TRACKS, USERS
from ingestion.demo.world.world import World
from tests.support.project import ROOT

VICTIMS: Final = (WEB, WORKER, BEAT, VALKEY, POSTGRES)
# What happens meanwhile, and how many seconds it takes at most on an idle machine.
PHASES: Final = {"import": 2.5, "training": 4.0, "promotion": 1.5, "feedback": 1.0}
SENDERS: Final = 2
RETRY_PAUSE: Final = 0.1
# The web process may be started again only after this time.
MAX_OUTAGE: Final = 1.0

START: Final = {
    "import": "from ingestion.tasks import ingest_on_request; ingest_on_request.delay()",
    "training": "from recommender.tasks import train_on_request; train_on_request.delay()",
}
LABEL: Final = """
from recommender.models import ModelVersion
others = ModelVersion.objects.exclude(role__in=["withdrawn", "champion"])
print(others.order_by("?").values_list("label", flat=True)[0])
"""
# Waits for jobs that outlived the kill, imports once more, and prints what is stored.
CHECK: Final = """
import json, time
from django.utils import timezone
from ingestion.models import IngestionRun, Listener, ListeningHistory, Song
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import ingest_now
from recommender.models import Feedback, ModelVersion, TrainingRun
from recommender.monitoring.health_checks import training_failed
from recommender.services import verify_artifact
problems, run, end = [], None, time.monotonic() + 120
while run is None and time.monotonic() < end:
    try:
        run = ingest_now()
    except AlreadyRunning:
        time.sleep(0.3)
while TrainingRun.objects.filter(status="running").exists() and time.monotonic() < end:
    training_failed(timezone.now())
    time.sleep(0.3)
if run is None or run.status != "succeeded":
    problems.append(f"the next import ended as {run.status}: {run.error}" if run else "an import never ended")
for model in (IngestionRun, TrainingRun):
    if model.objects.filter(status="running").exists():
        problems.append(f"a {model.__name__} is running for ever")
if ModelVersion.objects.filter(role="champion").count() != 1:
    problems.append("there is not one champion")
for version in ModelVersion.objects.exclude(role="withdrawn"):
    try:
        verify_artifact(version)
    except Exception as error:
        problems.append(f"{version.label} is not intact: {error}")
current = dict(missing_since=None, unavailable_at=None)
counts = [model.objects.filter(**current).count() for model in (Song, Listener, ListeningHistory)]
print(json.dumps(dict(problems=problems, counts=counts)))
"""
STORED: Final = """
import json
from django.db.models import Count
from recommender.models import Feedback
doubled = Feedback.objects.values("event_id", "key_id").annotate(n=Count("pk")).filter(n__gt=1).count()
sent = set(open({file!r}).read().split())
stored = set(Feedback.objects.values_list("event_id", flat=True))
print(json.dumps(dict(lost=len(sent - stored), doubled=doubled, stored=len(stored))))
"""


@dataclass
class KillTotals:
    rounds: int = 0
    by_part: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    failed_requests: int = 0
    lost: int = 0
    doubled: int = 0
    recoveries: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class FeedbackSender(threading.Thread):
    """An app that sends one event after another, each until it is acknowledged."""

    def __init__(
        self, installation: Installation, number: int, listeners: list[int], songs: list[int]
    ) -> None:
        super().__init__(daemon=True)
        self._url = f"{installation.url}/api/v1/feedback/"
        self._headers = {"Authorization": f"Bearer {installation.key}"}
        self._draws = random.Random(number)
        self._number, self._listeners, self._songs = number, listeners, songs
        self._over = threading.Event()
        self.acknowledged: list[str] = []
        self.failures = 0

    def run(self) -> None:
        with requests.Session() as session:
            for count in itertools.count():
                event = {
                    "event_id": f"{self._number}-{count}", "kind": "like",
                    "user_id": self._draws.choice(self._listeners),
                    "song_id": self._draws.choice(self._songs),
                }  # fmt: skip
                while not self._over.is_set() and not self._send(session, event):
                    self.failures += 1
                    self._over.wait(RETRY_PAUSE)
                if self._over.is_set():
                    return

    def end(self) -> None:
        self._over.set()
        self.join()

    def _send(self, session: requests.Session, event: dict[str, Any]) -> bool:
        try:
            answer = session.post(self._url, json=event, headers=self._headers, timeout=20)
        except requests.RequestException:
            return False
        if answer.status_code not in {200, 201}:
            return False
        self.acknowledged.append(str(event["event_id"]))
        return True


class KillRounds:
    def __init__(self, installation: Installation, world: World, seed: int) -> None:
        self._installation, self._world = installation, world
        self._rng = random.Random(seed)
        self.totals = KillTotals()

    def run(self, rounds: int, progress: Callable[[str], None]) -> KillTotals:
        """Kill each part `rounds` times."""
        self._prepare()
        senders = self._start_senders()
        phases = list(itertools.islice(itertools.cycle(PHASES), rounds))
        cases = list(itertools.product(VICTIMS, phases))
        self._rng.shuffle(cases)
        try:
            for number, (part, phase) in enumerate(cases, 1):
                self._run_round(number, part, phase)
                progress(
                    f"kill {number} of {len(cases)}: {part} inside {phase}, back after "
                    f"{self.totals.recoveries[-1]:.1f} s, {len(self.totals.problems)} problems"
                )
        finally:
            for sender in senders:
                sender.end()
        self._compare(senders)
        return self.totals

    def _prepare(self) -> None:
        """Import a catalogue, train two versions to promote in turn, and start all parts."""
        project = self._installation.project
        project.manage("runingest", "--json")
        for _ in range(2):
            project.manage("retrain", "--json")
        for part in (WEB, WORKER, BEAT):
            self._installation.start(part)
        self._installation.wait_until_ready()

    def _start_senders(self) -> list[FeedbackSender]:
        ids = json.loads(self._shell(
            "import json; from ingestion.models import *; print(json.dumps([list(m.objects.values_list('pk', "
            "flat=True)[:200]) for m in (Listener, Song)]))"
        ))  # fmt: skip
        senders = [FeedbackSender(self._installation, number, *ids) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        return senders

    def _run_round(self, number: int, part: str, phase: str) -> None:
        self._world.advance()
        self._begin(phase)
        time.sleep(self._rng.uniform(0, PHASES[phase]))
        self._installation.kill(part)
        begun = time.monotonic()
        time.sleep(self._rng.uniform(0, MAX_OUTAGE))
        self._installation.start(part)
        self._installation.wait_until_ready()
        self.totals.recoveries.append(time.monotonic() - begun)
        self.totals.rounds += 1
        self.totals.by_part[part] += 1
        problems = self._find_problems()
        self.totals.problems += [f"round {number}, {part} inside {phase}: {problem}" for problem in problems]

    def _begin(self, phase: str) -> None:
        if phase == "promotion":
            self._installation.project.start(
                sys.executable, str(ROOT / "manage.py"), "promote", self._shell(LABEL), "--reason=soak"
            )
        elif phase in START:
            self._shell(START[phase])

    def _find_problems(self) -> list[str]:
        told = json.loads(self._shell(CHECK).splitlines()[-1])
        expected = [len(self._world.rows(resource)) for resource in (TRACKS, USERS, LISTEN_HISTORY)]
        problems: list[str] = told["problems"]
        if told["counts"] != expected:
            problems.append(f"stored {told['counts']} rows, the source has {expected}")
        return problems

    def _compare(self, senders: list[FeedbackSender]) -> None:
        file = self._installation.folder / "acknowledged.txt"
        file.write_text("\n".join(event for sender in senders for event in sender.acknowledged))
        told = json.loads(self._shell(STORED.format(file=str(file))))
        totals = self.totals
        totals.acknowledged = sum(len(sender.acknowledged) for sender in senders)
        totals.failed_requests = sum(sender.failures for sender in senders)
        totals.lost, totals.doubled = told["lost"], told["doubled"]

    def _shell(self, code: str) -> str:
        done = self._installation.project.manage("shell", "--no-imports", "-c", code, check=False)
        if done.returncode:
            raise MeasurementFailed(f"{code[:200]}: {done.stderr[-2000:]}")
        return done.stdout.strip()
