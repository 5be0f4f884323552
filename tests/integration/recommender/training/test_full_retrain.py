"""`retrain --full`: later plays choose the number of clusters, or a person does."""

import html
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import transaction

from ingestion.models import Listener
from recommender import listener_profiles
from recommender.dashboard.tables import metrics_table
from recommender.engine import artifact
from recommender.models import ModelVersion, TrainingRun
from recommender.registry import registry
from recommender.registry.model_loader import ServingModel, open_serving_model
from recommender.training import evaluation
from recommender.training.train import TrainingOptions, retrain


def learn(storage: Path, **wanted: object) -> ModelVersion:
    run = retrain(TrainingOptions(storage=storage, **wanted))  # type: ignore[arg-type]
    assert run.version is not None, run.error
    return run.version


def champion() -> ModelVersion:
    row = registry.current_champion()
    assert row is not None
    return row


def shares(model: ServingModel, version: ModelVersion) -> dict[int, dict[int, float]]:
    """By listener, the affinities by cluster number, without listeners who have none."""
    known = listener_profiles.read_profiles(
        list(Listener.objects.values_list("pk", flat=True)), version.created_at
    )
    found = {pk: model.cluster_affinities(one.model_profile(model.song_ids)) for pk, one in known.items()}
    return {pk: of_one for pk, of_one in found.items() if of_one}


def overlap(before: ServingModel, after: ServingModel) -> dict[int, dict[int, float]]:
    """Of each old cluster's songs, the shares that are in each new one."""
    joined: dict[int, dict[int, float]] = {}
    now = dict(
        zip(after.song_ids.tolist(), after.cluster_numbers[np.asarray(after.scorer.labels)], strict=True)
    )
    for song, label in zip(before.song_ids.tolist(), np.asarray(before.scorer.labels), strict=True):
        parts = joined.setdefault(int(before.cluster_numbers[label]), {})
        parts[int(now[song])] = parts.get(int(now[song]), 0) + 1
    return {old: {new: n / sum(parts.values()) for new, n in parts.items()} for old, parts in joined.items()}


@pytest.fixture(scope="class")
def full_storage(champion_storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(champion_storage, tmp_path_factory.mktemp("full") / "models"))


@pytest.fixture(scope="class")
def trained_version(full_storage: Path, django_db_blocker: Any) -> Iterator[int]:
    with django_db_blocker.unblock(), transaction.atomic():
        yield learn(full_storage, full=True).pk
        transaction.set_rollback(True)


@pytest.mark.slow
class TestAfterAFullTraining:
    """One full training a week after the champion's, for all of these tests."""

    @pytest.fixture
    def version(self, trained_version: int, db: None) -> ModelVersion:
        return ModelVersion.objects.get(pk=trained_version)

    def test_the_plays_of_the_latest_week_choose_how_many_clusters_there_are(
        self, version: ModelVersion
    ) -> None:
        told = version.configuration["clusters"]
        assert told["n_clusters"] == version.n_clusters == version.clusters.count()
        assert [score["n_clusters"] for score in told["scores"]] == [16, 23, 32, 45, 64]
        assert min(told["scores"], key=lambda score: score["behind"])["behind"] == 0
        assert told["listeners"] >= 30
        assert told["songs"] == version.n_songs
        assert "lists drawn for what" in told["rule"]
        assert "n_clusters" not in version.configuration

    def test_who_looks_at_the_version_sees_every_number_that_was_tried_and_which_rule_decided(
        self, version: ModelVersion
    ) -> None:
        shown = metrics_table(version)

        told = version.configuration["clusters"]
        assert f"Number of clusters: {version.n_clusters}." in shown
        assert told["rule"] in html.unescape(shown)
        assert all(f"{score['ndcg']:.4f}" in shown for score in told["scores"])

    def test_affinities_sum_to_1_before_a_full_training_after_it_and_as_its_overlap_carries_them(
        self, full_storage: Path, version: ModelVersion
    ) -> None:
        before = open_serving_model(champion(), full_storage)
        after = open_serving_model(version, full_storage)

        old, new = shares(before, version), shares(after, version)
        moved = overlap(before, after)
        carried = {
            pk: sum(share * part for number, share in own.items() for part in moved.get(number, {}).values())
            for pk, own in old.items()
        }

        assert len(old) == len(new) >= 100
        assert all(sum(own.values()) == pytest.approx(1, abs=1e-5) for own in (*old.values(), *new.values()))
        assert list(carried.values()) == pytest.approx([1] * len(old), abs=1e-5)


@pytest.mark.slow
def test_a_number_set_by_hand_is_what_a_full_training_takes(week_later: Path) -> None:
    version = learn(week_later, full=True, n_clusters=12)

    assert version.n_clusters == 12
    assert version.configuration["n_clusters"] == 12
    assert version.configuration["clusters"] == {"n_clusters": 12, "rule": "Set by hand."}


@pytest.mark.slow
def test_a_first_training_and_a_refresh_choose_nothing_and_say_where_the_number_is_from(
    week_later: Path,
) -> None:
    version = learn(week_later)

    assert champion().configuration["clusters"] == {
        "n_clusters": 31, "rule": "The default for a catalogue of this size."
    }  # fmt: skip
    assert version.configuration["clusters"] == {
        "n_clusters": 31, "rule": f"Continued from {champion().label}."
    }  # fmt: skip


@pytest.mark.slow
def test_a_full_training_that_breaks_while_it_chooses_leaves_all_as_it_was(
    week_later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9 GB")

    monkeypatch.setattr(evaluation, "with_chosen_n_clusters", broken)
    before = champion()

    with pytest.raises(MemoryError):
        retrain(TrainingOptions(storage=week_later, full=True, promote=True))

    failed = TrainingRun.objects.first()
    assert failed is not None
    assert (failed.status, failed.error) == ("failed", "MemoryError: Unable to allocate 9 GB")
    assert list(ModelVersion.objects.all()) == [champion()] == [before]
    assert [folder.name for folder in week_later.iterdir()] == [before.label]
    artifact.verify_files(week_later / before.label, before.artifact_sha256)
