"""Engagement: which songs of a served list its listener liked, listened to or played afterwards.

For daily engagement, interleaving scores and the off-policy gate. A song is engaged if, within a window, the
listener liked it, listened long enough or played it in a session, and the latest event on it was neither a
skip nor a dislike. An event counts for the latest list before it that contained the song.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from statistics import fmean, pstdev
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from ingestion.models import IngestionRun, ListeningHistory
from recommender.models import EngagedList, EngagementDay, Feedback, ServedList, sql

FeedbackKind = Feedback.Kind
LIKE, LISTEN = FeedbackKind.LIKE.value, FeedbackKind.LISTEN.value
SKIP, DISLIKE, CLEAR = FeedbackKind.SKIP.value, FeedbackKind.DISLIKE.value, FeedbackKind.CLEAR.value
# Which earlier events on the same song an event of a kind cancels. The rules are those of
# `FeedbackState`; also, a song that was played after a skip is no longer skipped.
OVERRULES: Final = {
    LIKE: {SKIP, DISLIKE}, DISLIKE: {LIKE}, SKIP: set(), LISTEN: {SKIP}, CLEAR: {LIKE, SKIP, DISLIKE},
}  # fmt: skip
ATTRIBUTION_WINDOW: Final = timedelta(days=7)
# Engagement within one day is complete two days after a day began, so alarms can compare days early.
EARLY_WINDOW: Final = timedelta(days=1)
DAY: Final = timedelta(days=1)
BATCH_SIZE: Final = 500  # listeners whose lists and events are in memory at once


class AttributableList(NamedTuple):
    pk: UUID
    listener: int
    version: int  # a fallback list has none: 0
    at: datetime
    songs: frozenset[int]


class ListenerEvent(NamedTuple):
    """Feedback on one song, or a session of the listening history (`kind` None, all its songs)."""

    listener: int
    at: datetime
    songs: Sequence[int]
    kind: str | None = None


@dataclass
class ListEngagement:
    served: AttributableList
    # Each song's feedback in order of time.
    feedback: dict[int, list[tuple[datetime, str]]] = field(default_factory=lambda: defaultdict(list))
    # Each song's first play in the listening history.
    played: dict[int, datetime] = field(default_factory=dict)
    # The listener's first session after the list, even if it contained none of the list's songs.
    first_session_at: datetime | None = None

    def add_event(self, song: int, event: ListenerEvent) -> None:
        if event.kind is None:
            self.played.setdefault(song, event.at)
        else:
            self.feedback[song].append((event.at, event.kind))

    def songs_by_kind(self, within: timedelta) -> dict[str, set[int]]:
        """Songs with feedback that counts at the end of the window, by kind."""
        until = self.served.at + within
        found: dict[str, set[int]] = {kind: set() for kind in OVERRULES}
        for song, events in self.feedback.items():
            standing: set[str] = set()
            for at, kind in events:
                if at <= until:
                    standing -= OVERRULES[kind]
                    standing.add(kind)
            for kind in standing:
                found[kind].add(song)
        return found

    def engaged(self, within: timedelta, *, first_session_only: bool = False) -> set[int]:
        """Songs with a positive event that counts, and no negative one.

        Args:
            within: time since the list was served; later events do not count.
            first_session_only: count only plays in the first session after the list.
        """
        until = self.served.at + within
        played = {
            song for song, at in self.played.items()
            if at <= until and (not first_session_only or at == self.first_session_at)
        }  # fmt: skip
        songs = self.songs_by_kind(within)
        return (played | songs[LIKE] | songs[LISTEN]) - songs[SKIP] - songs[DISLIKE]


def attribute_events(
    lists: Iterable[AttributableList], events: Iterable[ListenerEvent], window: timedelta
) -> list[ListEngagement]:
    """Attribute each song of each event to the latest earlier list with that song; one result per list.

    Args:
        lists: all lists that compete for the events.
        events: sessions and feedback, each in order of time.
        window: the longest time between a list and an event that counts for it.
    """
    outcomes = [ListEngagement(served) for served in sorted(lists, key=lambda served: served.at)]
    by_listener: defaultdict[int, list[ListEngagement]] = defaultdict(list)
    for outcome in outcomes:
        by_listener[outcome.served.listener].append(outcome)
    for event in events:
        latest_first = _lists_before(by_listener[event.listener], event.at, window)
        if event.kind is None:
            for outcome in latest_first:
                outcome.first_session_at = outcome.first_session_at or event.at
        for song in event.songs:
            for outcome in latest_first:
                if song in outcome.served.songs:
                    outcome.add_event(song, event)
                    break
    return outcomes


def _lists_before(outcomes: list[ListEngagement], at: datetime, window: timedelta) -> list[ListEngagement]:
    first = bisect_left(outcomes, at - window, key=lambda one: one.served.at)
    end = bisect_right(outcomes, at, key=lambda one: one.served.at)
    return outcomes[first:end][::-1]


def engagement_by_list(served: Collection[ServedList], window: timedelta) -> dict[UUID, ListEngagement]:
    """The engagement by list id; all other lists of the listeners compete for events."""
    listeners = {one.listener_id for one in served}
    since = min(one.generated_at for one in served)
    until = max(one.generated_at for one in served) + window
    competing = ServedList.objects.filter(listener_id__in=listeners, generated_at__range=(since, until))
    found = attribute_events(_read_lists(competing), _read_events(listeners, since, until), window)
    wanted = {one.pk for one in served}
    return {one.served.pk: one for one in found if one.served.pk in wanted}


def last_ingestion_at(now: datetime) -> datetime | None:
    """Start of the last successful ingestion, up to which the listening history is complete."""
    runs = IngestionRun.objects.succeeded().filter(started_at__lte=now)
    return runs.order_by("-started_at").values_list("started_at", flat=True).first()


def update_engagement(now: datetime) -> int:
    """Store the engagement with every list that is not final yet; return how many.

    A list is final after the first successful ingestion that begins 7 days after it was served.
    """
    ingested_at = last_ingestion_at(now)
    listeners = sorted(set(unfinished_lists(now).values_list("listener_id", flat=True)))
    number = 0
    days: set[tuple[int, date]] = set()
    for start in range(0, len(listeners), BATCH_SIZE):
        outcomes = _attribute_due_lists(listeners[start : start + BATCH_SIZE], now)
        number += len(outcomes)
        days |= _store(outcomes, ingested_at)
    _finish_days(days, ingested_at)
    return number


def unfinished_lists(now: datetime, listeners: Collection[int] | None = None) -> QuerySet[ServedList]:
    """Lists without a final row, however old: the task may not have run for weeks."""
    # Not NOT IN: if the final rows exceed PostgreSQL's `work_mem`, it reads them again for each list.
    final = EngagedList.objects.filter(served_list=OuterRef("pk"), final=True)
    lists = ServedList.objects.filter(version__isnull=False, generated_at__lte=now)
    if listeners is not None:
        # Both are bounded: a batch must not read the final rows of all other listeners.
        final, lists = final.filter(listener_id__in=listeners), lists.filter(listener_id__in=listeners)
    return lists.filter(~Exists(final))


def _attribute_due_lists(listeners: Collection[int], now: datetime) -> list[ListEngagement]:
    lists = _read_lists(unfinished_lists(now, listeners))
    if not lists:
        return []
    since = min(served.at for served in lists)
    return attribute_events(lists, _read_events(listeners, since, now), ATTRIBUTION_WINDOW)


def _read_lists(rows: QuerySet[ServedList]) -> list[AttributableList]:
    # Not their items: to read whole lists takes several times as long.
    columns = rows.order_by("generated_at").values_list(
        sql.unconverted("pk"), "listener_id", "version_id", sql.unconverted("generated_at"),
        sql.song_ids_of_list(),
    )  # fmt: skip
    return [
        AttributableList(
            sql.as_uuid(pk), listener, version or 0, sql.as_time(at), frozenset(orjson.loads(songs))
        )
        for pk, listener, version, at, songs in columns
    ]


def _read_events(listeners: Collection[int], since: datetime, until: datetime) -> Iterator[ListenerEvent]:
    standing = Feedback.objects.not_withdrawn().without_short_listens()
    feedback = standing.filter(listener_id__in=listeners, at__range=(since, until), kind__in=OVERRULES)
    for listener, at, song, kind in feedback.order_by("at", "pk").values_list(
        "listener_id", "at", "song_id", "kind"
    ):
        yield ListenerEvent(listener, at, (song,), kind)
    sessions = ListeningHistory.objects.filter(
        user_id__in=listeners, created_at__range=(since, until), unavailable_at=None
    )
    for listener, at, items in sessions.order_by("created_at").values_list("user_id", "created_at", "items"):
        yield ListenerEvent(listener, at, items)


def _engaged_list_row(outcome: ListEngagement, ingested_at: datetime | None) -> sql.Row:
    """The values of `sql.ENGAGED_LIST_COLUMNS`."""
    served = outcome.served
    age = ingested_at - served.at if ingested_at is not None else timedelta()
    known = (served.pk, served.at, served.listener, served.version, len(served.songs))
    is_early = age >= EARLY_WINDOW
    if not outcome.feedback and not outcome.played:
        return (*known, 0, 0 if is_early else None, 0, 0, 0, 0)
    songs = outcome.songs_by_kind(ATTRIBUTION_WINDOW)
    return (
        *known,
        len(outcome.engaged(ATTRIBUTION_WINDOW)),
        len(outcome.engaged(EARLY_WINDOW)) if is_early else None,
        len(songs[LIKE]),
        len(songs[LISTEN] | outcome.played.keys()),
        len(songs[SKIP]),
        len(songs[DISLIKE]),
    )


def _store(outcomes: Sequence[ListEngagement], ingested_at: datetime | None) -> set[tuple[int, date]]:
    plays = [(outcome.served.pk, at, song) for outcome in outcomes for song, at in outcome.played.items()]
    with transaction.atomic():
        sql.upsert_engaged_lists([_engaged_list_row(outcome, ingested_at) for outcome in outcomes])
        sql.insert_attributed_listens(plays)
    return {(outcome.served.version, outcome.served.at.astimezone(UTC).date()) for outcome in outcomes}


def _finish_days(days: Collection[tuple[int, date]], ingested_at: datetime | None) -> None:
    """Store the engagement of these versions and days, and which of their lists are final."""
    for version in sorted({version for version, _ in days}):
        wanted = sorted(day for one, day in days if one == version)
        since, until = _midnight(wanted[0]), _midnight(wanted[-1]) + DAY
        # In one transaction: a final list is not due again, so that a day that was not stored would be lost.
        with transaction.atomic():
            if ingested_at is not None:
                EngagedList.objects.filter(
                    version_id=version, at__gte=since, at__lte=min(until, ingested_at - ATTRIBUTION_WINDOW),
                    final=False,
                ).update(final=True)  # fmt: skip
            found = sql.engagement_by_day(version, since, until)
            by_day = {
                day: list(rows) for day, rows in groupby(found, lambda row: (sql.EPOCH + row[0] * DAY).date())
            }
            _store_days([_aggregate_day(version, day, by_day.get(day, [])) for day in wanted])


def _store_days(rows: Sequence[EngagementDay]) -> None:
    EngagementDay.objects.bulk_create(
        rows, batch_size=BATCH_SIZE, update_conflicts=True, unique_fields=["version", "day"],
        update_fields=[
            field.name for field in EngagementDay._meta.concrete_fields
            if field.name not in {"id", "version", "day"}
        ],
    )  # fmt: skip


def _aggregate_day(version: int, day: date, rows: Sequence[sql.Row]) -> EngagementDay:
    """The day's engagement; `rows`: see `sql.engagement_by_day`."""
    # An interleaved list counts for the champion of its time: nearly all lists belong to an experiment, and
    # engagement must be known for every day.
    begins = _midnight(day)
    lists = sum(row[1] for row in rows)
    means = [row[4] / row[1] for row in rows]
    # A mean over a part of the day's lists can't be compared with other days.
    is_early = sum(row[2] for row in rows) == lists
    early = [row[5] / row[1] for row in rows] if is_early else []
    total, recommended = sql.count_plays_of_version(
        version, begins - ATTRIBUTION_WINDOW, begins, begins + DAY
    )
    likes, skips, dislikes, listens = (sum(row[place] for row in rows) for place in range(6, 10))
    return EngagementDay(
        version_id=version, day=day, lists=lists, listeners=len(means),
        engaged=fmean(means) if means else 0.0, engaged_deviation=pstdev(means) if means else 0.0,
        likes=likes, skips=skips, dislikes=dislikes, listens=listens,
        early=fmean(early) if early else None, early_deviation=pstdev(early) if early else 0.0,
        organic_plays=max(0, total - recommended), recommended_plays=recommended,
        final=sum(row[3] for row in rows) == lists,
    )  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
