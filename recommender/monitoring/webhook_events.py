"""Reports promotions and rollbacks to webhooks."""

from collections.abc import Iterator
from datetime import datetime

from ingestion.alerts.webhooks import Event
from ingestion.models import WebhookEvent
from recommender.models import Promotion


def promotion_events(since: datetime) -> Iterator[Event]:
    for promotion in Promotion.objects.filter(at__gte=since).select_related("promoted", "replaced"):
        data = {
            "promotion": promotion.pk, "model": promotion.promoted.label,
            "replaced": promotion.replaced.label if promotion.replaced else None,
            "rollback": promotion.rollback, "reason": promotion.reason,
        }  # fmt: skip
        yield Event(WebhookEvent.MODEL_PROMOTED, promotion.pk, promotion.at, data)
