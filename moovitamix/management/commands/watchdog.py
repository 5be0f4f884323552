"""Run the health checks, for a person, cron or an external monitoring system."""

import json
import signal
from argparse import ArgumentParser
from datetime import datetime
from textwrap import indent
from threading import Event
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, close_old_connections
from django.utils import timezone

from ingestion.alerts.incidents import open_incidents
from ingestion.alerts.messages.render import IncidentText, render_incident
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.watchdog import WatchdogResult
from ingestion.services import alert_channels, alert_on_database_outage, run_watchdog

CRITICAL_EXIT_CODE: Final = 1

HELP = """Run all health checks, send the alerts that are due, and print every open incident.

It checks runs that did not start or finish, Celery Beat and workers, the task queue, stale data and models,
disks and experiments. If another process ran the checks within the last minute, their result is printed.

examples:
  python manage.py watchdog
  python manage.py watchdog --every 60          runs until Ctrl-C
  python manage.py watchdog --json | jq .incidents

next:
  python manage.py testalert                    checks that alerts arrive

exit codes: 0 no critical incident is open, 1 at least one is
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="run the checks once (default)")
        how.add_argument(
            "--every", type=float, metavar="SECONDS", help="run the checks repeatedly, until Ctrl-C"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object per round")

    def handle(self, *_: Any, **options: Any) -> None:
        with alert_on_database_outage(timezone.now()):
            require_migrations()
        if options["every"] is None:
            self._exit_if_critical(self._run_round(timezone.now(), as_json=options["json"]))
            return
        if options["every"] <= 0:
            raise CommandError("--every takes a number of seconds above 0")
        stop = Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        try:
            self._run_forever(options["every"], stop, as_json=options["json"])
        except KeyboardInterrupt:
            stop.set()

    def _exit_if_critical(self, critical: int) -> None:
        if critical:
            raise SystemExit(CRITICAL_EXIT_CODE)

    def _run_forever(self, every: float, stop: Event, *, as_json: bool) -> None:
        while not stop.is_set():
            try:
                close_old_connections()
                self._run_round(timezone.now(), as_json=as_json)
            except Error as error:
                self.stderr.write(f"The database is unavailable ({type(error).__name__}); trying again.")
            stop.wait(every)

    def _run_round(self, now: datetime, *, as_json: bool) -> int:
        result = run_watchdog(now)
        incidents = list(open_incidents())
        texts = [(incident, render_incident(incident, settings.LANGUAGE_CODE)) for incident in incidents]
        formatted = _format_json if as_json else _format_text
        self.stdout.write(formatted(now, result, texts))
        self.stdout.flush()
        return sum(incident.severity == Incident.Severity.CRITICAL for incident in incidents)


def _format_text(
    now: datetime, result: WatchdogResult | None, messages: list[tuple[Incident, IncidentText]]
) -> str:
    checked = f"{len(result.succeeded)} checks were made" if result else "checked within the last minute"
    if not messages:
        lines = [f"{timezone.localtime(now):%Y-%m-%d %H:%M %Z}: no open incidents; {checked}."]
        return "\n".join(
            [*lines, *(f"  Not set up yet: {what}" for what in (_missing_parts() if result else []))]
        )
    lines = [f"{timezone.localtime(now):%Y-%m-%d %H:%M %Z}: {len(messages)} open incidents; {checked}."]
    for _, text in messages:
        body = "\n".join((text.what, text.since, text.how_bad, text.what_to_do))
        lines += ["", text.subject, indent(body, "  ")]
    return "\n".join(lines)


def _missing_parts() -> list[str]:
    missing = []
    if not IngestionRun.objects.exists():
        missing.append("no data has been imported (python manage.py runingest).")
    if not Heartbeat.objects.filter(part__in=("beat", "scheduler")).exists():
        missing.append("no runs are scheduled (python manage.py work, or python manage.py runscheduler).")
    if not alert_channels():
        missing.append("no alert channel is configured (python manage.py testalert explains how).")
    return missing


def _format_json(
    now: datetime, result: WatchdogResult | None, messages: list[tuple[Incident, IncidentText]]
) -> str:
    critical = sum(incident.severity == Incident.Severity.CRITICAL for incident, _ in messages)
    return json.dumps({
        "checked_at": now.isoformat(),
        "looked": result is not None,
        "failed_checks": list(result.failed) if result else [],
        "well": not messages,
        "critical": critical,
        "incidents": [
            {
                "key": incident.key, "kind": incident.kind, "severity": incident.severity,
                "since": incident.opened_at.isoformat(), "subject": text.subject, "what": text.what,
                "what_to_do": text.what_to_do, "facts": incident.facts,
            }
            for incident, text in messages
        ],
    })  # fmt: skip
