"""Prometheus metrics of the champion, trainings, and lists and feedback of the last hour."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Avg, Count, Max, Subquery
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric

from recommender.models import CandidateList, Feedback, ServedList, TrainingRun
from recommender.registry.registry import current_champion

HOUR: Final = timedelta(hours=1)
# Feedback has an index only on its id, so at most this many of the newest events are counted.
MAX_COUNTED_EVENTS: Final = 200_000
Status = TrainingRun.Status


def champion_metrics(now: datetime) -> Iterator[Metric]:
    """Metrics of the champion; without one, only `moovitamix_champion` and the age limit."""
    version = current_champion()
    yield Gauge("moovitamix_champion", "1 if there is a champion.", 1 if version else 0)
    yield Gauge(
        "moovitamix_model_age_limit_seconds",
        "MAX_MODEL_AGE_DAYS in seconds.",
        settings.MAX_MODEL_AGE_DAYS * 86_400,
    )
    if version is None:
        return
    info = Gauge(
        "moovitamix_champion_info", "Always 1; the labels name the champion.", labels=["version", "method"]
    )
    info.add_metric([version.label, version.method], 1)
    yield info
    ndcg = version.metrics.get(version.method, {}).get("ndcg")
    for name, description, value in (
        ("created_timestamp_seconds", "When it was created", version.created_at.timestamp()),
        ("data_timestamp_seconds", "End of its training data", version.cut_off.timestamp()),
        ("songs", "Songs in the model", version.n_songs),
        ("listeners", "Listeners in the training data", version.n_listeners),
        ("clusters", "Clusters", version.n_clusters),
        ("artifact_bytes", "Size of its files", version.artifact_bytes),
        ("ndcg", "NDCG@20 on the held-out last week before its training", ndcg),
    ):
        if value is not None:
            yield Gauge(f"moovitamix_champion_{name}", f"Champion: {description}.", value)


def training_metrics(now: datetime) -> Iterator[Metric]:
    groups = TrainingRun.objects.order_by().values("status").annotate(n=Count("pk"), last=Max("finished_at"))
    found = {group["status"]: group for group in groups}
    stored = Gauge("moovitamix_trainings", "Stored training runs by status.", labels=["status"])
    last = Gauge(
        "moovitamix_training_end_timestamp_seconds",
        "End of the last training run with this status.",
        labels=["status"],
    )
    for status in Status.values:
        group = found.get(status)
        stored.add_metric([status], group["n"] if group else 0)
        if group and group["last"]:
            last.add_metric([status], group["last"].timestamp())
    yield from (stored, last)


def last_training_metrics(now: datetime) -> Iterator[Metric]:
    training = TrainingRun.objects.exclude(finished_at=None).first()
    if training is None or training.finished_at is None:
        return
    for name, description, value in (
        ("duration_seconds", "End - start", (training.finished_at - training.started_at).total_seconds()),
        ("cpu_seconds", "User + system CPU time of the process", training.cpu_seconds),
        ("peak_memory_bytes", "Largest sampled resident memory", training.peak_memory),
    ):
        yield Gauge(f"moovitamix_last_training_{name}", f"Last training: {description}.", value)


def candidate_list_metrics(now: datetime) -> Iterator[Metric]:
    newest = CandidateList.objects.values_list("made_at", flat=True).first()
    if newest is not None:
        yield Gauge(
            "moovitamix_shelf_made_timestamp_seconds",
            "When the newest candidate list was generated.",
            newest.timestamp(),
        )


def served_list_metrics(now: datetime) -> Iterator[Metric]:
    recent = ServedList.objects.filter(generated_at__gt=now - HOUR).order_by()
    found = _index_by("arm", recent.values("arm").annotate(n=Count("pk"), took=Avg("milliseconds")))
    lists = Gauge("moovitamix_lists_last_hour", "Lists served in the last hour.", labels=["arm"])
    seconds = Gauge("moovitamix_list_seconds_last_hour", "Mean time to draw a list.", labels=["arm"])
    for arm in ServedList.Arm.values:
        group = found.get(arm)
        lists.add_metric([arm], group["n"] if group else 0)
        if group and group["took"] is not None:
            seconds.add_metric([arm], group["took"] / 1000)
    yield from (lists, seconds)


def feedback_metrics(now: datetime) -> Iterator[Metric]:
    newest = Subquery(Feedback.objects.order_by("-pk").values("pk")[:1])
    recent = (
        Feedback.objects.not_withdrawn()
        .filter(pk__gt=newest - MAX_COUNTED_EVENTS, received_at__gt=now - HOUR)
        .order_by()
    )
    found = _index_by("kind", recent.values("kind").annotate(n=Count("pk")))
    events = Gauge(
        "moovitamix_feedback_last_hour", "Feedback events received in the last hour.", labels=["kind"]
    )
    for kind in Feedback.Kind.values:
        events.add_metric([kind], found[kind]["n"] if kind in found else 0)
    yield events


def _index_by(name: str, groups: Any) -> dict[str, Any]:
    return {group[name]: group for group in groups}


METRIC_READERS: Final = (
    champion_metrics,
    training_metrics,
    last_training_metrics,
    candidate_list_metrics,
    served_list_metrics,
    feedback_metrics,
)
