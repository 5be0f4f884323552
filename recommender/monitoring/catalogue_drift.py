"""D1: are this week's new songs like those that the champion learnt from? By cluster, and by distance."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Song
from recommender.engine import artifact
from recommender.engine.clustering.kmeans import assign_nearest, cluster_means
from recommender.engine.data import Catalogue
from recommender.engine.drift import (
    PopulationShift,
    count_in_bins,
    is_alarm,
    measure_population_shift,
    quantile_edges,
    worst_shift,
)
from recommender.engine.features import space_from_arrays
from recommender.engine.mix.fit_components import weight_content
from recommender.models import DriftReport
from recommender.monitoring.listening_drift import previous_report
from recommender.registry.model_loader import ServingModel

WEEK: Final = timedelta(days=7)
MAX_REFERENCE_SONGS: Final = 20_000  # songs: the quantiles of more are the same
MAX_NAMED: Final = 5
CONTENT_ARRAY: Final = "content"
NON_AUDIO_COLUMNS: Final = {"year", "duration"}  # columns of sound that are no audio features


def check_new_songs(model: ServingModel, week: date, now: datetime, *, seed: int) -> DriftReport | None:
    """The week's report on new songs; None for a model that keeps no feature space.

    New songs have no listeners yet: they are placed by what they are, among the clusters' middles.
    """
    arrays, _ = artifact.read_arrays(model.folder, model.version.artifact_sha256)
    space = space_from_arrays(arrays)
    if space is None or CONTENT_ARRAY not in arrays:
        return None
    songs = _new_songs(model, week)
    catalogue = build_catalogue(songs, [name for name in space.names if name not in NON_AUDIO_COLUMNS])
    rows = weight_content(catalogue, space, space.transform(catalogue))
    known = np.asarray(arrays[CONTENT_ARRAY])
    labels = np.asarray(model.scorer.labels)
    centers = cluster_means(known, labels, len(model.clusters))[0].astype(np.float32)
    chosen = np.random.default_rng(seed).permutation(len(known))[:MAX_REFERENCE_SONGS]
    before, now_placed = (
        assign_nearest(np.ascontiguousarray(known[chosen]), centers),
        assign_nearest(rows, centers),
    )
    number = len(model.clusters)
    by_cluster = measure_population_shift(
        np.bincount(before[0], minlength=number), np.bincount(now_placed[0], minlength=number)
    )
    edges = quantile_edges(np.sqrt(before[1]))
    by_distance = measure_population_shift(
        count_in_bins(np.sqrt(before[1]), edges), count_in_bins(np.sqrt(now_placed[1]), edges)
    )
    return _save_report(model, week, now, (by_cluster, by_distance))


def build_catalogue(songs: Sequence[Song], names: Sequence[str]) -> Catalogue:
    """These songs alone, as features are made from; with these audio features, whatever they have."""
    return Catalogue(
        ids=np.array([song.pk for song in songs], dtype=np.int64),
        artists=[song.artist for song in songs], albums=[song.album for song in songs],
        songwriters=[song.songwriters for song in songs], genres=[song.genres for song in songs],
        release_years=_numbers([song.release_year for song in songs]),
        durations=np.array([song.duration.total_seconds() for song in songs], dtype=np.float64),
        audio={name: _numbers([(song.audio_features or {}).get(name) for song in songs]) for name in names},
        available=np.ones(len(songs), dtype=np.bool_),
    )  # fmt: skip


def _new_songs(model: ServingModel, week: date) -> list[Song]:
    begins = datetime(week.year, week.month, week.day, tzinfo=UTC)
    songs = Song.objects.filter(created_at__gte=begins, created_at__lt=begins + WEEK).order_by("pk")
    return [song for song in songs if model.column_of(song.pk) is None]


def _save_report(
    model: ServingModel, week: date, now: datetime, shifts: tuple[PopulationShift, PopulationShift]
) -> DriftReport:
    by_cluster, by_distance = shifts
    worst = worst_shift(shifts)
    kind = DriftReport.Kind.SONGS
    last = previous_report(kind, week)
    report, _ = DriftReport.objects.update_or_create(
        version=model.version, kind=kind, week=week,
        defaults={
            "at": now, "n": worst.n, "effect": worst.psi, "limit": worst.critical,
            "drifted": worst.is_drift,
            "alarm": is_alarm(worst, drifted_before=last is not None and last.drifted),
            "causes": _find_causes(model, by_cluster, by_distance) if worst.is_drift else [],
        },
    )  # fmt: skip
    return report


def _find_causes(
    model: ServingModel, by_cluster: PopulationShift, by_distance: PopulationShift
) -> list[dict[str, Any]]:
    order = np.argsort(-np.abs(by_cluster.shares))[:MAX_NAMED].tolist()
    found: list[dict[str, Any]] = [
        {
            "clusters": [{"id": model.clusters[label].number, "name": model.clusters[label].name}],
            "change": round(float(by_cluster.shares[label]), 4),
        }
        for label in order
    ]
    if by_distance.is_drift:
        far = round(float(by_distance.shares[-1]), 4)
        found.insert(0, {"name": "songs far from every cluster", "change": far})
    return found


def _numbers(values: Sequence[object]) -> NDArray[np.float64]:
    """What is no number counts as unknown."""
    known = [
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
        for value in values
    ]
    return np.array(known, dtype=np.float64)
