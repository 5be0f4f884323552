"""Synthetic listeners with hidden tastes, and their listening sessions."""

from datetime import datetime, timedelta
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.demo.source import Row, format_timestamp
from ingestion.demo.world.names import GENDERS, IdSequence, email_address, random_person_name
from ingestion.demo.world.songs import SongCatalogue, TimeSpan
from ingestion.demo.world.styles import STYLES

# Sum of the Dirichlet weights: most listeners prefer one to three styles.
TASTE_CONCENTRATION: Final = 2.0
# A style with at least this share of the taste is listed as a second favourite genre.
SECOND_GENRE_THRESHOLD: Final = 0.3
# The median listener has a session every other day; the maximum is five a day on average.
MEDIAN_SESSIONS_PER_DAY: Final = 0.5
MAX_SESSIONS_PER_DAY: Final = 5.0
# A repeated song is one of this many latest plays.
MAX_REMEMBERED_PLAYS: Final = 200


class ListenerPopulation:
    """All listeners' rows, hidden tastes (also of deleted ones), activity and past plays."""

    def __init__(self, seed: int, listeners: int) -> None:
        self.rows: dict[int, Row] = {}
        self.taste: dict[int, NDArray[np.float64]] = {}
        self.sessions_per_day: dict[int, float] = {}
        self.played: dict[int, list[int]] = {}
        self._ids = IdSequence((seed, 2), listeners)

    def add_listeners(self, listeners: int, moments: TimeSpan, rng: np.random.Generator) -> None:
        random = Random(int(rng.integers(2**63)))
        shares = np.array([style.share for style in STYLES])
        tastes = rng.dirichlet(shares * TASTE_CONCENTRATION, size=listeners)
        for taste in tastes:
            listener = self._ids.next_id()
            self.taste[listener] = taste
            self.sessions_per_day[listener] = min(
                MAX_SESSIONS_PER_DAY, MEDIAN_SESSIONS_PER_DAY * random.lognormvariate(0, 1)
            )
            self.played[listener] = []
            self.rows[listener] = self._row(listener, moments, random)

    def change_profile(self, listener: int, updated_at: str, random: Random) -> None:
        row = self.rows[listener]
        new_email = email_address(
            row["first_name"], row["last_name"], listener + random.randint(1, 9) * 1_000_000
        )
        genres = favourite_genres(self.taste[listener], threshold=random.choice((0.1, 0.2, 0.5)))
        change = {"email": new_email} if random.random() < 0.5 else {"favorite_genres": genres}
        self.rows[listener] = {**row, **change, "updated_at": updated_at}

    def delete_listener(self, listener: int) -> None:
        del self.rows[listener]

    def record_plays(self, listener: int, songs: list[int]) -> None:
        self.played[listener] = (self.played[listener] + songs)[-MAX_REMEMBERED_PLAYS:]

    def _row(self, listener: int, moments: TimeSpan, random: Random) -> Row:
        first, last = random_person_name(random)
        created_at, updated_at = moments.draw_timestamps(random)
        return {
            "id": listener,
            "first_name": first,
            "last_name": last,
            "email": email_address(first, last, listener),
            "gender": random.choice(GENDERS),
            "favorite_genres": favourite_genres(self.taste[listener]),
            "created_at": created_at,
            "updated_at": updated_at,
        }


def favourite_genres(taste: NDArray[np.float64], *, threshold: float = SECOND_GENRE_THRESHOLD) -> str:
    first, second = np.argsort(-taste, kind="stable")[:2]
    names = [STYLES[first].name]
    if taste[second] >= threshold:
        names.append(STYLES[second].name)
    return ", ".join(names)


def draw_session_times(sessions: int, day: datetime, rng: np.random.Generator) -> list[datetime]:
    """Distinct times of a day's sessions, ascending: 30 % around 8:30, the others around 20:00."""
    evening = rng.random(sessions) < 0.7
    hours = np.where(evening, rng.normal(20.0, 2.5, sessions), rng.normal(8.5, 2.0, sessions)) % 24
    micros = np.sort((hours * 3_600_000_000).astype(np.int64))
    # At least a microsecond apart, because (listener, time) identifies a session.
    micros = np.maximum.accumulate(micros - np.arange(sessions)) + np.arange(sessions)
    micros = np.minimum(micros, 86_399_000_000 + np.arange(sessions))
    return [day + timedelta(microseconds=int(micro)) for micro in micros]


# Share of plays that depend on overall popularity and not on the listener's taste.
CHART_SHARE: Final = 0.05
# Share of plays that repeat an earlier play of the listener.
REPEAT_SHARE: Final = 0.25
# Share of plays with the style in which the session began.
MOOD_SHARE: Final = 0.6
MEAN_PLAYS_PER_SESSION: Final = 6.0
MAX_PLAYS_PER_SESSION: Final = 30


class SongSampler:
    """Draws songs from the catalogue of one day.

    `songs`, `styles` and `weights` have one entry per song; `shares` is each style's share of the weight.
    """

    def __init__(self, catalogue: SongCatalogue) -> None:
        self.songs, self.styles, self.weights = catalogue.playable_songs()
        totals = np.bincount(self.styles, self.weights, minlength=len(STYLES))
        self.shares = totals / totals.sum()
        # With songs sorted by style, one cumulative sum of the weights serves the draws of all styles.
        self._order = np.argsort(self.styles, kind="stable")
        self._running = np.cumsum(self.weights[self._order])
        self._ends = np.cumsum(totals)
        self._starts = self._ends - totals

    def style_probabilities(self, taste: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability of each style for a new play; `taste` and the result have shape (..., n_styles)."""
        there = taste * (self.shares > 0)
        total = there.sum(axis=-1, keepdims=True)
        wanted = np.where(total > 0, there / np.where(total > 0, total, 1.0), self.shares)
        mixed: NDArray[np.float64] = (1 - CHART_SHARE) * wanted + CHART_SHARE * self.shares
        return mixed

    def song_probabilities(self, taste: NDArray[np.float64]) -> NDArray[np.float64]:
        in_style = self.weights / (self.shares[self.styles] * self.weights.sum())
        result: NDArray[np.float64] = self.style_probabilities(taste)[self.styles] * in_style
        return result

    def draw_songs(self, styles: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        starts, ends = self._starts[styles], self._ends[styles]
        at = np.searchsorted(self._running, starts + rng.random(len(styles)) * (ends - starts), side="right")
        return self.songs[self._order[np.minimum(at, len(self.songs) - 1)]]


def generate_sessions(
    listeners: ListenerPopulation, catalogue: SongCatalogue, day: datetime, rng: np.random.Generator
) -> list[Row]:
    if not listeners.rows or not catalogue.rows:
        return []
    ids = np.fromiter(listeners.rows, np.int64, len(listeners.rows))
    rates = [listeners.sessions_per_day[listener] for listener in listeners.rows]
    who = rng.permutation(np.repeat(ids, rng.poisson(rates)))
    lengths = np.clip(rng.geometric(1 / MEAN_PLAYS_PER_SESSION, len(who)), 1, MAX_PLAYS_PER_SESSION)
    plays = _draw_new_plays(listeners, SongSampler(catalogue), who, lengths, rng)
    rows = []
    for listener, played, at in zip(who.tolist(), plays, draw_session_times(len(who), day, rng), strict=True):
        songs = _with_repeats(played, listeners.played[listener], catalogue, rng)
        listeners.record_plays(listener, songs)
        rows.append(_session_row(listener, songs, at, catalogue))
    return rows


def _draw_new_plays(
    listeners: ListenerPopulation,
    jukebox: SongSampler,
    who: NDArray[np.int64],
    lengths: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[list[int]]:
    tastes = np.array([listeners.taste[listener] for listener in who.tolist()]).reshape(len(who), len(STYLES))
    running = np.cumsum(jukebox.style_probabilities(tastes), axis=1)
    moods = _draw_columns(running, rng)
    session = np.repeat(np.arange(len(who)), lengths)
    styles = np.where(
        rng.random(len(session)) < MOOD_SHARE, moods[session], _draw_columns(running[session], rng)
    )
    songs = jukebox.draw_songs(styles, rng)
    return [part.tolist() for part in np.split(songs, np.cumsum(lengths)[:-1])] if len(who) else []


def _draw_columns(running: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    thresholds = rng.random((len(running), 1)) * running[:, -1:]
    picked: NDArray[np.int64] = (running <= thresholds).sum(axis=1)
    return picked


def _with_repeats(
    played: list[int], heard: list[int], catalogue: SongCatalogue, rng: np.random.Generator
) -> list[int]:
    again = rng.random(len(played)) < REPEAT_SHARE
    remembered = rng.integers(max(1, len(heard)), size=len(played))
    songs = [
        heard[at] if repeat and heard and heard[at] in catalogue.rows else song
        for song, repeat, at in zip(played, again.tolist(), remembered.tolist(), strict=True)
    ]
    return list(dict.fromkeys(songs))


def _session_row(listener: int, songs: list[int], at: datetime, catalogue: SongCatalogue) -> Row:
    length = sum(_parse_duration(catalogue.rows[song]["duration"]) for song in songs)
    # A session is stored when it ends, and must be stored by the end of the day.
    end = min(at + timedelta(seconds=length), at.replace(hour=23, minute=59, second=59, microsecond=999_999))
    return {
        "user_id": listener,
        "items": songs,
        "created_at": format_timestamp(at),
        "updated_at": format_timestamp(end),
    }


def _parse_duration(duration: str) -> int:
    return int(duration[:2]) * 60 + int(duration[3:])
