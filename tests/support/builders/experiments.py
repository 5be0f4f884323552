"""Two versions in an experiment, and interleaved lists of both, without trained models."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.models import IngestionRun, Listener, ListeningHistory, Song
from recommender.models import CandidateList, Experiment, ModelVersion, ServedList

START = datetime(2026, 11, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
BYSTANDER = 9_999  # a listener without lists, whose sessions show that the history was imported


def make_listeners_and_songs(listeners: Sequence[int] = (1, 2), songs: Sequence[int] = range(10, 30)) -> None:
    Listener.objects.bulk_create(Listener(id=pk, created_at=START, updated_at=START) for pk in listeners)
    Song.objects.bulk_create(
        Song(id=pk, name=f"Song {pk}", artist=f"Artist {pk}", duration=timedelta(minutes=3),
             created_at=START, updated_at=START)
        for pk in songs
    )  # fmt: skip


def make_version(label: str, role: str = "candidate", **fields: Any) -> ModelVersion:
    usual: dict[str, Any] = {
        "method": "mix", "created_at": START, "cut_off": START, "n_songs": 20, "n_listeners": 2, "n_plays": 9,
        "n_clusters": 2, "seed": 7, "artifact_sha256": "0" * 64, "seconds": 1.0, "cpu_seconds": 1.0,
        "peak_memory": 1,
    }  # fmt: skip
    return ModelVersion.objects.create(label=label, role=role, **{**usual, **fields})


def make_experiment(kind: str = "change", **fields: Any) -> Experiment:
    champion = ModelVersion.objects.filter(label="2026w44.1").first() or make_version("2026w44.1", "champion")
    challenger = ModelVersion.objects.filter(label="2026w45.1").first() or make_version(
        "2026w45.1", "challenger"
    )
    usual: dict[str, Any] = {
        "kind": kind, "status": "running", "champion": champion, "challenger": challenger, "list_share": 0.7,
        "created_at": START, "started_at": START, "by": "test",
    }  # fmt: skip
    return Experiment.objects.create(**{**usual, **fields})


def make_interleaved_list(
    test: Experiment, listener: int, at: datetime, songs: Sequence[int], teams: Sequence[bool]
) -> ServedList:
    """A list in which the challenger drew the places for which `teams` is True."""
    shelf = CandidateList.objects.create(
        listener_id=listener, version=test.champion, made_at=at, candidates=b""
    )
    items = [
        {"song": song, "cluster": 1, "affinity": 0.5, "propensity": 0.1, "familiar": False, "reason": "",
         "by_challenger": team}
        for song, team in zip(songs, teams, strict=True)
    ]  # fmt: skip
    return ServedList.objects.create(
        listener_id=listener,
        candidate_list=shelf,
        challenger_candidate_list=shelf,
        version=test.champion,
        experiment=test,
        arm="interleaved",
        generated_at=at,
        discovery=0.3,
        temperature=0.1,
        seed="s",
        pages=[],
        items=items,
    )


def make_ingestion_run(at: datetime, status: str = "succeeded", **fields: Any) -> IngestionRun:
    """A finished ingestion run."""
    ended: dict[str, Any] = {} if status == "succeeded" else {"error": "It broke.", "error_kind": "broke"}
    return IngestionRun.objects.create(
        trigger="schedule", status=status, started_at=at, heartbeat_at=at, finished_at=at + DAY / 1440,
        host="h", pid=1, process_started=0.0, **{**ended, **fields},
    )  # fmt: skip


def make_healthy_feed(now: datetime) -> IngestionRun:
    """A run that succeeded an hour ago, and a session from shortly before it."""
    return make_import(now - timedelta(hours=1))


def make_import(at: datetime) -> IngestionRun:
    """A run that succeeded at `at`, and a session from a minute before."""
    make_bystander_session(at - timedelta(minutes=1))
    return make_ingestion_run(at)


def make_bystander_session(at: datetime) -> None:
    Listener.objects.get_or_create(id=BYSTANDER, defaults={"created_at": START, "updated_at": START})
    ListeningHistory.objects.get_or_create(
        user_id=BYSTANDER, created_at=at, defaults={"items": [], "updated_at": at}
    )
