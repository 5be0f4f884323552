"""A synthetic world that changes every day; its true tastes are known."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.demo.source import RESOURCES, Row, Snapshot, Table, format_timestamp
from ingestion.demo.world.listeners import ListenerPopulation, SongSampler, generate_sessions
from ingestion.demo.world.songs import SongCatalogue, TimeSpan
from ingestion.demo.world.styles import STYLES

# The real source's timestamps cover two years.
HISTORY_SPAN: Final = timedelta(days=730)
# Shares of the rows that are new, changed or deleted each day.
NEW_SONGS, CHANGED_SONGS, DELETED_SONGS = 0.003, 0.003, 0.001
NEW_LISTENERS, CHANGED_LISTENERS, DELETED_LISTENERS = 0.006, 0.005, 0.001
DELETED_SESSIONS: Final = 0.0002
# A listener with more of the sessions of a small world does not leave.
MAX_LEAVING_SESSIONS: Final = 0.05
SMALL_WORLD: Final = 50  # listeners
# Nothing is deleted from a smaller table, so that a small world does not become empty.
MIN_ROWS_FOR_DELETION: Final = 20


class World:
    """A world of songs, listeners and sessions; the same arguments give the same rows in every process.

    Each day adds sessions, and adds, changes and deletes a few rows. Reading is thread-safe; only one thread
    may change the world.

    Args:
        days: how many days to simulate at once, from `start` on.
        proportional_changes: change as many rows as their share says on average; otherwise at least one row
            of each kind changes every day.
    """

    styles: Final = tuple(style.name for style in STYLES)

    def __init__(
        self,
        seed: int = 7,
        songs: int = 1000,
        listeners: int = 200,
        days: int = 30,
        start: date = date(2026, 1, 1),
        *,
        proportional_changes: bool = False,
    ) -> None:
        if min(songs, listeners, days) < 1:
            raise ValueError("a world needs at least one song, one listener and one day")
        self.seed = seed
        self.start = start
        self._size = (songs, listeners)
        self._calm = proportional_changes
        self._generation = 0
        self._version = 0
        self._median = 0.0
        self._median_of: Snapshot | None = None  # the rows that the median was computed for
        self._create()
        self._simulate_days(days)

    @classmethod
    def ending_on(
        cls,
        last_day: date,
        *,
        seed: int = 7,
        songs: int = 1000,
        listeners: int = 200,
        days: int = 30,
        proportional_changes: bool = False,
    ) -> "World":
        return cls(
            seed,
            songs,
            listeners,
            days,
            last_day - timedelta(days=days - 1),
            proportional_changes=proportional_changes,
        )

    @property
    def day_number(self) -> int:
        return self._days - 1

    @property
    def today(self) -> date:
        return self.start + timedelta(days=self.day_number)

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def rows(self, resource: str) -> Table:
        return self._snapshot.tables[resource]

    def advance(self, days: int = 1) -> None:
        self._simulate_days(days)

    def new_catalogue(self) -> None:
        """Give the ids to other songs and listeners, and simulate the same days again."""
        days = self._days
        self._generation += 1
        self._create()
        self._simulate_days(days)

    def record_session(self, listener: int, songs: Sequence[int], at: datetime) -> None:
        """Add a session at a time at which the listener has no other.

        Raises:
            KeyError: the listener or a song does not exist.
        """
        if listener not in self._listeners.rows:
            raise KeyError(listener)
        ids = [self._catalogue.rows[song]["id"] for song in songs]
        moment = format_timestamp(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at)
        row = {"user_id": listener, "items": ids, "created_at": moment, "updated_at": moment}
        self._sessions.append(row)
        self._listeners.record_plays(listener, ids)
        self._publish()

    def available_songs(self, songs: Sequence[int]) -> list[int]:
        return [song for song in songs if song in self._catalogue.rows]

    def shift_tastes(self, styles: Sequence[str], weight: float) -> None:
        """Mix these styles in equal parts into each listener's taste, with this weight (0 to 1).

        Raises:
            ValueError: a style is unknown, or the list is empty.
        """
        wave = np.zeros(len(STYLES))
        wave[[self.styles.index(style) for style in styles]] = 1 / max(1, len(styles))
        if not styles:
            raise ValueError("which styles?")
        for listener, taste in self._listeners.taste.items():
            self._listeners.taste[listener] = (1 - weight) * taste + weight * wave

    def copy_tastes(self) -> dict[int, NDArray[np.float64]]:
        return {listener: taste.copy() for listener, taste in self._listeners.taste.items()}

    def restore_tastes(self, tastes: Mapping[int, NDArray[np.float64]]) -> None:
        """Set the listeners' tastes; listeners without an entry keep theirs."""
        self._listeners.taste.update(tastes)

    def style_of(self, song: int) -> str:
        return STYLES[self._catalogue.style[song]].name

    def popularity_of(self, song: int) -> float:
        return self._catalogue.weight[song]

    def median_popularity(self) -> float:
        """The median popularity of the songs that the source sends now."""
        snapshot = self._snapshot
        if self._median_of is not snapshot:
            songs = [row["id"] for row in snapshot.tables["tracks"]]
            self._median = float(np.median([self.popularity_of(song) for song in songs]))
            self._median_of = snapshot
        return self._median

    def taste_of(self, listener: int) -> NDArray[np.float64]:
        return self._listeners.taste[listener].copy()

    def play_probabilities(self, listener: int) -> dict[int, float]:
        jukebox = self._current_sampler()
        chances = jukebox.song_probabilities(self._listeners.taste[listener])
        return dict(zip(jukebox.songs.tolist(), chances.tolist(), strict=True))

    def style_affinity(self, listener: int, songs: Sequence[int]) -> NDArray[np.float64]:
        """How much the listener likes each song's style, 0 to 1, whatever its popularity."""
        styles = [self._catalogue.style[song] for song in songs]
        wanted: NDArray[np.float64] = self._current_sampler().style_probabilities(
            self._listeners.taste[listener]
        )[styles]
        return wanted

    def _create(self) -> None:
        songs, listeners = self._size
        self._days = 0
        self._catalogue = SongCatalogue(self.seed, songs)
        self._listeners = ListenerPopulation(self.seed, listeners)
        self._sessions: list[Row] = []
        past = TimeSpan(self._midnight(0) - HISTORY_SPAN, HISTORY_SPAN)
        self._catalogue.fill(songs, past, self._rng(0, 0))
        self._listeners.add_listeners(listeners, past, self._rng(0, 1))

    def _simulate_days(self, days: int) -> None:
        for _ in range(days):
            midnight = self._midnight(self._days)
            rng = self._rng(self._days, 2)
            self._sessions += generate_sessions(self._listeners, self._catalogue, midnight, rng)
            if self._days:
                # The first day serves exactly the requested numbers of rows.
                self._change_rows(TimeSpan(midnight, timedelta(days=1)), self._rng(self._days, 3))
            self._days += 1
        self._publish()

    def _change_rows(self, moments: TimeSpan, rng: np.random.Generator) -> None:
        random = Random(int(rng.integers(2**63)))
        self._delete_rows(random)
        songs, listeners = list(self._catalogue.rows), list(self._listeners.rows)
        for song in random.sample(songs, self._count_of_share(CHANGED_SONGS, len(songs), random)):
            self._catalogue.correct_song(song, format_timestamp(moments.draw_time(random)), random)
        for listener in random.sample(
            listeners, self._count_of_share(CHANGED_LISTENERS, len(listeners), random)
        ):
            self._listeners.change_profile(listener, format_timestamp(moments.draw_time(random)), random)
        self._extend_session(moments, random)
        self._catalogue.add_songs(self._count_of_share(NEW_SONGS, len(songs), random), moments, rng)
        self._listeners.add_listeners(
            self._count_of_share(NEW_LISTENERS, len(listeners), random), moments, rng
        )

    def _may_leave(self, listener: int, plays: Mapping[int, int]) -> bool:
        """Whether little of the history goes with the listener; `plays` counts the sessions of each."""
        is_small = len(self._listeners.rows) < SMALL_WORLD
        return not is_small or plays[listener] <= MAX_LEAVING_SESSIONS * len(self._sessions)

    def _delete_rows(self, random: Random) -> None:
        songs, listeners = list(self._catalogue.rows), list(self._listeners.rows)
        if len(songs) > MIN_ROWS_FOR_DELETION:
            played = {song for row in self._sessions for song in row["items"]}
            unplayed = [song for song in songs if song not in played]
            candidates = unplayed or songs
            self._catalogue.delete_songs(
                random.sample(
                    candidates, min(len(candidates), self._count_of_share(DELETED_SONGS, len(songs), random))
                )
            )
        if len(listeners) > MIN_ROWS_FOR_DELETION:
            count = self._count_of_share(DELETED_LISTENERS, len(listeners), random)
            counts = Counter(row["user_id"] for row in self._sessions) if count else Counter()
            left = [one for one in random.sample(listeners, count) if self._may_leave(one, counts)]
            for listener in left:
                self._listeners.delete_listener(listener)
            self._sessions = [row for row in self._sessions if row["user_id"] not in left]
        if len(self._sessions) > MIN_ROWS_FOR_DELETION:
            gone = set(
                random.sample(
                    range(len(self._sessions)),
                    self._count_of_share(DELETED_SESSIONS, len(self._sessions), random),
                )
            )
            self._sessions = [row for at, row in enumerate(self._sessions) if at not in gone]

    def _extend_session(self, moments: TimeSpan, random: Random) -> None:
        today = format_timestamp(moments.start)
        earlier = [at for at, row in enumerate(self._sessions) if row["created_at"] < today]
        if earlier:
            at = random.choice(earlier)
            row = self._sessions[at]
            heard = self._listeners.played[row["user_id"]]
            missed = random.choice([song for song in heard if song not in row["items"]] or row["items"])
            items = list(dict.fromkeys([*row["items"], missed]))
            self._sessions[at] = {
                **row,
                "items": items,
                "updated_at": format_timestamp(moments.draw_time(random)),
            }

    def _count_of_share(self, share: float, rows: int, random: Random) -> int:
        return share_on_average(share, rows, random) if self._calm else share_at_least_one(share, rows)

    def _publish(self) -> None:
        tables = (tuple(self._catalogue.rows.values()), tuple(self._listeners.rows.values()))
        self._version += 1
        self._jukebox: SongSampler | None = None
        self._snapshot = Snapshot(
            self._version, dict(zip(RESOURCES, (*tables, tuple(self._sessions)), strict=True))
        )

    def _current_sampler(self) -> SongSampler:
        if self._jukebox is None:
            self._jukebox = SongSampler(self._catalogue)
        return self._jukebox

    def _midnight(self, day: int) -> datetime:
        return datetime.combine(self.start + timedelta(days=day), time())

    def _rng(self, day: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self._generation, day, stream))


def share_at_least_one(share: float, rows: int) -> int:
    return max(1, math.ceil(share * rows))


def share_on_average(share: float, rows: int, random: Random) -> int:
    """This share of the rows as a whole number, rounded at random so that the mean is exact."""
    return math.floor(share * rows + random.random())
