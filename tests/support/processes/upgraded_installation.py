"""Prints what an installation responds after an upgrade, as one JSON object.

Usage: python -m tests.support.processes.upgraded_installation API_KEY LISTENER PATH...
"""

import json
import sys
from typing import Any

import django

django.setup()

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django_celery_beat.models import PeriodicTask

from ingestion.models import Incident
from moovitamix.background.beat_scheduler import TimetableScheduler
from moovitamix.celery import app
from recommender.experiments import decisions
from recommender.models import Decision, Experiment, ModelVersion, Promotion, ServedList
from recommender.serving import recommendations


def main() -> None:
    key, listener, *paths = sys.argv[1:]
    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", "--check", verbosity=0)  # ends the process if a migration is missing
    sys.stdout.write(
        json.dumps(
            {
                "beat": read_beat(),
                "incidents": list(Incident.objects.order_by("pk").values_list("key", "kind", "severity")),
                "roles": dict(ModelVersion.objects.values_list("label", "role")),
                "experiments": list(
                    Experiment.objects.order_by("pk").values_list("kind", "status", "outcome")
                ),
                "promotions": list(
                    Promotion.objects.order_by("pk").values_list("promoted__label", flat=True)
                ),
                "replays": {str(pk): replay(pk) for pk in ServedList.objects.values_list("pk", flat=True)},
                "decisions": {row.pk: replay_decision(row) for row in Decision.objects.order_by("pk")},
                "api": {path: read_api(path, key) for path in paths},
                "without a key": Client().get("/api/v1/songs/").status_code,
                "list": read_api(f"users/{listener}/recommendations/?n=20", key),
                "permissions": sorted(User.objects.get(username="rehearsal").get_all_permissions()),
            },
            default=str,
        )
    )


def read_beat() -> list[dict[str, Any]]:
    """The schedule that Beat runs, after its own entries were created or updated."""
    TimetableScheduler(app=app).setup_schedule()
    return [
        {
            "name": entry.name,
            "task": entry.task,
            "enabled": entry.enabled,
            "crontab": entry.crontab and f"{entry.crontab.minute} {entry.crontab.hour}",
        }
        for entry in PeriodicTask.objects.order_by("name")
    ]


def replay(list_id: Any) -> dict[str, Any]:
    replayed = recommendations.replay_list(list_id)
    return {"same": replayed.same, "items": [[pick.song, pick.propensity] for pick in replayed.drawn]}


def replay_decision(decision: Decision) -> dict[str, Any]:
    replayed = decisions.replay_decision(decision)
    return {
        "same": replayed.same,
        "data_changed": replayed.data_changed,
        "code_changed": replayed.code_changed,
        "verdict": decision.verdict,
    }


def read_api(path: str, key: str) -> Any:
    answer = Client().get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {key}"})
    return {"status": answer.status_code, "body": answer.json()}


if __name__ == "__main__":
    main()
