"""The challenger's part in a served list while an experiment runs."""

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from django.db import DatabaseError

from recommender.engine.artifact import ArtifactError, ArtifactUnavailable
from recommender.experiments import assignment, interleaving_scores, serving_errors
from recommender.models import Experiment, Exposure, ServedList, ServingError, sql
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidate_cache import ServingCandidates
from recommender.serving.served_lists import ChallengerPart

logger = logging.getLogger(__name__)

Arm = ServedList.Arm


def challenger_for(champion: ServingCandidates, storage: Path, now: datetime) -> ChallengerPart | None:
    """The experiment that the list belongs to, with the challenger's candidates; None without one.

    If the challenger fails, the champion serves alone, and the error is recorded.
    """
    listener_id, loaded = champion.row.listener_id, champion.loaded
    if loaded.model is None or loaded.degraded is not None:
        return None
    assigned = assignment.assignment_for(listener_id, now)
    experiment = assigned.experiment
    if experiment is None or not _tests_serving_model(experiment, loaded):
        return None
    if assigned.arm == Arm.CHAMPION:
        return ChallengerPart(experiment, assigned.arm)
    begun = time.perf_counter()
    try:
        part = _load_challenger(experiment, assigned.arm, champion, storage, now)
        return replace(part, seconds=time.perf_counter() - begun) if part else None
    except DatabaseError:
        raise
    except ArtifactUnavailable as error:
        # Not the challenger's fault: it must not end the experiment.
        logger.warning("challenger_unavailable experiment=%s reason=%r", experiment.pk, str(error))
    except ArtifactError as error:
        serving_errors.record_error(experiment, ServingError.Kind.ARTIFACT, str(error), now)
    except Exception as error:
        logger.exception("challenger_failed experiment=%s listener=%s", experiment.pk, listener_id)
        serving_errors.record_error(experiment, ServingError.Kind.ERROR, type(error).__name__, now)
    return None


def record_exposure(served: ServedList, challenger: ChallengerPart | None) -> None:
    if challenger is None:
        return
    if challenger.is_interleaved:
        teams = [item["by_challenger"] for item in served.items]
        if len(teams) > 1:
            interleaving_scores.open_scored_list(served, challenger.experiment, teams)
        return
    exposure = Exposure(
        experiment=challenger.experiment, listener_id=served.listener_id, arm=served.arm,
        first_at=served.generated_at.astimezone(UTC),
    )  # fmt: skip
    sql.insert_row_unless_exists(exposure)


def _tests_serving_model(experiment: Experiment, loaded: LoadedModel) -> bool:
    if experiment.kind == Experiment.Kind.HOLDBACK:
        return experiment.challenger_id != loaded.version_id
    return experiment.champion_id == loaded.version_id


def _load_challenger(
    experiment: Experiment, arm: Arm, champion: ServingCandidates, storage: Path, now: datetime
) -> ChallengerPart | None:
    is_champion_itself = experiment.challenger_id == champion.loaded.version_id
    model = (
        champion.loaded.model
        if is_champion_itself
        else model_loader.loader_for(storage).load_challenger(experiment.challenger)
    )
    candidates = candidate_cache.load_for_challenger(champion, model, now) if model else None
    if candidates is None:
        serving_errors.record_error(experiment, ServingError.Kind.ERROR, "It breaks on a listener.", now)
        return None
    return ChallengerPart(experiment, arm, candidates)
