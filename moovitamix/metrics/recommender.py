"""Metrics of the models: what serves, how trainings went, what was served and said in the last hour."""

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
# Feedback is found by its number alone; more in an hour are counted as so many.
MAX_COUNTED_EVENTS: Final = 200_000
Status = TrainingRun.Status


def champion_metrics(now: datetime) -> Iterator[Metric]:
    """The version that serves; without one its metrics are not there."""
    version = current_champion()
    yield Gauge("moovitamix_champion", "1 if some version is champion.", 1 if version else 0)
    yield Gauge(
        "moovitamix_model_age_limit_seconds", "MAX_MODEL_AGE_DAYS.", settings.MAX_MODEL_AGE_DAYS * 86_400
    )
    if version is None:
        return
    info = Gauge("moovitamix_champion_info", "Always 1; which version it is.", labels=["version", "method"])
    info.add_metric([version.label, version.method], 1)
    yield info
    ours = version.metrics.get(version.method, {}).get("ndcg")
    for name, about, value in (
        ("created_timestamp_seconds", "When it was made", version.created_at.timestamp()),
        ("data_timestamp_seconds", "Up to when it learnt", version.cut_off.timestamp()),
        ("songs", "Songs that it knows", version.n_songs),
        ("listeners", "Listeners that it learnt from", version.n_listeners),
        ("clusters", "Clusters", version.n_clusters),
        ("artifact_bytes", "Size of its files", version.artifact_bytes),
        ("ndcg", "NDCG@20 on the latest week before its making", ours),
    ):
        if value is not None:
            yield Gauge(f"moovitamix_champion_{name}", f"{about}; of the champion.", value)


def training_metrics(now: datetime) -> Iterator[Metric]:
    groups = TrainingRun.objects.order_by().values("status").annotate(n=Count("pk"), last=Max("finished_at"))
    found = {group["status"]: group for group in groups}
    kept = Gauge("moovitamix_trainings", "Trainings that are kept, by how they ended.", labels=["status"])
    last = Gauge("moovitamix_training_end_timestamp_seconds", "When one last ended so.", labels=["status"])
    for status in Status.values:
        group = found.get(status)
        kept.add_metric([status], group["n"] if group else 0)
        if group and group["last"]:
            last.add_metric([status], group["last"].timestamp())
    yield from (kept, last)


def last_training_metrics(now: datetime) -> Iterator[Metric]:
    training = TrainingRun.objects.exclude(finished_at=None).first()
    if training is None or training.finished_at is None:
        return
    for name, about, value in (
        ("duration_seconds", "End - start", (training.finished_at - training.started_at).total_seconds()),
        ("cpu_seconds", "User + system time of its process", training.cpu_seconds),
        ("peak_memory_bytes", "Largest resident size that was sampled", training.peak_memory),
    ):
        yield Gauge(f"moovitamix_last_training_{name}", f"{about}; of the last training.", value)


def candidate_list_metrics(now: datetime) -> Iterator[Metric]:
    newest = CandidateList.objects.values_list("made_at", flat=True).first()
    if newest is not None:
        yield Gauge(
            "moovitamix_shelf_made_timestamp_seconds", "When the newest shelf was made.", newest.timestamp()
        )


def served_list_metrics(now: datetime) -> Iterator[Metric]:
    recent = ServedList.objects.filter(generated_at__gt=now - HOUR).order_by()
    found = _index_by("arm", recent.values("arm").annotate(n=Count("pk"), took=Avg("milliseconds")))
    lists = Gauge("moovitamix_lists_last_hour", "Lists that were served.", labels=["arm"])
    took = Gauge("moovitamix_list_seconds_last_hour", "Mean time of drawing those measured.", labels=["arm"])
    for arm in ServedList.Arm.values:
        group = found.get(arm)
        lists.add_metric([arm], group["n"] if group else 0)
        if group and group["took"] is not None:
            took.add_metric([arm], group["took"] / 1000)
    yield from (lists, took)


def feedback_metrics(now: datetime) -> Iterator[Metric]:
    newest = Subquery(Feedback.objects.order_by("-pk").values("pk")[:1])
    recent = Feedback.objects.filter(
        pk__gt=newest - MAX_COUNTED_EVENTS, received_at__gt=now - HOUR
    ).order_by()
    found = _index_by("kind", recent.values("kind").annotate(n=Count("pk")))
    events = Gauge("moovitamix_feedback_last_hour", "What listeners said or did.", labels=["kind"])
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
