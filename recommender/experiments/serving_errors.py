"""Serving errors of challengers, and the limits at which an experiment stops at once."""

import logging
import math
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from recommender.engine.artifact import ArtifactError, ArtifactUnavailable
from recommender.engine.experiments.sequential import log_e_value_of_failures
from recommender.models import Experiment, ModelVersion, ServedList, ServingError
from recommender.registry.registry import Verify

logger = logging.getLogger(__name__)

WINDOW: Final = timedelta(minutes=15)
MIN_REQUESTS: Final = 50
MAX_ERROR_SHARE: Final = 0.01
# The e-value from which on too many requests fail; it is valid for few requests and for repeated checks. The
# limit of an earlier release, 2 % of 50 requests in 15 minutes, never stopped a small site's challenger.
TOO_MANY_ERRORS: Final = 20.0
MAX_LATENCY_RATIO: Final = 2.0  # challenger's 95th percentile over that of the rest of the request
ACCEPTABLE_MILLISECONDS: Final = 300.0  # listeners do not notice a shorter delay
SLOW_WINDOWS: Final = 3  # consecutive windows
Arm = ServedList.Arm


def record_error(experiment: Experiment, kind: str, detail: str, now: datetime) -> None:
    artifact_errors = ServingError.objects.filter(experiment=experiment, kind=ServingError.Kind.ARTIFACT)
    if kind == ServingError.Kind.ARTIFACT and artifact_errors.exists():
        # The first artifact error ends the experiment; every request until then would add another row.
        return
    logger.warning("serving_error experiment=%s kind=%s reason=%r", experiment.pk, kind, detail)
    ServingError.objects.create(experiment=experiment, kind=kind, detail=detail[:500], at=now)


def find_hard_failure(experiment: Experiment, now: datetime, verify: Verify) -> str:
    """The reason why the challenger must stop at once; empty if it may go on."""
    artifact_error = (
        ServingError.objects.filter(experiment=experiment, kind=ServingError.Kind.ARTIFACT, at__lte=now)
        .order_by("-id")
        .first()
    )
    if artifact_error is not None:
        return f"{experiment.challenger} could not be loaded: {artifact_error.detail}"
    return (
        _why_damaged(experiment, verify)
        or _why_trial_failed(experiment)
        or _why_too_many_errors(experiment, now)
        or _why_too_slow(experiment, now)
    )


def is_unservable(version: ModelVersion) -> bool:
    errors = ServingError.objects.filter(experiment__challenger=version, kind=ServingError.Kind.ARTIFACT)
    is_gone = version.role == ModelVersion.Role.WITHDRAWN or version.files_deleted_at is not None
    return is_gone or errors.exists()


def _why_damaged(experiment: Experiment, verify: Verify) -> str:
    # The holdback's files are verified when it is restored, since another version can then replace it.
    if experiment.kind in {Experiment.Kind.HOLDBACK, Experiment.Kind.AA_TEST}:
        return ""
    try:
        verify(experiment.challenger)
    except ArtifactUnavailable:
        return ""  # it could not be verified
    except ArtifactError as error:
        return f"{experiment.challenger} can't be loaded: {error}"
    return ""


def _why_trial_failed(experiment: Experiment) -> str:
    """The reason to stop because the last hourly trial alone failed; empty if it passed."""
    failures, listeners = experiment.failed_listeners, experiment.tried_listeners
    if not _is_too_many(failures, listeners):
        return ""
    return (
        f"{experiment.challenger} made no list for {failures} of {listeners} listeners in a trial, the "
        f"champion did; at most {MAX_ERROR_SHARE:.0%} may fail."
    )


def _is_too_many(failures: int, requests: int) -> bool:
    return failures > MAX_ERROR_SHARE * requests and log_e_value_of_failures(
        failures, requests - failures, MAX_ERROR_SHARE
    ) >= math.log(TOO_MANY_ERRORS)


def _why_too_many_errors(experiment: Experiment, now: datetime) -> str:
    """The reason to stop because requests failed since the experiment started; empty if too few failed.

    An empty list counts as a failure. An e-value tests that at most `MAX_ERROR_SHARE` of the requests fail.
    """
    errors = ServingError.objects.filter(
        experiment=experiment, kind=ServingError.Kind.ERROR, at__lte=now
    ).count()
    served = ServedList.objects.filter(experiment=experiment, generated_at__lte=now).exclude(arm=Arm.CHAMPION)
    empty = served.filter(items=[]).count()
    requests, failures = served.count() + errors, errors + empty
    if not _is_too_many(failures, requests):
        return ""
    return (
        f"{failures} of {requests} requests to {experiment.challenger} broke or came back empty; at most "
        f"{MAX_ERROR_SHARE:.0%} may."
    )


def _why_too_slow(experiment: Experiment, now: datetime) -> str:
    # Compare the challenger's time with the rest of the same requests, since a busy machine slows both.
    served = ServedList.objects.filter(
        experiment=experiment, challenger_milliseconds__isnull=False,
        arm__in=(Arm.CHALLENGER, Arm.INTERLEAVED),
    )  # fmt: skip
    for window in range(SLOW_WINDOWS):
        until = now - window * WINDOW
        lists = served.filter(generated_at__gte=until - WINDOW, generated_at__lt=until)
        times = np.array(lists.values_list("milliseconds", "challenger_milliseconds")).reshape(-1, 2)
        if len(times) < MIN_REQUESTS // SLOW_WINDOWS:
            return ""
        challenger = np.quantile(times[:, 1], 0.95)
        rest = np.quantile(times[:, 0] - times[:, 1], 0.95)
        if challenger <= ACCEPTABLE_MILLISECONDS or challenger <= MAX_LATENCY_RATIO * rest:
            return ""
    return f"{experiment.challenger} answers more than {MAX_LATENCY_RATIO:g} times slower than the champion."
