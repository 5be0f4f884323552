"""Charts of every window of days, counted once after each import, so that no request counts plays.

A song's listener counts on the day of the last play only, so that sums of days count different listeners.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import orjson
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray

from ingestion.jobs.leases import take_lease
from recommender.models import Chart, sql

# A listener counts half in the charts of all time once the last play is this old. On a set of purchases,
# split at one instant, a chart of 90 days was 2.6 times as good as one of all time.
CHART_HALF_LIFE: Final = timedelta(days=90)
# Enough for a listener who has played the thousand most popular songs.
MAX_POPULAR_SONGS: Final = 2_000
# A request lists at most 100; the others stand in for songs that have become unavailable.
MAX_SONGS_OF_DAYS: Final = 500
ALL_TIME: Final = 0
YEAR: Final = 365
# Windows of up to so many days are exact; longer ones are rounded up to years of 365 days.
MAX_EXACT_DAYS: Final = 366
# Without an import, charts are counted again after this time: the days pass.
RECOUNT_AFTER: Final = timedelta(hours=20)
# Older charts are not served: then no worker counts them.
MAX_AGE: Final = timedelta(days=2)
LEASE_DURATION: Final = timedelta(minutes=30)
FETCH_SIZE: Final = 20_000
# One list of songs: ID, score, listeners, plays.
ChartRow = tuple[int, float, int, int]


def count_charts_if_due(now: datetime) -> int:
    """Count charts if an import has ended or a day has passed since the last count; return how many."""
    run_id, stored = sql.newest_finished_run(), Chart.objects.first()
    if stored is not None and stored.run_id == run_id and abs(now - stored.counted_at) < RECOUNT_AFTER:
        return 0
    lease = take_lease("charts", timezone.now(), LEASE_DURATION)
    if lease is None:
        return 0
    try:
        return count_charts(now, run_id)
    finally:
        lease.release()


def count_charts(now: datetime, run_id: int) -> int:
    days = _SongDays.read(now)
    charts = [
        Chart(days=window, run_id=run_id, counted_at=now, content=_encode(rows))
        for window, rows in [(ALL_TIME, days.all_time()), *days.windows()]
    ]
    with transaction.atomic():
        Chart.objects.exclude(days__in=[chart.days for chart in charts]).delete()
        Chart.objects.bulk_create(
            charts, update_conflicts=True, unique_fields=["days"], batch_size=100,
            update_fields=["run_id", "counted_at", "content"],
        )  # fmt: skip
    return len(charts)


def read_chart(days: int | None, now: datetime) -> list[ChartRow] | None:
    """The songs of a chart, best first; None if no stored chart is new enough.

    Args:
        days: the latest whole days (UTC) and today; None: all days, with a half-life.
    """
    wanted = Chart.objects.filter(days=ALL_TIME) if days is None else Chart.objects.filter(days__gte=days)
    # The longest window has all plays.
    chart = wanted.order_by("days").first() or Chart.objects.order_by("-days").first()
    if chart is None or abs(now - chart.counted_at) > MAX_AGE or (days and chart.days == ALL_TIME):
        return None
    return [tuple(row) for row in orjson.loads(zlib.decompress(bytes(chart.content)))]


@dataclass(frozen=True)
class _Counts:
    """Numbers of each song on each day; shape (n,) each, the latest day first."""

    songs: NDArray[np.int64]  # places in `_SongDays.ids`
    ages: NDArray[np.int64]  # in days; -1: in the future
    numbers: NDArray[np.int64]

    def sums(self, n_songs: int, start: int = 0, end: int | None = None) -> NDArray[np.int64]:
        """Sums by song of the entries from `start` to `end`; shape (n_songs,)."""
        part = slice(start, end)
        return np.bincount(self.songs[part], self.numbers[part], n_songs).astype(np.int64)


@dataclass(frozen=True)
class _SongDays:
    ids: NDArray[np.int64]  # shape (n_songs,), of songs that may be served, ascending
    listeners: _Counts  # by the day of their last play; in the future if they have no other
    plays: _Counts

    @classmethod
    def read(cls, now: datetime) -> "_SongDays":
        ids = np.array(sql.servable_song_ids(), dtype=np.int64)
        today = int(now.timestamp() // 86_400)
        return cls(
            ids, _read_counts(sql.song_listeners_by_day(now), ids, today),
            _read_counts(sql.song_plays_by_day(now), ids, today),
        )  # fmt: skip

    def all_time(self) -> list[ChartRow]:
        n, counts = len(self.ids), self.listeners
        # A time in the future says nothing about the age: it counts half, and does not lead the charts for
        # years.
        ages = np.where(counts.ages < 0, CHART_HALF_LIFE.days, counts.ages)
        weights = counts.numbers * 0.5 ** (ages / CHART_HALF_LIFE.days)
        # Rounded, because equal scores must tie.
        scores = np.round(np.bincount(counts.songs, weights, n), 6)
        listeners, plays = counts.sums(n), self.plays.sums(n)
        order = np.lexsort((self.ids, -plays, -scores))[:MAX_POPULAR_SONGS]
        return self._rows(order[listeners[order] > 0], scores, listeners, plays)

    def windows(self) -> Iterator[tuple[int, list[ChartRow]]]:
        """Yield charts of 1, 2, 3 ... days, then of 2, 3 ... years, until a chart has all plays."""
        n = len(self.ids)
        listeners, plays = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        # Plays in the future are in no window.
        done = {id(counts): int(np.searchsorted(counts.ages, 0)) for counts in (self.listeners, self.plays)}

        def advance(counts: _Counts, days: int) -> NDArray[np.int64]:
            start, end = done[id(counts)], int(np.searchsorted(counts.ages, days, side="right"))
            done[id(counts)] = end
            return counts.sums(n, start, end)

        for days in self._lengths():
            listeners += advance(self.listeners, days)
            plays += advance(self.plays, days)
            order = _largest((listeners << 32) | plays, MAX_SONGS_OF_DAYS)
            yield days, self._rows(order, listeners, listeners, plays)

    def _lengths(self) -> list[int]:
        oldest = int(self.plays.ages.max(initial=0))
        exact = range(1, min(MAX_EXACT_DAYS, max(1, oldest)) + 1)
        years = range(2, -(-oldest // YEAR) + 1) if oldest > MAX_EXACT_DAYS else range(0)
        return [*exact, *(YEAR * number for number in years)]

    def _rows(
        self, order: NDArray[np.intp], scores: NDArray[Any], listeners: NDArray[np.int64],
        plays: NDArray[np.int64],
    ) -> list[ChartRow]:  # fmt: skip
        columns = (self.ids, scores.astype(np.float64), listeners, plays)
        return list(zip(*(column[order].tolist() for column in columns), strict=True))


def _read_counts(rows: Iterable[sql.Row], ids: NDArray[np.int64], today: int) -> _Counts:
    parts = [np.empty((0, 3), dtype=np.int64)]
    chunk: list[tuple[int, int, int]] = []
    for song, day, number in rows:
        chunk.append((song, -1 if day is None else max(0, today - day), number))
        if len(chunk) == FETCH_SIZE:
            parts.append(np.array(chunk, dtype=np.int64))
            chunk = []
    parts.append(np.array(chunk, dtype=np.int64).reshape(-1, 3))
    songs, ages, numbers = np.concatenate(parts).T
    places = np.searchsorted(ids, songs)
    known = places < len(ids)
    known[known] = ids[places[known]] == songs[known]
    order = np.flatnonzero(known)[np.argsort(ages[known], kind="stable")]
    return _Counts(places[order], ages[order], numbers[order])


def _largest(keys: NDArray[np.int64], limit: int) -> NDArray[np.intp]:
    """Places of the largest positive keys, largest first, ties by place."""
    number = min(limit, int(np.count_nonzero(keys)))
    if not number:
        return np.empty(0, dtype=np.intp)
    least = np.partition(keys, len(keys) - number)[len(keys) - number]
    above = np.flatnonzero(keys > least)
    chosen = np.concatenate([above, np.flatnonzero(keys == least)[: number - len(above)]])
    return chosen[np.lexsort((chosen, -keys[chosen]))]


def _encode(rows: Sequence[ChartRow]) -> bytes:
    return zlib.compress(orjson.dumps(rows), level=1)
