"""Measures drift of new songs: do last week's songs resemble the champion's?"""

from datetime import date, datetime
from typing import Any, Final

import numpy as np

from ingestion.models import Song
from recommender.engine import artifact
from recommender.engine.clustering.nearest_centers import assign_nearest, cluster_means
from recommender.engine.drift import (
    PopulationShift,
    count_in_bins,
    measure_population_shift,
    quantile_edges,
    worst_shift,
)
from recommender.engine.features import NON_AUDIO_COLUMNS, space_from_arrays, weight_content
from recommender.models import DriftReport
from recommender.monitoring.drift_reports import WEEK, save_report, week_start
from recommender.registry.model_loader import ServingModel
from recommender.serving.candidates.new_songs import build_catalogue

MAX_REFERENCE_SONGS: Final = 20_000  # more songs give the same quantiles
MAX_NAMED: Final = 5
CONTENT_ARRAY: Final = "content"


def check_new_songs(model: ServingModel, week: date, now: datetime, *, seed: int) -> DriftReport | None:
    """Report whether last week's songs have drifted; None if the artifact holds no feature space."""
    # New songs have no plays yet, so they are assigned to the nearest cluster center by content alone.
    # Their distribution over clusters and their distances to the centers are compared with those of known
    # songs.
    arrays, _ = artifact.read_arrays(model.folder, model.version.artifact_sha256)
    space = space_from_arrays(arrays)
    if space is None or CONTENT_ARRAY not in arrays:
        return None
    catalogue = build_catalogue(
        _read_new_songs(model, week), [name for name in space.names if name not in NON_AUDIO_COLUMNS]
    )
    new_content = weight_content(catalogue, space, space.transform(catalogue))
    content = np.asarray(arrays[CONTENT_ARRAY])
    n_clusters = len(model.clusters)
    centers = cluster_means(content, np.asarray(model.scorer.labels), n_clusters)[0].astype(np.float32)
    sample = np.random.default_rng(seed).permutation(len(content))[:MAX_REFERENCE_SONGS]
    labels, squares = assign_nearest(np.ascontiguousarray(content[sample]), centers)
    new_labels, new_squares = assign_nearest(new_content, centers)
    by_cluster = measure_population_shift(
        np.bincount(labels, minlength=n_clusters), np.bincount(new_labels, minlength=n_clusters)
    )
    edges = quantile_edges(np.sqrt(squares))
    by_distance = measure_population_shift(
        count_in_bins(np.sqrt(squares), edges), count_in_bins(np.sqrt(new_squares), edges)
    )
    worst = worst_shift((by_cluster, by_distance))
    causes = _find_causes(model, by_cluster, by_distance) if worst.is_drift else []
    return save_report(
        model.version, DriftReport.Kind.SONGS, week, now, worst,
        n=worst.n, effect=worst.psi, limit=worst.critical, causes=causes,
    )  # fmt: skip


def _read_new_songs(model: ServingModel, week: date) -> list[Song]:
    start = week_start(week)
    songs = Song.objects.filter(created_at__gte=start, created_at__lt=start + WEEK).order_by("pk")
    return [song for song in songs if model.column_of(song.pk) is None]


def _find_causes(
    model: ServingModel, by_cluster: PopulationShift, by_distance: PopulationShift
) -> list[dict[str, Any]]:
    largest = np.argsort(-np.abs(by_cluster.shares))[:MAX_NAMED].tolist()
    causes: list[dict[str, Any]] = [
        {
            "clusters": [{"id": model.clusters[label].number, "name": model.clusters[label].name}],
            "change": round(float(by_cluster.shares[label]), 4),
        }
        for label in largest
    ]
    if by_distance.is_drift:
        far = round(float(by_distance.shares[-1]), 4)
        causes.insert(0, {"name": "songs far from every cluster", "change": far})
    return causes
