"""Cluster summaries of a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from django.db.models import Max
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.families import group_clusters
from recommender.engine.clustering.kmeans import Clusters, match_cluster_ids, measure_cohesion
from recommender.engine.clustering.labeling import ClusterName, name_clusters
from recommender.engine.clustering.nearest_centers import cluster_means, squared_distances
from recommender.engine.data import Interactions
from recommender.engine.mix import fit_components
from recommender.engine.mix.model import MixModel
from recommender.engine.song_columns import find_columns
from recommender.listener_profiles import LIKE_WEIGHT
from recommender.models import Cluster, ModelVersion
from recommender.registry.cluster_name_rules import read_name_rules, unnamed_family
from recommender.training.dataset import TrainingData
from recommender.training.stored_version import StoredVersion


@dataclass(frozen=True)
class ClusterSummary:
    position: int  # the cluster's label in this model, 0 to n_clusters - 1
    number: int  # persistent number across versions, never reused
    naming: ClusterName
    plays: int  # number of plays of the cluster's songs by all listeners
    examples: list[int]  # ids of the cluster's most played songs
    # x and y on the plane of the two principal axes of all cluster centers.
    map_position: tuple[float, float] = (0.0, 0.0)
    name: str = ""  # the shown name: the automatic one, unless staff decided otherwise
    family: tuple[int, str] = (0, "")  # id and name of the group of similar clusters

    def to_row(self, version: ModelVersion) -> Cluster:
        naming = self.naming
        return Cluster(
            version=version, number=self.number, position=self.position, name=self.name, size=naming.size,
            plays=self.plays, facts={"genres": naming.genres, "decade": naming.decade, "moods": naming.moods,
                                     "examples": self.examples, "map": list(self.map_position),
                                     "family": {"id": self.family[0], "name": self.family[1]},
                                     "name_kind": naming.kind, "automatic_name": naming.name},
        )  # fmt: skip


def summarize_clusters(
    model: MixModel | ClassicModel,
    data: TrainingData,
    champion: StoredVersion | None,
    carried_names: Mapping[int, str],
) -> list[ClusterSummary]:
    """Summaries of the clusters, in the order of the model's labels.

    Args:
        champion: the current champion. A cluster with most songs of one of its clusters keeps that number.
        carried_names: number and automatic name of each cluster that a warm start continued, by label;
            empty if the clusters are new.
    """
    catalogue = data.catalogue
    played = np.bincount(data.plays.songs, weights=data.plays.count, minlength=catalogue.n_songs)
    n_clusters = _n_clusters(model)
    if carried_names:
        numbers = np.array([*carried_names][:n_clusters], dtype=np.int32)
    else:
        numbers = _assign_numbers(catalogue.ids, model.labels, n_clusters, champion)
    rules, label_numbers = read_name_rules(), list(enumerate(numbers.tolist()))
    naming = partial(
        name_clusters, catalogue, plays=played.astype(np.float32), heard_by=_heard_by(data.plays),
        words=rules.words,
    )  # fmt: skip
    names = naming(
        model.labels, n_clusters,
        kept={label: carried_names.get(number, "") for label, number in label_numbers},
        vetoed={label: rules.vetoed.get(number, ()) for label, number in label_numbers},
    )  # fmt: skip
    # A like counts more than a play and is none.
    is_play = data.plays.count < LIKE_WEIGHT
    plays = np.bincount(model.labels[data.plays.songs[is_play]], minlength=n_clusters)
    centers = cluster_means(cluster_points(model), model.labels, n_clusters)[0]
    map_positions, families = _map_positions(centers), group_clusters(centers)
    family_names = naming(families[model.labels], int(families.max()) + 1)
    return [
        ClusterSummary(
            position, number, names[position], round(float(plays[position])),
            catalogue.ids[names[position].examples].tolist(), map_positions[position],
            rules.shown_name(number, names[position].name),
            _describe_family(families, families[position], numbers, family_names),
        )
        for position, number in label_numbers
    ]  # fmt: skip


def _describe_family(
    families: NDArray[np.int32], family: int, numbers: NDArray[np.int32], names: Sequence[ClusterName]
) -> tuple[int, str]:
    lowest = int(numbers[families == family].min())
    return lowest, names[family].name or unnamed_family(lowest)


def _heard_by(plays: Interactions) -> csr_array:
    ones = np.ones(len(plays.songs), dtype=np.int8)
    heard = csr_array((ones, (plays.songs, plays.listeners)), shape=(plays.n_songs, plays.n_listeners))
    heard.sum_duplicates()
    return heard


def _assign_numbers(
    song_ids: NDArray[np.int64], labels: NDArray[np.int32], n_clusters: int, champion: StoredVersion | None
) -> NDArray[np.int32]:
    next_id = (Cluster.objects.aggregate(Max("number"))["number__max"] or 0) + 1
    if champion is None:
        return np.arange(next_id, next_id + n_clusters, dtype=np.int32)
    previous = np.full(len(song_ids), -1, dtype=np.int32)
    columns, known = find_columns(np.asarray(champion.song_ids), song_ids)
    previous[known] = champion.arrays["labels"][columns[known]]
    numbers: NDArray[np.int32] = match_cluster_ids(
        previous, labels, np.asarray(champion.arrays["cluster_ids"]), n_clusters=n_clusters, next_id=next_id
    )
    return numbers


def _map_positions(centers: NDArray[np.float64]) -> list[tuple[float, float]]:
    centred = centers - centers.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    plane = np.zeros((len(centers), 2))
    plane[:, : len(axes)] = centred @ axes.T
    # The sign of an axis is arbitrary; its largest coordinate is made positive, so that maps are comparable.
    plane *= np.where(plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return [(round(float(x), 4), round(float(y), 4)) for x, y in plane]


def cohesion_metrics(model: MixModel | ClassicModel) -> dict[str, Any]:
    labels, points = model.labels, cluster_points(model)
    centers = cluster_means(points, labels, _n_clusters(model))[0].astype(np.float32)
    squares = squared_distances(points, centers, labels)
    return measure_cohesion(points, Clusters(centers, float(squares.sum()), labels, np.sqrt(squares)))


def cluster_points(model: MixModel | ClassicModel) -> NDArray[np.float32]:
    """The rows that the clusters were fitted on, shape (n_songs, d)."""
    if isinstance(model, ClassicModel):
        return model.points
    return fit_components.clustering_points(model.components.content, model.components.company)


def _n_clusters(model: MixModel | ClassicModel) -> int:
    return model.n_clusters if isinstance(model, ClassicModel) else model.components.n_clusters


def manifest_entries(clusters: list[ClusterSummary]) -> list[dict[str, Any]]:
    return [
        {"number": cluster.number, "name": cluster.name, "size": cluster.naming.size} for cluster in clusters
    ]
