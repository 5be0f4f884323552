"""A version's clusters as people see them: names, sizes, and numbers that go on from version to version."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import Max
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import Classic
from recommender.engine.clustering.kmeans import Clusters, centres_of, cohesion, match_ids
from recommender.engine.clustering.labeling import ClusterName, name_clusters
from recommender.engine.mix import fit_components
from recommender.engine.mix.model import Mix
from recommender.listener_profiles import columns_of
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry
from recommender.training.dataset import TrainingData


@dataclass(frozen=True)
class Group:
    """One cluster: its place among the model's own labels, its number for ever, and what it is called."""

    position: int
    number: int
    named: ClusterName
    plays: int
    examples: list[int]
    place: tuple[float, float] = (0.0, 0.0)

    def row(self, version: ModelVersion) -> Cluster:
        named = self.named
        return Cluster(
            version=version, number=self.number, position=self.position, name=named.name, size=named.size,
            plays=self.plays, facts={"genres": named.genres, "decade": named.decade, "moods": named.moods,
                                     "examples": self.examples, "map": list(self.place)},
        )  # fmt: skip


def groups_of(
    model: Mix | Classic, data: TrainingData, storage: Path, carried: Mapping[int, str]
) -> list[Group]:
    """The model's clusters in the order of its labels.

    Args:
        carried: names by number of the groups that were carried on, in that order; empty: they are new, and
            keep the number of a champion's group where most of its songs went on together.
    """
    catalogue = data.catalogue
    played = np.bincount(data.plays.songs, weights=data.plays.count, minlength=catalogue.n_songs)
    n_clusters = _n_clusters(model)
    named = name_clusters(catalogue, model.labels, n_clusters, played.astype(np.float32))
    if carried:
        numbers = np.array([*carried][:n_clusters], dtype=np.int32)
        named = [replace(one, name=carried[int(number)]) for one, number in zip(named, numbers, strict=True)]
    else:
        numbers = _numbers(catalogue.ids, model.labels, n_clusters, storage)
    plays = np.bincount(model.labels, weights=played, minlength=n_clusters)
    places = _map_of(model)
    return [
        Group(position, int(numbers[position]), one, round(float(plays[position])),
              catalogue.ids[one.examples].tolist(), places[position])
        for position, one in enumerate(named)
    ]  # fmt: skip


def _numbers(
    song_ids: NDArray[np.int64], labels: NDArray[np.int32], n_clusters: int, storage: Path
) -> NDArray[np.int32]:
    """The champion's numbers for the clusters that go on, and new ones for the others."""
    next_id = (Cluster.objects.aggregate(Max("number"))["number__max"] or 0) + 1
    champion = registry.champion_row()
    fresh = np.arange(next_id, next_id + n_clusters, dtype=np.int32)
    if champion is None:
        return fresh
    try:
        arrays, _ = artifact.read(storage / champion.label, champion.artifact_sha256)
    except artifact.ArtifactError:
        # Whose files are gone has no songs to compare; serving says so, and training goes on.
        return fresh
    previous = np.full(len(song_ids), -1, dtype=np.int32)
    columns, known = columns_of(np.asarray(arrays["song_ids"]), song_ids)
    previous[known] = arrays["labels"][columns[known]]
    ids: NDArray[np.int32] = match_ids(
        previous, labels, np.asarray(arrays["cluster_ids"]), n_clusters=n_clusters, next_id=next_id
    )
    return ids


def _map_of(model: Mix | Classic) -> list[tuple[float, float]]:
    """Each cluster's middle on the two main axes of all middles."""
    centers = centres_of(points_of(model), model.labels, _n_clusters(model))[0]
    centred = centers - centers.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    flat = np.zeros((len(centers), 2))
    flat[:, : len(axes)] = centred @ axes.T
    # The sign of an axis is nobody's choice: the largest coordinate is positive.
    flat *= np.where(flat[np.abs(flat).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return [(round(float(x), 4), round(float(y), 4)) for x, y in flat]


def cohesion_of(model: Mix | Classic) -> dict[str, Any]:
    """How well the clusters hold together, in the space in which they were found."""
    labels, points = model.labels, points_of(model)
    centers = centres_of(points, labels, _n_clusters(model))[0].astype(np.float32)
    squares = ((points - centers[labels]) ** 2).sum(axis=1)
    return cohesion(points, Clusters(centers, float(squares.sum()), labels, np.sqrt(squares)))


def points_of(model: Mix | Classic) -> NDArray[np.float32]:
    """Shape (n_songs, d): the space in which the clusters were found."""
    if isinstance(model, Classic):
        return model.points
    return fit_components.points_of(model.parts.content, model.parts.company)


def _n_clusters(model: Mix | Classic) -> int:
    return model.n_clusters if isinstance(model, Classic) else model.parts.n_clusters


def facts_of(groups: list[Group]) -> list[dict[str, Any]]:
    """For the artifact's manifest."""
    return [{"number": group.number, "name": group.named.name, "size": group.named.size} for group in groups]
