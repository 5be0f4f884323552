"""Fill an imported catalogue with served lists, feedback on them, and plays of their songs."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import numpy as np
from django.utils import timezone

from ingestion.models import IngestionRun, Listener, ListeningHistory, Song
from recommender.models import CandidateList, Feedback, ModelVersion, ServedList

SEED: Final = 7
LIST_LENGTH: Final = 20
# So that a week's lists are not final, and those before it become so.
LIST_DAYS: Final = 10
# One list in so many gets an event of feedback, and one a session with two of its songs.
FEEDBACK_EVERY: Final = 5
SESSION_EVERY: Final = 3
BLOCK_ROWS: Final = 2_000


def fill_served_lists(lists: int) -> None:
    draws = np.random.default_rng(SEED)
    now = timezone.now()
    songs = np.array(Song.objects.order_by("pk").values_list("pk", flat=True), dtype=np.int64)
    listeners = list(Listener.objects.order_by("pk").values_list("pk", flat=True))
    version = ModelVersion.objects.create(
        label="2000w01.1", role="retired", method="mix", created_at=now - timedelta(days=30),
        cut_off=now - timedelta(days=30), n_songs=len(songs), n_listeners=len(listeners), n_plays=1,
        n_clusters=64, seed=SEED, artifact_sha256="0" * 64, seconds=1.0, cpu_seconds=1.0, peak_memory=1,
    )  # fmt: skip
    IngestionRun.objects.create(
        trigger="schedule", status="succeeded", started_at=now, heartbeat_at=now, finished_at=now, host="h",
        pid=1, process_started=0.0,
    )  # fmt: skip
    candidates = CandidateList.objects.bulk_create(
        [
            CandidateList(listener_id=listener, version=version, made_at=now, candidates=b"")
            for listener in listeners
        ],
        BLOCK_ROWS,
    )
    rows = _served_lists(lists, candidates, songs, draws)
    while block := list(islice(rows, BLOCK_ROWS)):
        ServedList.objects.bulk_create(block)
        Feedback.objects.bulk_create(_feedback(block))
        ListeningHistory.objects.bulk_create(_sessions(block))


def _served_lists(
    lists: int, candidates: list[CandidateList], songs: "np.ndarray[Any, Any]", draws: np.random.Generator
) -> Iterator[ServedList]:
    first = timezone.now() - timedelta(days=LIST_DAYS)
    for number in range(lists):
        of = candidates[number % len(candidates)]
        picked = draws.choice(len(songs), LIST_LENGTH, replace=False)
        yield ServedList(
            id=uuid.UUID(int=number), listener_id=of.listener_id, candidate_list=of, version_id=of.version_id,
            arm="champion", generated_at=first + timedelta(days=LIST_DAYS) * number / lists, discovery=0.3,
            temperature=0.1, seed=str(number), pages=[[LIST_LENGTH, []]],
            items=[
                {"song": song, "cluster": song % 64, "affinity": 0.0312, "propensity": 0.021457,
                 "familiar": False, "reason": "From Rock, energetic: 34 % of your listening"}
                for song in songs[picked].tolist()
            ],
        )  # fmt: skip


def _feedback(served: Iterable[ServedList]) -> list[Feedback]:
    kinds = ("like", "skip", "dislike", "listen")
    return [
        Feedback(
            event_id=str(one.pk), listener_id=one.listener_id, song_id=one.items[3]["song"], kind=kind,
            seconds=120.0 if kind == "listen" else None, served_list=one,
            at=one.generated_at + timedelta(minutes=5), received_at=one.generated_at + timedelta(minutes=5),
        )
        for one in served if one.pk.int % FEEDBACK_EVERY == 0
        for kind in [kinds[one.pk.int // FEEDBACK_EVERY % len(kinds)]]
    ]  # fmt: skip


def _sessions(served: Iterable[ServedList]) -> list[ListeningHistory]:
    return [
        ListeningHistory(
            user_id=one.listener_id, items=[one.items[0]["song"], one.items[5]["song"]],
            created_at=one.generated_at + timedelta(hours=2),
            updated_at=one.generated_at + timedelta(hours=2),
        )
        for one in served if one.pk.int % SESSION_EVERY == 0
    ]  # fmt: skip
