"""Erases personal data: on request, and if the source has not sent the listener for some time."""

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from django.apps import apps
from django.db import transaction
from django.db.models import Q, QuerySet

from ingestion.english import english_plural
from ingestion.models import Listener, ListeningHistory, Rejection
from ingestion.pipeline.upsert import in_batches
from ingestion.source.schemas import Resource

logger = logging.getLogger(__name__)

PERSONAL_FIELDS: Final = ("first_name", "last_name", "email", "gender", "favorite_genres")
# The field of a source row that names the listener.
LISTENER_FIELDS: Final = {Resource.USERS: "id", Resource.LISTENING_HISTORY: "user_id"}
# Below SQLite's limit of variables in a statement, and short enough for its one write lock.
BATCH: Final = 500


def forget_listener(listener: Listener) -> dict[str, int]:
    """Delete a listener with all stored data; return the deleted rows by table.

    If the source still sends the listener, the next run imports them again.
    """
    with transaction.atomic():
        rejections = [pk for pk, _ in _rejections_of({listener.pk}, LISTENER_FIELDS)]
        deleted = Counter(Rejection.objects.filter(pk__in=rejections).delete()[1])
        # Sessions have no cascade, as a protection against deletion by mistake.
        deleted.update(ListeningHistory.objects.filter(user=listener).delete()[1])
        # The cascade deletes feedback, lists and experiment data of the recommender.
        deleted.update(listener.delete()[1])
    logger.info("listener_forgotten rows=%s", deleted.total())
    return {english_plural(apps.get_model(label)): count for label, count in deleted.items() if count}


def erase_missing_listeners(before: datetime) -> int:
    """Erase the personal data of listeners unavailable since before this time; return how many.

    Their sessions and feedback stay, under an ID that can't be linked to a person.
    """
    has_data = Q()
    for name in PERSONAL_FIELDS:
        has_data |= ~Q(**{name: ""})
    missing = Listener.objects.filter(has_data, unavailable_at__lte=before).order_by("pk")
    erased = 0
    while ids := list(missing.values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            rejections = [pk for pk, _ in _rejections_of(set(ids), (Resource.USERS,))]
            for batch in in_batches(rejections, BATCH):
                Rejection.objects.filter(pk__in=batch).delete()
            erased += Listener.objects.filter(pk__in=ids, unavailable_at__lte=before).update(
                **dict.fromkeys(PERSONAL_FIELDS, "")
            )
    if erased:
        logger.info("personal_data_erased listeners=%s", erased)
    return erased


def rejections_of_listener(listener_id: int) -> QuerySet[Rejection]:
    """All rejected rows that belong to the listener, oldest first."""
    keys = [pk for pk, _ in _rejections_of({listener_id}, LISTENER_FIELDS)]
    return Rejection.objects.filter(pk__in=keys).order_by("pk")


def _rejections_of(ids: Collection[int], resources: Collection[Resource]) -> Iterator[tuple[int, int]]:
    wanted = {str(one): one for one in ids}
    rows = Rejection.objects.filter(resource__in=resources).values_list("pk", "resource", "payload")
    if len(ids) == 1:
        rows = rows.filter(payload__contains=next(iter(wanted)))
    for pk, resource, payload in rows.iterator():
        listener = wanted.get(_listener_in(payload, LISTENER_FIELDS[Resource(resource)]))
        if listener is not None:
            yield pk, listener


def _listener_in(payload: str, name: str) -> str:
    try:
        row = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    return str(row.get(name, "")).strip() if isinstance(row, dict) else ""
