"""A trained model, for tests of serving and monitoring."""

from pathlib import Path

from recommender.models import ModelVersion
from recommender.training.train import TrainingOptions, retrain


def train_champion(storage: Path) -> ModelVersion:
    """Train on the tables and promote the version; its files are in `storage`."""
    run = retrain(TrainingOptions(storage=storage, promote=True))
    assert run.version is not None, run.error
    return run.version
