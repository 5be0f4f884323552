"""A week later: a refresh continues the champion's clusters, a full training finds new ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import transaction

from recommender.engine import artifact
from recommender.engine.clustering.warm_start import UNASSIGNED
from recommender.engine.features import space_from_arrays
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry
from recommender.registry.model_loader import ServingModel, open_serving_model
from recommender.training.train import TrainingOptions, retrain
from recommender.training.warm_start import ChampionClusters, describe_lineage


def learn(storage: Path, **wanted: object) -> ModelVersion:
    run = retrain(TrainingOptions(storage=storage, **wanted))  # type: ignore[arg-type]
    assert run.version is not None, run.error
    return run.version


def numbers(version: ModelVersion, storage: Path) -> dict[int, int]:
    """Each song's cluster number."""
    model: ServingModel = open_serving_model(version, storage)
    of_songs = model.cluster_numbers[np.asarray(model.scorer.labels)]
    return dict(zip(model.song_ids.tolist(), of_songs.tolist(), strict=True))


def names(version: ModelVersion) -> dict[int, str]:
    return dict(Cluster.objects.filter(version=version).values_list("number", "name"))


@pytest.fixture(scope="class")
def refreshed(champion_storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(champion_storage, tmp_path_factory.mktemp("refreshed") / "models"))


@pytest.fixture(scope="class")
def refreshed_version(refreshed: Path, django_db_blocker: Any) -> Iterator[int]:
    with django_db_blocker.unblock(), transaction.atomic():
        yield learn(refreshed).pk
        transaction.set_rollback(True)


@pytest.mark.slow
class TestAfterARefresh:
    """One refresh a week after the champion's training, for all of these tests."""

    @pytest.fixture
    def version(self, refreshed_version: int, db: None) -> ModelVersion:
        return ModelVersion.objects.get(pk=refreshed_version)

    def test_a_refresh_keeps_nearly_every_song_where_it_was_and_every_name(
        self, refreshed: Path, version: ModelVersion
    ) -> None:
        champion = registry.current_champion()
        assert champion is not None

        before, after = numbers(champion, refreshed), numbers(version, refreshed)
        kept = [before[song] == after[song] for song in before]
        assert sum(kept) / len(kept) >= 0.95
        assert set(after) >= set(before)
        assert version.parent == champion
        assert names(version).items() <= names(champion).items()
        assert version.lineage["from"] == champion.label
        assert version.lineage["churn_songs"] == pytest.approx(1 - sum(kept) / len(kept), abs=1e-4)
        assert version.lineage["born"] == []

    def test_a_refresh_is_compared_with_the_champion_on_a_week_that_it_has_not_seen(
        self, refreshed: Path, version: ModelVersion
    ) -> None:
        match = version.metrics["against_champion"]

        assert match["champion"] == registry.current_champion().label  # type: ignore[union-attr]
        assert match["low"] <= match["difference"] <= match["high"]
        assert match["listeners"] >= 20

    def test_a_refresh_keeps_the_scales_of_the_first_training(
        self, refreshed: Path, version: ModelVersion
    ) -> None:
        champion = registry.current_champion()
        assert champion is not None
        spaces = [
            space_from_arrays(artifact.read_arrays(refreshed / one.label, one.artifact_sha256)[0])
            for one in (champion, version)
        ]

        assert spaces[0] is not None
        assert spaces[1] is not None
        assert spaces[0].tokens == spaces[1].tokens
        assert np.array_equal(spaces[0].axes, spaces[1].axes)
        assert np.array_equal(spaces[0].scales, spaces[1].scales)


@pytest.mark.slow
def test_a_full_training_begins_afresh_and_keeps_the_numbers_of_groups_that_went_on(
    week_later: Path,
) -> None:
    champion = registry.current_champion()
    assert champion is not None

    version = learn(week_later, full=True)

    assert version.parent is None
    assert version.lineage["kept"] + len(version.lineage["born"]) == len(
        set(numbers(version, week_later).values())
    )
    assert 0 < version.lineage["churn_songs"] < 1
    new = set(names(version)) - set(names(champion))
    assert new >= set(version.lineage["born"])


@pytest.mark.slow
def test_a_refresh_of_a_refresh_goes_on(week_later: Path) -> None:
    first = learn(week_later, promote=True)

    second = learn(week_later)

    assert second.parent == first
    assert second.lineage["churn_songs"] <= 0.05


@pytest.mark.slow
def test_a_champion_whose_files_are_gone_is_not_carried_on(week_later: Path) -> None:
    champion = registry.current_champion()
    assert champion is not None
    for file in (week_later / champion.label).glob("*.npy"):
        file.unlink()

    version = learn(week_later)

    assert version.parent is None
    assert version.lineage == {}
    assert "against_champion" not in version.metrics


def test_what_became_of_every_group_is_told_with_its_churn_in_songs_and_in_plays() -> None:
    previous = ChampionClusters(
        ModelVersion(label="2026w44.1"),
        labels=np.array([0, 0, 0, 0, 1, 1, 2, 2, UNASSIGNED], np.int32),
        cluster_numbers=np.array([5, 6, 7], np.int32),
        cluster_names={},
        space=None,
    )
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2, 2], np.int32)
    plays = np.array([10, 10, 5, 5, 20, 20, 15, 15, 400], np.float64)

    lineage = describe_lineage(previous, labels, np.array([5, 9, 6], np.int32), plays)

    assert lineage == {
        "from": "2026w44.1", "kept": 2, "born": [9], "retired": [7], "split": [{"from": 5, "into": [5, 9]}],
        "new_songs": 1, "churn_songs": 0.5, "churn_plays": 0.4,
    }  # fmt: skip
