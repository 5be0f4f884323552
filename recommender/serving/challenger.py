"""What a test does to a list: the challenger's shelf beside the champion's, or why it is not there."""

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from django.db import DatabaseError

from recommender.engine.artifact import ArtifactError
from recommender.experiments import assignment, interleaving_scores, serving_errors
from recommender.models import Experiment, Exposure, ServedList, ServingError
from recommender.registry import model_loader
from recommender.registry.model_loader import Loaded
from recommender.serving import candidate_cache
from recommender.serving.served_lists import Rival

logger = logging.getLogger(__name__)

Arm = ServedList.Arm


def of(listener_id: int, loaded: Loaded, storage: Path, now: datetime) -> Rival | None:
    """The test that this listener's list belongs to; None: the champion serves as ever.

    Whatever is wrong with a challenger harms no listener: the champion serves, and the test is told.
    """
    if loaded.model is None or loaded.degraded is not None:
        return None
    assigned = assignment.of(listener_id, now)
    test = assigned.experiment
    if test is None or not _is_of(test, loaded):
        return None
    if assigned.arm == Arm.CHAMPION:
        return Rival(test, assigned.arm)
    begun = time.perf_counter()
    try:
        rival = _rival(test, assigned.arm, listener_id, loaded, storage, now)
        return replace(rival, seconds=time.perf_counter() - begun) if rival else None
    except DatabaseError:
        raise
    except ArtifactError as error:
        serving_errors.record(test, ServingError.Kind.ARTIFACT, str(error), now)
    except Exception as error:
        logger.exception("challenger_broke experiment=%s listener=%s", test.pk, listener_id)
        serving_errors.record(test, ServingError.Kind.ERROR, type(error).__name__, now)
    return None


def note(served: ServedList, rival: Rival | None) -> None:
    """Let a list count, and a listener of the split be seen, once it was served."""
    if rival is None:
        return
    if rival.takes_turns:
        teams = [item["by_challenger"] for item in served.items]
        if len(teams) > 1:
            interleaving_scores.open_for(served, rival.experiment, teams)
        return
    seen = Exposure(
        experiment=rival.experiment, listener_id=served.listener_id, arm=served.arm,
        first_at=served.generated_at.astimezone(UTC),
    )  # fmt: skip
    Exposure.objects.bulk_create([seen], ignore_conflicts=True)


def _is_of(test: Experiment, loaded: Loaded) -> bool:
    """Whether the champion that serves is the one on trial; the anchor is compared with whichever it is."""
    if test.kind == Experiment.Kind.ANCHOR:
        return test.challenger_id != loaded.version_id
    return test.champion_id == loaded.version_id


def _rival(
    test: Experiment, arm: Arm, listener_id: int, loaded: Loaded, storage: Path, now: datetime
) -> Rival | None:
    is_itself = test.challenger_id == loaded.version_id
    model = loaded.model if is_itself else model_loader.keeper_of(storage).other(test.challenger)
    stocked = candidate_cache.of_rival(listener_id, model, now) if model else None
    if stocked is None:
        serving_errors.record(test, ServingError.Kind.ERROR, "It breaks on a listener.", now)
        return None
    return Rival(test, arm, stocked)
