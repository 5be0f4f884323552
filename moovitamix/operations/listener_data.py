"""Finds what is stored about one listener, for export and deletion: tables, backups, model versions."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.db.models import ForeignKey, Model

from ingestion.english import english_plural
from ingestion.models import Listener
from ingestion.personal_data import rejections_of_listener
from recommender.models import CandidateList, ModelVersion
from recommender.registry import artifact_storage

# Scores of songs, which follow from the rest and are made again at any time.
DERIVED: Final = (CandidateList,)


def export_listener(listener: Listener) -> dict[str, Any]:
    """All rows about a listener by table, as JSON values; the source's row is under `listener`."""
    tables = {
        english_plural(model): [
            _row(row) for row in model._default_manager.filter(**{field.name: listener}).order_by("pk")
        ]
        for model, field in _references()
    }
    rejected = [_row(row) for row in rejections_of_listener(listener.pk)]
    return {"listener": _row(listener), **{name: rows for name, rows in tables.items() if rows},
            **({"rejections": rejected} if rejected else {})}  # fmt: skip


def versions_with_plays(listener_id: int, storage: Path) -> list[str]:
    """Labels of the stored model versions that were trained on the listener's sessions, oldest first.

    Raises:
        ArtifactUnavailable: the shared storage of models is away.
    """
    sessions = Listener.objects.get(pk=listener_id).histories.order_by("created_at")
    first: datetime | None = sessions.values_list("created_at", flat=True).first()
    if first is None:
        return []
    labels = ModelVersion.objects.filter(cut_off__gt=first).order_by("pk").values_list("label", flat=True)
    stored = artifact_storage.labels(storage)
    return [label for label in labels if label in stored]


def _references() -> Iterator[tuple[type[Model], Any]]:
    for model in apps.get_models():
        if model in DERIVED:
            continue
        for field in model._meta.concrete_fields:
            if isinstance(field, ForeignKey) and field.related_model is Listener:
                yield model, field


def _row(row: Model) -> dict[str, Any]:
    fields = row._meta.concrete_fields
    return {
        field.name: None if getattr(row, field.attname) is None else field.value_to_string(row)
        for field in fields
    }
