"""Hourly trial of a running challenger: it makes lists for a sample of listeners."""

from datetime import datetime, timedelta
from heapq import nsmallest
from pathlib import Path
from typing import Final

from recommender import listener_profiles
from recommender.engine.artifact import ArtifactError, ArtifactUnavailable
from recommender.experiments import serving_errors
from recommender.experiments.assignment import hash_to_share
from recommender.models import Experiment, ServingError
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.candidates import candidate_cache

TRIAL_EVERY: Final = timedelta(hours=1)
TRIAL_LISTENERS: Final = 200  # half a second of computing
# Beside them: a challenger may fail for nobody but listeners without sessions.
TRIAL_NEWCOMERS: Final = 20
TRIED_KINDS: Final = (Experiment.Kind.REFRESH, Experiment.Kind.CHANGE)


def try_challengers(champion: LoadedModel, storage: Path, now: datetime) -> list[Experiment]:
    """Run a trial of each challenger whose last trial is an hour old, and return their experiments.

    Args:
        champion: the serving model. Nothing is tried if there is none or it is degraded.
    """
    if champion.model is None or champion.degraded is not None:
        return []
    running = Experiment.objects.filter(status=Experiment.Status.RUNNING, kind__in=TRIED_KINDS)
    due = [one for one in running.select_related("challenger").order_by("pk") if _is_due(one, now)]
    for experiment in due:
        try:
            model = model_loader.loader_for(storage).load_challenger(experiment.challenger)
        except ArtifactUnavailable:
            continue
        except ArtifactError as error:
            serving_errors.record_error(experiment, ServingError.Kind.ARTIFACT, str(error), now)
            continue
        tried, failed = _try_listeners(experiment, model, champion, now)
        Experiment.objects.filter(pk=experiment.pk).update(
            tried_at=now, tried_listeners=tried, failed_listeners=failed
        )
    return due


def _is_due(experiment: Experiment, now: datetime) -> bool:
    # A clock that was set back must not stop the trials.
    return experiment.tried_at is None or abs(now - experiment.tried_at) >= TRIAL_EVERY


def _try_listeners(
    experiment: Experiment, model: ServingModel, champion: LoadedModel, now: datetime
) -> tuple[int, int]:
    """Return how many listeners were tried, and how many got a list only from the champion.

    New lists of active listeners are stored for their next requests. Who has a list with all their events
    got it from this model, and needs no other one. Newcomers outside the sample may never request a list.
    """
    active = candidate_cache.active_listeners(now).values_list("pk", flat=True)
    sample = nsmallest(TRIAL_LISTENERS, active, key=lambda pk: hash_to_share(experiment.pk, "trial", pk))
    # Those of the sample need no second list.
    newcomers = set(candidate_cache.newest_listeners(TRIAL_NEWCOMERS)).difference(sample)
    challenger = LoadedModel(model, None)
    due = candidate_cache.listeners_due(challenger, now, among=sample)
    profiles = listener_profiles.read_profiles(sorted({*due, *newcomers}), now)
    read = list(profiles.values())
    rows = candidate_cache.make_lists(read, challenger, now)
    # A second attempt, because this test is repeated every hour: what fails by chance does not count.
    without = [profile for profile, row in zip(read, rows, strict=True) if row is None]
    second = [candidate_cache.make_lists([profile], challenger, now)[0] for profile in without]
    failed = [profile for profile, row in zip(without, second, strict=True) if row is None]
    failures = sum(row is not None for row in candidate_cache.make_lists(failed, champion, now))
    stored = set(due)
    made = [row for row in (*rows, *second) if row is not None and row.listener_id in stored]
    candidate_cache.replace_lists(made, now)
    return len({*sample, *profiles}), failures
