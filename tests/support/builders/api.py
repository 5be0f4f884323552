"""A client of the API, and rows for its responses."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ingestion.models import IngestionRun, Listener, ListeningHistory, ResourceReport, Song
from recommender.api.authentication import allow_personal_data, issue_key
from recommender.models.api_keys import Scope, default_scopes

MOMENT = datetime(2026, 11, 1, 10, tzinfo=UTC)
API_V1 = "/api/v1"


class ApiCaller:
    """Sends requests as a program does, with a key or without one."""

    def __init__(self, secret: str | None = None, scheme: str = "Bearer") -> None:
        self.headers = {"Authorization": f"{scheme} {secret}"} if secret else {}
        # An error inside becomes the answer that a caller would see.
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(API_V1 + path, headers={**self.headers, **headers})

    def delete(self, path: str) -> Any:
        return self.client.delete(API_V1 + path, headers=self.headers)

    def post(self, path: str, body: Any, **options: Any) -> Any:
        options = {"content_type": "application/json"} | options
        return self.client.post(API_V1 + path, json.dumps(body), headers=self.headers, **options)


def make_api_caller(name: str = "app", *, personal_data: bool = False) -> ApiCaller:
    user = User.objects.create_user(name)
    if personal_data:
        allow_personal_data(user)
    scopes = [*default_scopes(), *([Scope.PERSONAL_DATA] if personal_data else [])]
    return ApiCaller(issue_key("A test", user, scopes=scopes)[1])


def make_song(pk: int, **fields: Any) -> Song:
    wanted = {
        "name": f"Song {pk}", "artist": f"Artist {pk % 7}", "songwriters": "A. Writer", "album": "First",
        "genres": "Rock", "duration": timedelta(seconds=200), "created_at": MOMENT, "updated_at": MOMENT,
    }  # fmt: skip
    return Song.objects.create(pk=pk, **{**wanted, **fields})


def make_listener(pk: int, **fields: Any) -> Listener:
    wanted = {
        "first_name": "Ada", "last_name": "Example", "email": f"user{pk}@example.org", "gender": "Female",
        "favorite_genres": "Rock", "created_at": MOMENT, "updated_at": MOMENT,
    }  # fmt: skip
    return Listener.objects.create(pk=pk, **{**wanted, **fields})


def make_session(user: int, items: list[int], **fields: Any) -> ListeningHistory:
    wanted = {"created_at": MOMENT, "updated_at": MOMENT}
    return ListeningHistory.objects.create(user_id=user, items=items, **{**wanted, **fields})


def make_run(*resources: str, status: str = "succeeded", **fields: Any) -> IngestionRun:
    """A run that ended with `status`, and received three rows of each of `resources`."""
    now = timezone.now()
    wanted = {
        "trigger": "command", "status": status, "started_at": now - timedelta(seconds=30),
        "heartbeat_at": now, "finished_at": None if status == "running" else now, "host": "here", "pid": 1,
        "process_started": 0.0,
    }  # fmt: skip
    run = IngestionRun.objects.create(**{**wanted, **fields})
    for resource in resources:
        ResourceReport.objects.create(run=run, resource=resource, received=3, new=3, total=3)
    return run
