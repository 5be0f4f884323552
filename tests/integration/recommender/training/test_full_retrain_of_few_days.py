"""`retrain --full` without a week of plays that could choose the number of clusters."""

from datetime import date
from pathlib import Path

from ingestion.demo.world.world import World
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.small_world import fill_tables


def test_without_a_week_of_new_songs_a_full_training_says_that_it_had_nothing_to_choose_by(
    tmp_path: Path, db: None
) -> None:
    fill_tables(World.ending_on(date(2026, 10, 31), songs=200, listeners=5, days=3))

    version = retrain(TrainingOptions(storage=tmp_path, full=True)).version

    assert version is not None
    assert version.configuration["clusters"] == {
        "n_clusters": 10,
        "rule": "The default for a catalogue of this size. "
        "There was no week of new plays to choose the number by.",
    }
