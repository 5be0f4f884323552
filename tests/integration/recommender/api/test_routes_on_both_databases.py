"""Every route and filter of the API gives the same responses on SQLite and on PostgreSQL."""

import json

import pytest

from tests.support.project import Project

ASK = """
import json
from urllib.parse import quote
from django.conf import settings
from django.db import connection
from recommender.models import ApiKey
from tests.support.builders.api import make_api_caller
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion

settings.ALLOWED_HOSTS = ["testserver"]
fill_tables(small_world(songs=120, listeners=25, days=15))
train_champion(settings.MODEL_STORAGE)
caller = make_api_caller()

def ids(path):
    answer = caller.get(path)
    assert answer.status_code == 200, (path, answer.content)
    return [row.get("id") for row in answer.json()["results"]]

def values(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}

key = ApiKey.objects.select_related("user").get()
same_key, by_id = ApiKey.read_with_user("digest", key.digest), ApiKey.read_with_user("id", key.pk)
user = ids("/users/?page_size=1")[0]
song = ids("/songs/?page_size=1")[0]
one = caller.get(f"/songs/{song}/").json()
cluster = caller.get("/clusters/").json()["results"][0]
history = caller.get("/listening-history/").json()["results"]
genre = one["genres"].split(",")[0].strip()
second = caller.client.get(caller.get("/songs/?page_size=50").json()["next"], headers=caller.headers).json()
listed = caller.get(f"/users/{user}/recommendations/?n=5").json()
event = {"event_id": "e", "user_id": user, "song_id": song, "kind": "like",
         "recommendation_id": listed["recommendation_id"]}
print(json.dumps({
    "vendor": connection.vendor,
    "keys": [(values(one), values(one.user)) == (values(key), values(key.user)) for one in (same_key, by_id)],
    "no key": ApiKey.read_with_user("digest", "0" * 64),
    "songs": ids("/songs/?page_size=500"),
    "second page": [row["id"] for row in second["results"]],
    "genre": ids(f"/songs/?genre={quote(genre.upper())}&page_size=500"),
    "artist": ids(f"/songs/?artist={quote(one['artist'].lower())}"),
    "part": ids(f"/songs/?q={quote(one['name'][:4])}&available=true"),
    "cluster": len(ids(f"/songs/?cluster={cluster['id']}&page_size=500")) == cluster["size"],
    "sessions": [row["items"] for row in
                 caller.get(f"/listening-history/?user={history[0]['user_id']}").json()["results"]],
    "since": len(ids("/listening-history/?since=2026-10-25&until=2026-10-26T12:00:00Z&page_size=500")),
    "popular": caller.get("/songs/popular/?n=5").json()["results"],
    "recommendations": len(listed["items"]),
    "page 2": len(caller.client.get(listed["next"], headers=caller.headers).json()["items"]),
    "next": len(caller.get(f"/users/{user}/next/").json()["items"]),
    "similar": len(caller.get(f"/songs/{song}/similar/?n=7").json()["results"]),
    "affinities": caller.get(f"/users/{user}/affinities/").status_code,
    "feedback": [caller.post("/feedback/", event).status_code for _ in range(2)],
    "far ids": sorted({caller.get(path).status_code for path in [
        f"/users/{2**63}/recommendations/", f"/users/{2**63}/next/", f"/users/{2**63}/affinities/",
        f"/users/{2**63}/", f"/songs/{2**63}/similar/", f"/songs/{2**63}/", f"/clusters/{2**63}/",
        f"/runs/{2**63}/", f"/users/{2**63}/recommendations/?list={listed['recommendation_id']}",
    ]}),
    "runs": ids("/runs/?status=failed"),
    "models": len(caller.get("/models/").json()["results"]),
    "status": caller.get("/status/").json()["degraded"],
    "ready": caller.client.get("/health/ready/").json()["status"],
}))
"""


@pytest.mark.slow
def test_both_databases_give_the_same_responses(sqlite_project: Project, postgres_project: Project) -> None:
    found = [
        json.loads(project.shell(ASK).splitlines()[-1]) for project in (sqlite_project, postgres_project)
    ]

    sqlite, postgres = found
    assert [one.pop("vendor") for one in found] == ["sqlite", "postgresql"]
    assert sqlite == postgres
    assert len(sqlite["songs"]) == 120
    assert sqlite["second page"] == sqlite["songs"][50:100]
    assert [name for name in ("genre", "artist", "part", "sessions", "popular") if not sqlite[name]] == []
    assert (sqlite["recommendations"], sqlite["page 2"], sqlite["next"]) == (5, 5, 1)
    assert sqlite["feedback"] == [201, 200]
    assert (sqlite["keys"], sqlite["no key"]) == ([True, True], None)
    assert sqlite["far ids"] == [404]
    assert (sqlite["cluster"], sqlite["ready"], sqlite["status"]) == (True, "ok", None)
