"""A model that was really trained, for tests of what is done with it."""

from pathlib import Path

from recommender.models import ModelVersion
from recommender.training.train import TrainingOptions, retrain


def train_champion(storage: Path) -> ModelVersion:
    """Train on the tables and make the version champion; its files are under `storage`."""
    run = retrain(TrainingOptions(storage=storage, promote=True))
    assert run.version is not None, run.error
    return run.version
