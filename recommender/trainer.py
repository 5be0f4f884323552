"""From settings to what training and measuring need, once for the command and the task."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from recommender import registry, weekly
from recommender.configuration import verify
from recommender.experiments import Judged
from recommender.matrices import read_training_data
from recommender.measuring import WEEK, compare_version, latest_week, open_model
from recommender.models import DriftReport, ModelVersion, TrainingRun
from recommender.training import Order, Watch, retrain
from recommender.weekly import Cycled


def retrain_now(watch: Watch | None = None, **wanted: Any) -> TrainingRun:
    """One training into the settings' storage; arguments as `Order`, raises as `retrain`."""
    return retrain(Order(storage=settings.MODEL_STORAGE, **wanted), watch)


def cycle_now(**wanted: Any) -> Cycled:
    """Learn from what is new, pass the gates and be tested; arguments as `Order`.

    Raises:
        AlreadyTraining: another training holds the lock.
    """
    order = Order(storage=settings.MODEL_STORAGE, only_if_new=True, by=weekly.BY_ITSELF, **wanted)
    return weekly.cycle(order, timezone.now(), verify)


def look_now() -> list[Judged]:
    """The daily look at tests, engagement, cohesion and feed."""
    return weekly.look(timezone.now(), verify)


def check_drift_now() -> tuple[list[DriftReport], bool]:
    """The weekly look at drift; whether it calls for a full retrain."""
    return weekly.watch_drift(settings.MODEL_STORAGE, timezone.now())


@dataclass(frozen=True)
class Evaluated:
    """A version beside the baselines on the latest week.

    Attributes:
        metrics: {} where the latest week, or the time before it, holds nothing to go by.
        has_seen_the_week: whether it has learnt from that week, and so knows the answers.
        before: what its training measured before it had.
    """

    label: str
    metrics: dict[str, dict[str, Any]]
    has_seen_the_week: bool
    before: dict[str, dict[str, Any]]


def evaluate_now(label: str | None) -> Evaluated:
    """Measure a version, the champion by default, on the latest week.

    Raises:
        RegistryError: there is no such version, or no champion.
        ArtifactError: its files are missing or damaged.
    """
    version = registry.find(label) if label else registry.champion_row()
    if version is None:
        raise registry.UnknownVersion(
            registry.NO_CHAMPION if ModelVersion.objects.exists() else registry.NO_MODEL
        )
    model, song_ids = open_model(version, settings.MODEL_STORAGE)
    data = read_training_data()
    week = latest_week(data, version.seed)
    if week is None:
        return Evaluated(version.label, {}, False, version.metrics)
    begins = float(data.plays.at.max()) - WEEK
    metrics = compare_version(week, model, song_ids, version.seed)
    return Evaluated(version.label, metrics, version.cut_off.timestamp() > begins, version.metrics)
