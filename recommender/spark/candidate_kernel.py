"""Generates candidate lists on Spark's workers, which read the same database and models as other workers."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import orjson
from django.conf import settings

from recommender.models import CandidateList, ModelVersion
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel
from recommender.serving.candidates import candidate_cache


def generate_lists(version_id: int | None, now: datetime, listener_ids: Sequence[int]) -> list[bytes]:
    """Candidate lists of these listeners by a version, or of popular songs; see `decode_row`."""
    rows = candidate_cache.generate_rows(listener_ids, _load_model(version_id), now)
    return [encode_row(row) for row in rows]


@lru_cache(maxsize=1)
def _load_model(version_id: int | None) -> LoadedModel:
    if version_id is None:
        return LoadedModel(None, None)
    version = ModelVersion.objects.get(pk=version_id)
    return LoadedModel(model_loader.open_serving_model(version, settings.MODEL_STORAGE), None)


def encode_row(row: CandidateList) -> bytes:
    history_at = row.history_at and row.history_at.isoformat()
    marks = [row.listener_id, row.version_id, row.made_at.isoformat(), row.live,
             history_at, row.history, row.run_id, row.feedback_id]  # fmt: skip
    return orjson.dumps(marks) + b"\n" + bytes(row.candidates)


def decode_row(encoded: bytes) -> CandidateList:
    head, _, candidates = encoded.partition(b"\n")
    listener, version, made_at, live, history_at, history, run, feedback = orjson.loads(head)
    return CandidateList(
        listener_id=listener, version_id=version, made_at=datetime.fromisoformat(made_at), live=live,
        history_at=datetime.fromisoformat(history_at) if history_at else None, history=history,
        run_id=run, feedback_id=feedback, candidates=candidates,
    )  # fmt: skip
