"""A weekly refresh: the champion's groups, names and scales carried on, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.warm_start import UNASSIGNED
from recommender.engine.data import Catalogue, WarmStartClusters
from recommender.engine.features import FeatureSpace, space_from_arrays
from recommender.engine.mix.fit_components import build_content_features
from recommender.engine.mix.model import MixModel
from recommender.listener_profiles import find_columns
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry
from recommender.training.clusters import ClusterSummary
from recommender.training.dataset import TrainingData
from recommender.training.evaluation import ReferenceModel, TrainingEvaluation, WarmStart, load_model

# Of a group's songs; with two parts as large as that, it was split.
MIN_SPLIT_PART: Final = 0.3
# The artifact's array of groups as the songs' sound and company have them, before feedback was heard.
LABELS_WITHOUT_FEEDBACK: Final = "labels_by_sound"


@dataclass(frozen=True)
class ChampionClusters:
    """What the champion knew, as far as a refresh goes on from it.

    Attributes:
        labels: shape (n_songs,), its group of each song of today's catalogue; NEW for one it does not know.
        numbers: shape (n_clusters,), the groups' numbers by its labels.
        names: by number.
        space: its feature space; None where it was stored without one.
    """

    version: ModelVersion
    labels: NDArray[np.int32]
    cluster_numbers: NDArray[np.int32]
    cluster_names: dict[int, str]
    space: FeatureSpace | None


def read_champion_clusters(
    song_ids: NDArray[np.int64], method: str, storage: Path
) -> ChampionClusters | None:
    """The champion, to be refreshed; None where there is none, of this method, whose files are whole.

    A champion that knows none of the songs can't be carried on either.
    """
    champion = registry.current_champion()
    if champion is None or champion.method != method:
        return None
    try:
        arrays, _ = artifact.read_arrays(storage / champion.label, champion.artifact_sha256)
    except artifact.ArtifactError:
        # Serving says so; training goes on from nothing.
        return None
    columns, known = find_columns(np.asarray(arrays["song_ids"]), song_ids)
    if not known.any():
        return None
    labels = np.full(len(song_ids), UNASSIGNED, dtype=np.int32)
    # Without what feedback moved: that is found anew from the votes there are, each time.
    labels[known] = arrays.get(LABELS_WITHOUT_FEEDBACK, arrays["labels"])[columns[known]]
    names = dict(Cluster.objects.filter(version=champion).values_list("number", "name"))
    return ChampionClusters(
        champion, labels, np.asarray(arrays["cluster_ids"]), names, space_from_arrays(arrays)
    )


def build_warm_start(
    catalogue: Catalogue,
    method: str,
    storage: Path,
    previous: ChampionClusters | None,
    seed: int,
    *,
    chooses: bool = False,
) -> WarmStart:
    """What a training goes on from: `previous`, where it is a refresh; else nothing but who is champion."""
    champion = _load_reference_model(storage)
    if method != ModelVersion.Method.MIX:
        return WarmStart(reference=champion)
    if previous is None:
        return WarmStart(
            partial(build_content_features, catalogue, seed=seed),
            reference=champion,
            selects_n_clusters=chooses,
        )
    return WarmStart(
        build_content_features=partial(build_content_features, catalogue, seed=seed, space=previous.space),
        carried_clusters=WarmStartClusters(previous.labels, len(previous.cluster_numbers)),
        reference=champion,
        cluster_names={
            number: previous.cluster_names.get(number, f"Cluster {number}")
            for number in previous.cluster_numbers.tolist()
        },
    )


def lineage_fields(
    parent_clusters: ChampionClusters | None,
    model: MixModel | ClassicModel,
    clusters: Sequence[ClusterSummary],
    data: TrainingData,
    *,
    is_warm_start: bool,
) -> dict[str, Any]:
    """A version's parent and lineage, as its row keeps them; {} for the first of its kind."""
    if parent_clusters is None:
        return {}
    numbers = np.array([group.number for group in clusters], dtype=np.int32)
    plays = np.bincount(data.plays.songs, weights=data.plays.count, minlength=data.catalogue.n_songs)
    lineage = describe_lineage(parent_clusters, model.labels, numbers, plays.astype(np.float64))
    is_carried = is_warm_start and isinstance(model, MixModel)
    return {"lineage": lineage, "parent": parent_clusters.version if is_carried else None}


def describe_n_clusters(
    clusters: Sequence[ClusterSummary],
    evaluation: TrainingEvaluation,
    parent_clusters: ChampionClusters | None,
    *,
    requested_n_clusters: int | None,
    full: bool,
) -> dict[str, Any]:
    """How many groups there are and which rule decided, as a version's configuration keeps it.

    Args:
        previous: the champion, where its groups were carried on.
    """
    if evaluation.n_clusters_choice is not None:
        return evaluation.n_clusters_choice.facts()
    if requested_n_clusters:
        rule = "Set by hand."
    elif parent_clusters is not None:
        rule = f"Carried on from {parent_clusters.version.label}."
    else:
        rule = "As many as the catalogue asks for."
        rule += " There is no week of new songs by which to choose." if full else ""
    return {"n_clusters": len(clusters), "rule": rule}


def _load_reference_model(storage: Path) -> ReferenceModel | None:
    """The champion, to be compared with; None where there is none that can be read."""
    champion = registry.current_champion()
    if champion is None:
        return None
    try:
        model, song_ids = load_model(champion, storage)
    except (artifact.ArtifactError, KeyError, TypeError):
        # Damaged, or of a release that kept other arrays.
        return None
    return ReferenceModel(champion.label, model, song_ids, champion.cut_off.timestamp())


def describe_lineage(
    parent_clusters: ChampionClusters,
    labels: NDArray[np.integer],
    cluster_numbers: NDArray[np.integer],
    plays: NDArray[np.floating],
) -> dict[str, Any]:
    """What became of the champion's groups; JSON can hold it.

    Args:
        labels: shape (n_songs,), today's group of each song.
        numbers: shape (n_clusters,), today's groups' numbers.
        plays: shape (n_songs,), how often each was played.
    """
    known = parent_clusters.labels != UNASSIGNED
    before = parent_clusters.cluster_numbers[parent_clusters.labels[known]]
    after = np.asarray(cluster_numbers)[np.asarray(labels)[known]]
    moved = before != after
    played = plays[known]
    used = set(np.asarray(cluster_numbers)[np.unique(labels)].tolist())
    had = set(before.tolist())
    return {
        "from": parent_clusters.version.label,
        "kept": len(used & had),
        "born": sorted(used - had),
        "retired": sorted(had - used),
        "split": _find_split_clusters(before, after),
        "new_songs": int((~known).sum()),
        "churn_songs": round(float(moved.mean()), 5) if len(moved) else 0.0,
        "churn_plays": round(float(played[moved].sum() / played.sum()), 5) if played.sum() else 0.0,
    }


def _find_split_clusters(before: NDArray[np.integer], after: NDArray[np.integer]) -> list[dict[str, Any]]:
    """Groups of which two parts or more are in groups of their own by now."""
    found = []
    for number in np.unique(before).tolist():
        parts, sizes = np.unique(after[before == number], return_counts=True)
        large = parts[sizes >= MIN_SPLIT_PART * sizes.sum()]
        if len(large) > 1:
            found.append({"from": number, "into": large.tolist()})
    return found
