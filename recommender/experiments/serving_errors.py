"""What goes wrong while a challenger serves: counted, and a hard failure where it is too much."""

import logging
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from recommender.engine.artifact import ArtifactError
from recommender.models import Experiment, ModelVersion, ServedList, ServingError
from recommender.registry.registry import Verify

logger = logging.getLogger(__name__)

WINDOW: Final = timedelta(minutes=15)
MIN_REQUESTS: Final = 50
MAX_ERROR_SHARE: Final = 0.02
MAX_LATENCY_RATIO: Final = 2.0  # times the 95th percentile of the rest of the request
ACCEPTABLE_MILLISECONDS: Final = 300.0  # milliseconds; faster than that nobody waits
SLOW_WINDOWS: Final = 3  # windows in a row
Arm = ServedList.Arm


def record_error(experiment: Experiment, kind: str, detail: str, now: datetime) -> None:
    """Write down that a list of this test could not be made as it should."""
    known = ServingError.objects.filter(experiment=experiment, kind=ServingError.Kind.ARTIFACT)
    if kind == ServingError.Kind.ARTIFACT and known.exists():
        # The test ends by the first: each request until then would only add another.
        return
    logger.warning("serving_error experiment=%s kind=%s reason=%r", experiment.pk, kind, detail)
    ServingError.objects.create(experiment=experiment, kind=kind, detail=detail[:500], at=now)


def find_hard_failure(experiment: Experiment, now: datetime, verify: Verify) -> str:
    """Why the challenger must stop at once, in a sentence; empty where it need not."""
    broken = (
        ServingError.objects.filter(experiment=experiment, kind=ServingError.Kind.ARTIFACT)
        .order_by("-id")
        .first()
    )
    if broken is not None:
        return f"{experiment.challenger} could not be loaded: {broken.detail}"
    return (
        _why_damaged(experiment, verify)
        or _why_too_many_errors(experiment, now)
        or _why_too_slow(experiment, now)
    )


def is_unservable(version: ModelVersion) -> bool:
    """Whether a former champion was withdrawn, or could not be loaded when it was tested."""
    broken = ServingError.objects.filter(experiment__challenger=version, kind=ServingError.Kind.ARTIFACT)
    return version.role == ModelVersion.Role.WITHDRAWN or broken.exists()


def _why_damaged(experiment: Experiment, verify: Verify) -> str:
    """What is wrong with the files of a new version; its promotion would find out too late.

    What has become of an anchor's is asked where it is to come back: there is a version behind it.
    """
    if experiment.kind in {Experiment.Kind.ANCHOR, Experiment.Kind.EQUALS}:
        return ""
    try:
        verify(experiment.challenger)
    except ArtifactError as error:
        return f"{experiment.challenger} can't be loaded: {error}"
    return ""


def _why_too_many_errors(experiment: Experiment, now: datetime) -> str:
    """Over all windows since the start: a bad quarter of an hour is not forgotten until it was judged."""
    moments = ServingError.objects.filter(experiment=experiment, kind=ServingError.Kind.ERROR).values_list(
        "at", flat=True
    )
    served = ServedList.objects.filter(experiment=experiment)
    empty = served.filter(items=[]).values_list("generated_at", flat=True)
    times = sorted([*moments, *empty])
    for place, moment in enumerate(times):
        wrong = sum(1 for other in times[place:] if other < moment + WINDOW)
        errors = sum(1 for other in moments if moment <= other < moment + WINDOW)
        requests = served.filter(generated_at__gte=moment, generated_at__lt=moment + WINDOW).count() + errors
        if requests >= MIN_REQUESTS and wrong > MAX_ERROR_SHARE * requests:
            return (
                f"{wrong} of {requests} requests to {experiment.challenger} broke or came back empty within "
                f"15 minutes from {moment:%Y-%m-%d %H:%M} UTC on."
            )
    return ""


def _why_too_slow(experiment: Experiment, now: datetime) -> str:
    """In the same requests the challenger's part is held against all the rest: a slow machine slows both."""
    of_test = ServedList.objects.filter(experiment=experiment, challenger_milliseconds__isnull=False)
    of_test = of_test.filter(arm__in=(Arm.CHALLENGER, Arm.INTERLEAVED))
    for window in range(SLOW_WINDOWS):
        until = now - window * WINDOW
        lists = of_test.filter(generated_at__gte=until - WINDOW, generated_at__lt=until)
        took = np.array(lists.values_list("milliseconds", "challenger_milliseconds")).reshape(-1, 2)
        if len(took) < MIN_REQUESTS // SLOW_WINDOWS:
            return ""
        ours = np.quantile(took[:, 1], 0.95)
        theirs = np.quantile(took[:, 0] - took[:, 1], 0.95)
        if ours <= ACCEPTABLE_MILLISECONDS or ours <= MAX_LATENCY_RATIO * theirs:
            return ""
    return f"{experiment.challenger} answers more than {MAX_LATENCY_RATIO:g} times slower than the champion."
