"""Feedback moves songs between clusters, where held-out votes agree, and goes away with its votes."""

from pathlib import Path

import numpy as np
import pytest

from ingestion.models import Listener
from recommender.engine import artifact
from recommender.engine.clustering.labeling import ClusterName
from recommender.engine.clustering.nearest_centers import cluster_means
from recommender.engine.mix.model import MixModel
from recommender.models import Cluster, Feedback, ModelVersion, SongEvidence
from recommender.registry import registry
from recommender.registry.model_loader import ServingModel, open_serving_model
from recommender.training import cluster_feedback
from recommender.training.clusters import ClusterSummary, cluster_points
from recommender.training.dataset import TrainingData, read_training_data
from recommender.training.stored_version import read_version
from recommender.training.train import TrainingOptions, retrain
from recommender.training.warm_start import LABELS_WITHOUT_FEEDBACK
from tests.support.builders.recommendations import RECOMMENDED_AT


def heard(storage: Path) -> tuple[ModelVersion, cluster_feedback.AppliedVotes, TrainingData]:
    """The champion, the effect of all votes so far on its clusters, and the training data."""
    champion = registry.current_champion()
    assert champion is not None
    model = read_version(champion, storage).model
    assert isinstance(model, MixModel)
    data = read_training_data()
    return champion, cluster_feedback.apply_votes(model, data, 7), data


def vote(model: ServingModel, songs: list[int], home: int, *, listeners: int = 40) -> None:
    """Add likes of these songs by listeners who otherwise like only songs of the cluster `home`."""
    labels = np.asarray(model.scorer.labels)
    inside = model.song_ids[labels == home][:12].tolist()
    outside = model.song_ids[labels != home][::2].tolist()
    rows = []
    for listener in Listener.objects.values_list("pk", flat=True)[:listeners]:
        said = [
            *((one, "like") for one in songs),
            *((one, "like") for one in inside),
            *((one, "skip") for one in outside),
        ]
        rows += [
            Feedback(
                event_id=f"{listener}-{one}",
                listener_id=listener,
                song_id=one,
                kind=kind,
                at=RECOMMENDED_AT,
                received_at=RECOMMENDED_AT,
            )
            for one, kind in dict(reversed(said)).items()
        ]
    Feedback.objects.bulk_create(rows)


@pytest.fixture
def placed(storage: Path) -> tuple[Path, int, int]:
    """One of ten songs at a cluster's border that votes move to another cluster, and that cluster's label."""
    champion = registry.current_champion()
    assert champion is not None
    before = open_serving_model(champion, storage)
    labels = np.asarray(before.scorer.labels)
    home = int(np.bincount(labels).argmax())
    model = read_version(champion, storage).model
    points = cluster_points(model)
    centers = cluster_means(points, labels, len(before.clusters))[0]
    own = ((points - centers[labels]) ** 2).sum(axis=1)
    there = ((points - centers[home]) ** 2).sum(axis=1)
    nearest = np.argsort(np.where(labels == home, np.inf, there - own))
    songs = before.song_ids[nearest[:10]].tolist()
    vote(before, songs, home)
    return storage, songs[0], home


def rows(
    version: ModelVersion, found: cluster_feedback.AppliedVotes, data: TrainingData
) -> list[SongEvidence]:
    names = list(Cluster.objects.filter(version=version).order_by("position"))
    groups = [
        ClusterSummary(one.position, one.number, ClusterName(one.name, one.size), one.plays, [])
        for one in names
    ]
    return found.evidence_rows(version, data.catalogue.ids, groups)


def test_a_song_goes_where_listeners_place_it_and_the_evidence_is_kept(
    placed: tuple[Path, int, int],
) -> None:
    storage, song, home = placed

    version, found, data = heard(storage)

    column = int(np.searchsorted(data.catalogue.ids, song))
    assert found.model.labels[column] == home
    evidence = next(one for one in rows(version, found, data) if one.song_id == song)
    assert evidence.listeners == 40
    assert evidence.before != evidence.after
    assert evidence.margin > 0.8


def test_deleting_the_votes_restores_every_assignment(placed: tuple[Path, int, int]) -> None:
    storage, _, _ = placed
    _, found, _ = heard(storage)
    assert (found.model.labels != found.labels_without_feedback).any()

    Feedback.objects.all().delete()
    version, without, data = heard(storage)

    assert np.array_equal(without.model.labels, found.labels_without_feedback)
    assert rows(version, without, data) == []


def test_a_song_that_moved_is_served_from_its_new_cluster(placed: tuple[Path, int, int]) -> None:
    storage, song, home = placed
    _, found, data = heard(storage)

    parts = found.model.components

    column = int(np.searchsorted(data.catalogue.ids, song))
    inside = parts.by_cluster[parts.cluster_starts[home] : parts.cluster_starts[home + 1]]
    assert column in inside
    assert sorted(parts.by_cluster.tolist()) == list(range(parts.n_songs))


def test_votes_by_chance_move_nothing(storage: Path) -> None:
    ids = read_training_data().catalogue.ids
    random = np.random.default_rng(1)
    said = []
    for listener in Listener.objects.values_list("pk", flat=True):
        for song in random.choice(ids, 30, replace=False).tolist():
            kind = "like" if random.random() < 0.3 else "skip"
            said.append(
                Feedback(
                    event_id=f"{listener}-{song}",
                    listener_id=listener,
                    song_id=song,
                    kind=kind,
                    at=RECOMMENDED_AT,
                    received_at=RECOMMENDED_AT,
                )
            )
    Feedback.objects.bulk_create(said)

    version, found, data = heard(storage)
    told = rows(version, found, data)

    assert np.array_equal(found.model.labels, found.labels_without_feedback)
    # Still it is known which songs most need an opinion, and that none has moved.
    assert len(told) > 10
    assert [row for row in told if row.before != row.after] == []


def test_a_training_keeps_the_groups_as_they_were_before_feedback(placed: tuple[Path, int, int]) -> None:
    storage, _, _ = placed

    run = retrain(TrainingOptions(storage=storage))

    assert run.version is not None, run.error
    arrays, _ = artifact.read_arrays(storage / run.version.label, run.version.artifact_sha256)
    moved = np.flatnonzero(arrays["labels"] != arrays[LABELS_WITHOUT_FEEDBACK])
    told = SongEvidence.objects.filter(version=run.version)
    assert {int(arrays["song_ids"][place]) for place in moved} == {
        one.song_id for one in told if one.before != one.after
    }
