"""What came of served lists: a song that is liked, listened to, or stands in later history within 7 days."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import fmean, pstdev
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from ingestion.models import IngestionRun, ListeningHistory
from recommender.listener_profiles import MIN_LISTEN_SECONDS
from recommender.models import AttributedListen, EngagedList, EngagementDay, Feedback, ServedList

ATTRIBUTION_WINDOW: Final = timedelta(days=7)
# Known two days after a day has begun, and of every day alike: what an alarm can compare.
EARLY_WINDOW: Final = timedelta(days=1)
BATCH_SIZE: Final = 500  # listeners, whose lists and listening are in memory at once
FeedbackKind = Feedback.Kind


class AttributableList(NamedTuple):
    """A list, as far as its engagement needs it."""

    pk: UUID
    listener: int
    version: int
    at: datetime
    songs: tuple[int, ...]


@dataclass
class ListEngagement:
    """What came of one list."""

    served: AttributableList
    feedback: dict[str, dict[int, datetime]] = field(default_factory=lambda: defaultdict(dict))
    played: dict[int, datetime] = field(default_factory=dict)

    @property
    def listened(self) -> set[int]:
        return set(self.feedback[FeedbackKind.LISTEN]) | set(self.played)

    def engaged(self, within: timedelta) -> set[int]:
        """Songs liked, listened to or played so soon, and not refused so soon."""
        until = self.served.at + within
        taken = (self.feedback[FeedbackKind.LIKE], self.feedback[FeedbackKind.LISTEN], self.played)
        refused = (self.feedback[FeedbackKind.SKIP], self.feedback[FeedbackKind.DISLIKE])
        return _songs_before(until, taken) - _songs_before(until, refused)

    def to_row(self, read_at: datetime | None) -> EngagedList:
        given = self.served
        age = read_at - given.at if read_at is not None else timedelta()
        return EngagedList(
            served_list_id=given.pk,
            listener_id=given.listener,
            version_id=given.version,
            at=given.at,
            songs=len(given.songs),
            engaged=len(self.engaged(ATTRIBUTION_WINDOW)),
            likes=len(self.feedback[FeedbackKind.LIKE]),
            listens=len(self.listened),
            skips=len(self.feedback[FeedbackKind.SKIP]),
            dislikes=len(self.feedback[FeedbackKind.DISLIKE]),
            final=age >= ATTRIBUTION_WINDOW,
            early=len(self.engaged(EARLY_WINDOW)) if age >= EARLY_WINDOW else None,
        )


def _songs_before(until: datetime, times: Iterable[dict[int, datetime]]) -> set[int]:
    return {song for one in times for song, at in one.items() if at <= until}


def update_engagement(now: datetime) -> int:
    """Bring the engagement of every list of the last days up to date; how many lists there were.

    Running twice changes nothing; what comes late is counted until a list is final: at the first successful
    ingestion that begins 7 days or more after it was served.
    """
    read_at = _last_ingestion_at(now)
    settled = EngagedList.objects.filter(final=True).values("served_list")
    # A list of which nothing is known yet must not be overlooked, however long nobody has looked.
    due = ServedList.objects.filter(version__isnull=False, generated_at__lte=now).exclude(pk__in=settled)
    listeners = sorted(set(due.values_list("listener_id", flat=True)))
    number = 0
    days: set[tuple[int, date]] = set()
    for start in range(0, len(listeners), BATCH_SIZE):
        outcomes = _attribute_lists(listeners[start : start + BATCH_SIZE], due, now)
        number += len(outcomes)
        days |= _store(outcomes, read_at)
    for version, day in sorted(days):
        _aggregate_day(version, day)
    return number


def _last_ingestion_at(now: datetime) -> datetime | None:
    """When the last successful ingestion began."""
    runs = IngestionRun.objects.filter(
        status=IngestionRun.Status.SUCCEEDED, dry_run=False, started_at__lte=now
    )
    return runs.order_by("-started_at").values_list("started_at", flat=True).first()


def _attribute_lists(
    listeners: Collection[int], due: QuerySet[ServedList], now: datetime
) -> list[ListEngagement]:
    rows = due.filter(listener_id__in=listeners).order_by("generated_at")
    found: dict[int, list[ListEngagement]] = defaultdict(list)
    for pk, listener, version, at, items in rows.values_list(
        "pk", "listener_id", "version_id", "generated_at", "items"
    ):
        given = AttributableList(pk, listener, version, at, tuple(item["song"] for item in items))
        found[listener].append(ListEngagement(given))
    if not found:
        return []
    since = min(outcomes[0].served.at for outcomes in found.values())
    for listener, at, song, kind in _feedback_events(listeners, since, now):
        _attribute_event(found[listener], at, song, kind)
    histories = ListeningHistory.objects.filter(
        user_id__in=listeners, created_at__gt=since, created_at__lte=now, unavailable_at=None
    )
    for listener, at, items in histories.order_by("created_at").values_list("user_id", "created_at", "items"):
        for song in items:
            _attribute_event(found[listener], at, song, None)
    return [outcome for outcomes in found.values() for outcome in outcomes]


def _feedback_events(
    listeners: Collection[int], since: datetime, now: datetime
) -> Iterable[tuple[int, datetime, int, str]]:
    rows = Feedback.objects.filter(listener_id__in=listeners, at__gt=since, at__lte=now)
    rows = rows.exclude(kind=FeedbackKind.LISTEN, seconds__lt=MIN_LISTEN_SECONDS).exclude(
        kind=FeedbackKind.WRONG_STYLE
    )
    return rows.order_by("at", "pk").values_list("listener_id", "at", "song_id", "kind")


def _attribute_event(outcomes: Sequence[ListEngagement], at: datetime, song: int, kind: str | None) -> None:
    """Give an event to the latest list before it that offered the song; `kind` None: a play in history."""
    for outcome in reversed(outcomes):
        if outcome.served.at < at <= outcome.served.at + ATTRIBUTION_WINDOW and song in outcome.served.songs:
            if kind is None:
                outcome.played.setdefault(song, at)
            else:
                outcome.feedback[kind].setdefault(song, at)
            return


def _store(outcomes: Sequence[ListEngagement], read_at: datetime | None) -> set[tuple[int, date]]:
    """Write what came of the lists; the versions and days that this concerns."""
    rows = [outcome.to_row(read_at) for outcome in outcomes]
    attributed = [
        AttributedListen(served_list_id=outcome.served.pk, song_id=song, at=at)
        for outcome in outcomes
        for song, at in outcome.played.items()
    ]
    with transaction.atomic():
        EngagedList.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["served_list"], batch_size=BATCH_SIZE,
            update_fields=["songs", "engaged", "early", "likes", "listens", "skips", "dislikes", "final"],
        )  # fmt: skip
        AttributedListen.objects.bulk_create(attributed, ignore_conflicts=True, batch_size=BATCH_SIZE)
    return {(row.version_id, row.at.astimezone(UTC).date()) for row in rows}


def _aggregate_day(version: int, day: date) -> None:
    """One day of a version's lists: each listener is one value, zero counts as zero.

    A list in which a test mixes two versions counts for the champion of that moment: nearly all lists are of
    some test, and what listeners make of the service must be seen on every day.
    """
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = list(
        EngagedList.objects.filter(
            version_id=version, at__gte=begins, at__lt=begins + timedelta(days=1)
        ).values_list("listener_id", "engaged", "early", "likes", "skips", "dislikes", "listens", "final")
    )
    sums: Counter[str] = Counter()
    for _, _, _, *counts, _ in rows:
        sums.update(dict(zip(("likes", "skips", "dislikes", "listens"), counts, strict=True)))
    means = _listener_means((row[0], row[1]) for row in rows)
    soon = [(listener, early) for listener, _, early, *_ in rows if early is not None]
    # Of a part of the day's lists it would be another measure.
    early = _listener_means(soon) if len(soon) == len(rows) else []
    organic, recommended = _count_plays(version, begins)
    EngagementDay.objects.update_or_create(
        version_id=version, day=day,
        defaults={
            "lists": len(rows), "listeners": len(means), "engaged": fmean(means) if means else 0.0,
            "engaged_deviation": pstdev(means) if means else 0.0, **sums,
            "early": fmean(early) if early else None, "early_deviation": pstdev(early) if early else 0.0,
            "organic_plays": organic, "recommended_plays": recommended,
            "final": all(final for *_, final in rows),
        },
    )  # fmt: skip


def _listener_means(values: Iterable[tuple[int, int]]) -> list[float]:
    """One value a listener."""
    of_listener: dict[int, list[int]] = defaultdict(list)
    for listener, value in values:
        of_listener[listener].append(value)
    return [fmean(values) for values in of_listener.values()]


def _count_plays(version: int, begins: datetime) -> tuple[int, int]:
    """Plays of the day by listeners who had a list of this version: organic ones, and recommended ones."""
    ends = begins + timedelta(days=1)
    listeners = EngagedList.objects.filter(
        version_id=version, at__gte=begins - ATTRIBUTION_WINDOW, at__lt=ends
    )
    sessions = ListeningHistory.objects.filter(
        user__in=listeners.values("listener"), created_at__gte=begins, created_at__lt=ends,
        unavailable_at=None,
    )  # fmt: skip
    total = sum(len(items) for items in sessions.values_list("items", flat=True))
    recommended = AttributedListen.objects.filter(
        served_list__version_id=version, at__gte=begins, at__lt=ends
    ).count()
    return max(0, total - recommended), recommended
