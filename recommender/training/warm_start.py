"""Warm start: what a training reuses from the champion, and how the new clusters differ."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.clustering.n_clusters import ClusterCountChoice
from recommender.engine.clustering.warm_start import UNASSIGNED
from recommender.engine.data import Catalogue, RecommenderModel, WarmStartClusters
from recommender.engine.features import FeatureSpace, space_from_arrays, space_to_arrays
from recommender.engine.mix.fit import ContentBuilder, no_builder
from recommender.engine.mix.fit_components import ContentFeatures, build_content_features
from recommender.engine.song_columns import find_columns
from recommender.models import Cluster, ModelVersion
from recommender.training.clusters import ClusterSummary
from recommender.training.dataset import TrainingData
from recommender.training.stored_version import StoredVersion

# A cluster was split if two new clusters each hold at least this share of its songs.
MIN_SPLIT_PART: Final = 0.3
# The artifact's array of cluster labels before listeners' feedback moved songs.
LABELS_WITHOUT_FEEDBACK: Final = "labels_by_sound"


@dataclass(frozen=True)
class ReferenceModel:
    label: str
    model: RecommenderModel
    song_ids: NDArray[np.int64]
    cut_off_seconds: float  # the champion was trained on plays up to this time; seconds since 1970


@dataclass(frozen=True)
class ChampionClusters:
    version: ModelVersion
    # Each song's cluster, shape (n_songs,); UNASSIGNED for songs that the champion was not trained on.
    labels: NDArray[np.int32]
    cluster_numbers: NDArray[np.int32]  # persistent number of each label, shape (n_clusters,)
    cluster_names: dict[int, str]  # names by number, before changes by staff
    space: FeatureSpace | None  # the champion's feature space; None if it was not stored


@dataclass(frozen=True)
class WarmStart:
    """The parts of the champion that a training reuses; by default none."""

    # Builds the songs' content features, in the champion's space on a warm start.
    build_content_features: ContentBuilder = no_builder
    carried_clusters: WarmStartClusters | None = None  # the clusters to continue; None: fit new ones
    # Names of the carried clusters by number, in the order of their labels.
    cluster_names: dict[int, str] = field(default_factory=dict)
    # The champion's artifact; a new cluster keeps the number of a champion's cluster with similar songs.
    champion: StoredVersion | None = None
    # The clusters that the lineage compares with; None unless the method is the same.
    champion_clusters: ChampionClusters | None = None
    reference: ReferenceModel | None = None  # the champion, to compare metrics with
    selects_n_clusters: bool = False  # whether the latest week's plays choose the number of clusters

    @property
    def parent(self) -> ModelVersion | None:
        return self.champion_clusters.version if self.champion_clusters and self.carried_clusters else None

    @cached_property
    def content_features(self) -> ContentFeatures | None:
        return self.build_content_features()

    def artifact_arrays(self) -> dict[str, NDArray[Any]]:
        features = self.content_features
        return space_to_arrays(features.space) if features and features.space else {}


def build_warm_start(
    catalogue: Catalogue,
    champion: StoredVersion | None,
    *,
    method: str,
    seed: int,
    carries_clusters: bool,
    selects_n_clusters: bool = False,
) -> WarmStart:
    """What a training reuses from the champion.

    `carries_clusters`: continue the champion's clusters if it has the same method.
    """
    before = _match_to_catalogue(champion, catalogue.ids, method) if champion else None
    known = WarmStart(
        champion=champion, champion_clusters=before, reference=_as_reference(champion) if champion else None
    )
    if method != ModelVersion.Method.MIX:
        return known
    if before is None or not carries_clusters:
        return replace(
            known,
            build_content_features=partial(build_content_features, catalogue, seed=seed),
            selects_n_clusters=selects_n_clusters,
        )
    return replace(
        known,
        build_content_features=partial(build_content_features, catalogue, seed=seed, space=before.space),
        carried_clusters=WarmStartClusters(before.labels, len(before.cluster_numbers)),
        cluster_names={
            number: before.cluster_names.get(number, "") for number in before.cluster_numbers.tolist()
        },
    )


def _match_to_catalogue(
    champion: StoredVersion, song_ids: NDArray[np.int64], method: str
) -> ChampionClusters | None:
    if champion.version.method != method:
        return None
    columns, known = find_columns(np.asarray(champion.song_ids), song_ids)
    if not known.any():
        return None
    arrays = champion.arrays
    labels = np.full(len(song_ids), UNASSIGNED, dtype=np.int32)
    # Labels without feedback, since every training applies the current votes again.
    labels[known] = arrays.get(LABELS_WITHOUT_FEEDBACK, arrays["labels"])[columns[known]]
    names = {row.number: row.automatic_name for row in Cluster.objects.filter(version=champion.version)}
    return ChampionClusters(
        champion.version, labels, np.asarray(arrays["cluster_ids"]), names, space_from_arrays(arrays)
    )


def _as_reference(champion: StoredVersion) -> ReferenceModel | None:
    version = champion.version
    try:
        return ReferenceModel(version.label, champion.model, champion.song_ids, version.cut_off.timestamp())
    except (KeyError, TypeError):
        # An older release stored other arrays.
        return None


def lineage_fields(
    warm_start: WarmStart, labels: NDArray[np.integer], clusters: Sequence[ClusterSummary], data: TrainingData
) -> dict[str, Any]:
    """The fields `parent` and `lineage` of a version's row; {} without a champion of the same method."""
    before = warm_start.champion_clusters
    if before is None:
        return {}
    numbers = np.array([cluster.number for cluster in clusters], dtype=np.int32)
    plays = np.bincount(data.plays.songs, weights=data.plays.count, minlength=data.catalogue.n_songs)
    lineage = describe_lineage(before, labels, numbers, plays.astype(np.float64))
    return {"lineage": lineage, "parent": warm_start.parent}


def describe_lineage(
    champion_clusters: ChampionClusters,
    labels: NDArray[np.integer],
    cluster_numbers: NDArray[np.integer],
    plays: NDArray[np.floating],
) -> dict[str, Any]:
    """How the new clusters differ from the champion's, as JSON types.

    Args:
        labels: new clusters, shape (n_songs,).
        cluster_numbers: their persistent numbers, shape (n_clusters,).
        plays: of each song, shape (n_songs,).

    Returns:
        How many numbers were kept, and which were born, retired and split. `churn_songs` and `churn_plays`
        are shares whose cluster changed, among songs that the champion knew.
    """
    known = champion_clusters.labels != UNASSIGNED
    before = champion_clusters.cluster_numbers[champion_clusters.labels[known]]
    after = np.asarray(cluster_numbers)[np.asarray(labels)[known]]
    moved = before != after
    played = plays[known]
    used_now = set(np.asarray(cluster_numbers)[np.unique(labels)].tolist())
    used_before = set(before.tolist())
    return {
        "from": champion_clusters.version.label,
        "kept": len(used_now & used_before),
        "born": sorted(used_now - used_before),
        "retired": sorted(used_before - used_now),
        "split": _find_split_clusters(before, after),
        "new_songs": int((~known).sum()),
        "churn_songs": round(float(moved.mean()), 5) if len(moved) else 0.0,
        "churn_plays": round(float(played[moved].sum() / played.sum()), 5) if played.sum() else 0.0,
    }


def _find_split_clusters(before: NDArray[np.integer], after: NDArray[np.integer]) -> list[dict[str, Any]]:
    splits = []
    for number in np.unique(before).tolist():
        parts, sizes = np.unique(after[before == number], return_counts=True)
        large = parts[sizes >= MIN_SPLIT_PART * sizes.sum()]
        if len(large) > 1:
            splits.append({"from": number, "into": large.tolist()})
    return splits


def describe_n_clusters(
    n_clusters: int,
    choice: ClusterCountChoice | None,
    warm_start: WarmStart,
    *,
    requested: int | None,
    full: bool,
) -> dict[str, Any]:
    if choice is not None:
        return choice.facts()
    if requested:
        rule = "Set by hand."
    elif warm_start.parent is not None:
        rule = f"Continued from {warm_start.parent.label}."
    else:
        rule = "The default for a catalogue of this size."
        rule += " There was no week of new plays to choose the number by." if full else ""
    return {"n_clusters": n_clusters, "rule": rule}
