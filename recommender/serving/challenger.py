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
from recommender.registry.model_loader import LoadedModel
from recommender.serving import candidate_cache
from recommender.serving.served_lists import ChallengerPart

logger = logging.getLogger(__name__)

Arm = ServedList.Arm


def challenger_for(
    listener_id: int, loaded: LoadedModel, storage: Path, now: datetime
) -> ChallengerPart | None:
    """The test that this listener's list belongs to; None: the champion serves as ever.

    Whatever is wrong with a challenger harms no listener: the champion serves, and the test is told.
    """
    if loaded.model is None or loaded.degraded is not None:
        return None
    assigned = assignment.assignment_for(listener_id, now)
    test = assigned.experiment
    if test is None or not _tests_serving_model(test, loaded):
        return None
    if assigned.arm == Arm.CHAMPION:
        return ChallengerPart(test, assigned.arm)
    begun = time.perf_counter()
    try:
        rival = _load_challenger(test, assigned.arm, listener_id, loaded, storage, now)
        return replace(rival, seconds=time.perf_counter() - begun) if rival else None
    except DatabaseError:
        raise
    except ArtifactError as error:
        serving_errors.record_error(test, ServingError.Kind.ARTIFACT, str(error), now)
    except Exception as error:
        logger.exception("challenger_broke experiment=%s listener=%s", test.pk, listener_id)
        serving_errors.record_error(test, ServingError.Kind.ERROR, type(error).__name__, now)
    return None


def record_exposure(served: ServedList, challenger: ChallengerPart | None) -> None:
    """Let a list count, and a listener of the split be seen, once it was served."""
    if challenger is None:
        return
    if challenger.is_interleaved:
        teams = [item["by_challenger"] for item in served.items]
        if len(teams) > 1:
            interleaving_scores.open_scored_list(served, challenger.experiment, teams)
        return
    seen = Exposure(
        experiment=challenger.experiment, listener_id=served.listener_id, arm=served.arm,
        first_at=served.generated_at.astimezone(UTC),
    )  # fmt: skip
    Exposure.objects.bulk_create([seen], ignore_conflicts=True)


def _tests_serving_model(test: Experiment, loaded: LoadedModel) -> bool:
    """Whether the champion that serves is the one on trial; the anchor is compared with whichever it is."""
    if test.kind == Experiment.Kind.ANCHOR:
        return test.challenger_id != loaded.version_id
    return test.champion_id == loaded.version_id


def _load_challenger(
    test: Experiment, arm: Arm, listener_id: int, loaded: LoadedModel, storage: Path, now: datetime
) -> ChallengerPart | None:
    is_itself = test.challenger_id == loaded.version_id
    model = loaded.model if is_itself else model_loader.loader_for(storage).load_challenger(test.challenger)
    stocked = candidate_cache.load_for_challenger(listener_id, model, now) if model else None
    if stocked is None:
        serving_errors.record_error(test, ServingError.Kind.ERROR, "It breaks on a listener.", now)
        return None
    return ChallengerPart(test, arm, stocked)
