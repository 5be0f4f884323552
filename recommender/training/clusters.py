"""A version's clusters as people see them: names, sizes, and numbers that go on from version to version."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import Max
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.kmeans import Clusters, cluster_means, match_cluster_ids, measure_cohesion
from recommender.engine.clustering.labeling import ClusterName, name_clusters
from recommender.engine.mix import fit_components
from recommender.engine.mix.model import MixModel
from recommender.listener_profiles import find_columns
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry
from recommender.training.dataset import TrainingData


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its place among the model's own labels, its number for ever, and what it is called."""

    position: int
    number: int
    naming: ClusterName
    plays: int
    examples: list[int]
    map_position: tuple[float, float] = (0.0, 0.0)

    def to_row(self, version: ModelVersion) -> Cluster:
        named = self.naming
        return Cluster(
            version=version, number=self.number, position=self.position, name=named.name, size=named.size,
            plays=self.plays, facts={"genres": named.genres, "decade": named.decade, "moods": named.moods,
                                     "examples": self.examples, "map": list(self.map_position)},
        )  # fmt: skip


def summarize_clusters(
    model: MixModel | ClassicModel, data: TrainingData, storage: Path, carried_names: Mapping[int, str]
) -> list[ClusterSummary]:
    """The model's clusters in the order of its labels.

    Args:
        carried: names by number of the groups that were carried on, in that order; empty: they are new, and
            keep the number of a champion's group where most of its songs went on together.
    """
    catalogue = data.catalogue
    played = np.bincount(data.plays.songs, weights=data.plays.count, minlength=catalogue.n_songs)
    n_clusters = _n_clusters(model)
    named = name_clusters(catalogue, model.labels, n_clusters, played.astype(np.float32))
    if carried_names:
        numbers = np.array([*carried_names][:n_clusters], dtype=np.int32)
        named = [
            replace(one, name=carried_names[int(number)]) for one, number in zip(named, numbers, strict=True)
        ]
    else:
        numbers = _match_numbers(catalogue.ids, model.labels, n_clusters, storage)
    plays = np.bincount(model.labels, weights=played, minlength=n_clusters)
    places = _map_positions(model)
    return [
        ClusterSummary(position, int(numbers[position]), one, round(float(plays[position])),
              catalogue.ids[one.examples].tolist(), places[position])
        for position, one in enumerate(named)
    ]  # fmt: skip


def _match_numbers(
    song_ids: NDArray[np.int64], labels: NDArray[np.int32], n_clusters: int, storage: Path
) -> NDArray[np.int32]:
    """The champion's numbers for the clusters that go on, and new ones for the others."""
    next_id = (Cluster.objects.aggregate(Max("number"))["number__max"] or 0) + 1
    champion = registry.current_champion()
    fresh = np.arange(next_id, next_id + n_clusters, dtype=np.int32)
    if champion is None:
        return fresh
    try:
        arrays, _ = artifact.read_arrays(storage / champion.label, champion.artifact_sha256)
    except artifact.ArtifactError:
        # Whose files are gone has no songs to compare; serving says so, and training goes on.
        return fresh
    previous = np.full(len(song_ids), -1, dtype=np.int32)
    columns, known = find_columns(np.asarray(arrays["song_ids"]), song_ids)
    previous[known] = arrays["labels"][columns[known]]
    ids: NDArray[np.int32] = match_cluster_ids(
        previous, labels, np.asarray(arrays["cluster_ids"]), n_clusters=n_clusters, next_id=next_id
    )
    return ids


def _map_positions(model: MixModel | ClassicModel) -> list[tuple[float, float]]:
    """Each cluster's middle on the two main axes of all middles."""
    centers = cluster_means(cluster_points(model), model.labels, _n_clusters(model))[0]
    centred = centers - centers.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    flat = np.zeros((len(centers), 2))
    flat[:, : len(axes)] = centred @ axes.T
    # The sign of an axis is nobody's choice: the largest coordinate is positive.
    flat *= np.where(flat[np.abs(flat).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return [(round(float(x), 4), round(float(y), 4)) for x, y in flat]


def cohesion_metrics(model: MixModel | ClassicModel) -> dict[str, Any]:
    """How well the clusters hold together, in the space in which they were found."""
    labels, points = model.labels, cluster_points(model)
    centers = cluster_means(points, labels, _n_clusters(model))[0].astype(np.float32)
    squares = ((points - centers[labels]) ** 2).sum(axis=1)
    return measure_cohesion(points, Clusters(centers, float(squares.sum()), labels, np.sqrt(squares)))


def cluster_points(model: MixModel | ClassicModel) -> NDArray[np.float32]:
    """Shape (n_songs, d): the space in which the clusters were found."""
    if isinstance(model, ClassicModel):
        return model.points
    return fit_components.clustering_points(model.components.content, model.components.company)


def _n_clusters(model: MixModel | ClassicModel) -> int:
    return model.n_clusters if isinstance(model, ClassicModel) else model.components.n_clusters


def manifest_entries(clusters: list[ClusterSummary]) -> list[dict[str, Any]]:
    """For the artifact's manifest."""
    return [
        {"number": group.number, "name": group.naming.name, "size": group.naming.size} for group in clusters
    ]
