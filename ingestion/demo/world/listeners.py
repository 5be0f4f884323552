"""Listeners with a latent taste, and the sessions in which it shows."""

from datetime import datetime, timedelta
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.demo.source import Row, stamp
from ingestion.demo.world.names import GENDERS, Ids, email, person
from ingestion.demo.world.songs import Catalogue, Moments
from ingestion.demo.world.styles import STYLES

# Dirichlet weights sum to this: most listeners live in one to three of the styles.
CONCENTRATION: Final = 2.0
# A second favourite genre is named when it is at least this share of the taste.
WORTH_NAMING: Final = 0.3
# Sessions a day: the median listener has one every other day, the keenest at most five a day.
MEDIAN_SESSIONS: Final = 0.5
MOST_SESSIONS: Final = 5.0
# What is listened to again is chosen among so many latest plays.
REMEMBERED: Final = 200


class Listeners:
    """All listeners and what is true of them: rows by id, and taste, habits and memory of each.

    Tastes of listeners who left are kept.
    """

    def __init__(self, seed: int, listeners: int) -> None:
        self.rows: dict[int, Row] = {}
        self.taste: dict[int, NDArray[np.float64]] = {}
        self.sessions_a_day: dict[int, float] = {}
        self.heard: dict[int, list[int]] = {}
        self._ids = Ids((seed, 2), listeners)

    def welcome(self, listeners: int, moments: Moments, rng: np.random.Generator) -> None:
        """Add new listeners."""
        random = Random(int(rng.integers(2**63)))
        shares = np.array([style.share for style in STYLES])
        tastes = rng.dirichlet(shares * CONCENTRATION, size=listeners)
        for taste in tastes:
            listener = self._ids.take()
            self.taste[listener] = taste
            self.sessions_a_day[listener] = min(MOST_SESSIONS, MEDIAN_SESSIONS * random.lognormvariate(0, 1))
            self.heard[listener] = []
            self.rows[listener] = self._row(listener, moments, random)

    def change(self, listener: int, updated_at: str, random: Random) -> None:
        """Change what listeners change: their address or the genres they say they like."""
        row = self.rows[listener]
        new_email = email(row["first_name"], row["last_name"], listener + random.randint(1, 9) * 1_000_000)
        genres = favourite_genres(self.taste[listener], worth_naming=random.choice((0.1, 0.2, 0.5)))
        change = {"email": new_email} if random.random() < 0.5 else {"favorite_genres": genres}
        self.rows[listener] = {**row, **change, "updated_at": updated_at}

    def leave(self, listener: int) -> None:
        """Delete this row."""
        del self.rows[listener]

    def remember(self, listener: int, songs: list[int]) -> None:
        """Note what was played, so that it may be played again."""
        self.heard[listener] = (self.heard[listener] + songs)[-REMEMBERED:]

    def _row(self, listener: int, moments: Moments, random: Random) -> Row:
        first, last = person(random)
        created_at, updated_at = moments.pair(random)
        return {
            "id": listener,
            "first_name": first,
            "last_name": last,
            "email": email(first, last, listener),
            "gender": random.choice(GENDERS),
            "favorite_genres": favourite_genres(self.taste[listener]),
            "created_at": created_at,
            "updated_at": updated_at,
        }


def favourite_genres(taste: NDArray[np.float64], *, worth_naming: float = WORTH_NAMING) -> str:
    """The styles a listener with this taste would name: the first, and the second if it matters."""
    first, second = np.argsort(-taste, kind="stable")[:2]
    names = [STYLES[first].name]
    if taste[second] >= worth_naming:
        names.append(STYLES[second].name)
    return ", ".join(names)


def session_times(sessions: int, day: datetime, rng: np.random.Generator) -> list[datetime]:
    """Starts within the day, in order and never two at once: some at breakfast, most in the evening."""
    evening = rng.random(sessions) < 0.7
    hours = np.where(evening, rng.normal(20.0, 2.5, sessions), rng.normal(8.5, 2.0, sessions)) % 24
    micros = np.sort((hours * 3_600_000_000).astype(np.int64))
    # Each at least a microsecond after the one before: (listener, time) names a session.
    micros = np.maximum.accumulate(micros - np.arange(sessions)) + np.arange(sessions)
    micros = np.minimum(micros, 86_399_000_000 + np.arange(sessions))
    return [day + timedelta(microseconds=int(micro)) for micro in micros]


# Share of plays that follow the charts and not the listener's taste.
CHARTS: Final = 0.05
# Share of plays that were played before.
AGAIN: Final = 0.25
# Share of plays that keep to the style in which the session began.
MOOD: Final = 0.6
MEAN_PLAYS: Final = 6.0
MOST_PLAYS: Final = 30


class Jukebox:
    """The songs that can be played on one day, ready for drawing.

    `songs`, `styles` and `weights` have one entry for each song; `shares` is each style's share of the
    popularity.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.songs, self.styles, self.weights = catalogue.arrays()
        totals = np.bincount(self.styles, self.weights, minlength=len(STYLES))
        self.shares = totals / totals.sum()
        # Sorted by style, the weights' running sum serves all twelve draws at once.
        self._order = np.argsort(self.styles, kind="stable")
        self._running = np.cumsum(self.weights[self._order])
        self._ends = np.cumsum(totals)
        self._starts = self._ends - totals

    def mixture(self, taste: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each style for a new play, given tastes of shape (..., 12)."""
        there = taste * (self.shares > 0)
        total = there.sum(axis=-1, keepdims=True)
        wanted = np.where(total > 0, there / np.where(total > 0, total, 1.0), self.shares)
        mixed: NDArray[np.float64] = (1 - CHARTS) * wanted + CHARTS * self.shares
        return mixed

    def probabilities(self, taste: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each song for a new play of a listener with this taste; they sum to 1."""
        in_style = self.weights / (self.shares[self.styles] * self.weights.sum())
        result: NDArray[np.float64] = self.mixture(taste)[self.styles] * in_style
        return result

    def draw(self, styles: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A song of each of these styles, by popularity."""
        starts, ends = self._starts[styles], self._ends[styles]
        at = np.searchsorted(self._running, starts + rng.random(len(styles)) * (ends - starts), side="right")
        return self.songs[self._order[np.minimum(at, len(self.songs) - 1)]]


def sessions_of_day(
    listeners: Listeners, catalogue: Catalogue, day: datetime, rng: np.random.Generator
) -> list[Row]:
    """One day's sessions in the order of their times; what was played is remembered."""
    if not listeners.rows or not catalogue.rows:
        return []
    ids = np.fromiter(listeners.rows, np.int64, len(listeners.rows))
    rates = [listeners.sessions_a_day[listener] for listener in listeners.rows]
    who = rng.permutation(np.repeat(ids, rng.poisson(rates)))
    lengths = np.clip(rng.geometric(1 / MEAN_PLAYS, len(who)), 1, MOST_PLAYS)
    plays = _plays(listeners, Jukebox(catalogue), who, lengths, rng)
    rows = []
    for listener, played, at in zip(who.tolist(), plays, session_times(len(who), day, rng), strict=True):
        songs = _with_repeats(played, listeners.heard[listener], catalogue, rng)
        listeners.remember(listener, songs)
        rows.append(_row(listener, songs, at, catalogue))
    return rows


def _plays(
    listeners: Listeners,
    jukebox: Jukebox,
    who: NDArray[np.int64],
    lengths: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[list[int]]:
    """New songs for each session."""
    tastes = np.array([listeners.taste[listener] for listener in who.tolist()]).reshape(len(who), len(STYLES))
    running = np.cumsum(jukebox.mixture(tastes), axis=1)
    moods = _pick(running, rng)
    session = np.repeat(np.arange(len(who)), lengths)
    styles = np.where(rng.random(len(session)) < MOOD, moods[session], _pick(running[session], rng))
    songs = jukebox.draw(styles, rng)
    return [part.tolist() for part in np.split(songs, np.cumsum(lengths)[:-1])] if len(who) else []


def _pick(running: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A column for each row of running sums."""
    thresholds = rng.random((len(running), 1)) * running[:, -1:]
    picked: NDArray[np.int64] = (running <= thresholds).sum(axis=1)
    return picked


def _with_repeats(
    played: list[int], heard: list[int], catalogue: Catalogue, rng: np.random.Generator
) -> list[int]:
    """Some of the songs exchanged for remembered ones, and none twice in one session."""
    again = rng.random(len(played)) < AGAIN
    remembered = rng.integers(max(1, len(heard)), size=len(played))
    songs = [
        heard[at] if repeat and heard and heard[at] in catalogue.rows else song
        for song, repeat, at in zip(played, again.tolist(), remembered.tolist(), strict=True)
    ]
    return list(dict.fromkeys(songs))


def _row(listener: int, songs: list[int], at: datetime, catalogue: Catalogue) -> Row:
    length = sum(_seconds(catalogue.rows[song]["duration"]) for song in songs)
    # A session is written when it ends, and a day's rows are there when the day ends.
    end = min(at + timedelta(seconds=length), at.replace(hour=23, minute=59, second=59, microsecond=999_999))
    return {"user_id": listener, "items": songs, "created_at": stamp(at), "updated_at": stamp(end)}


def _seconds(duration: str) -> int:
    return int(duration[:2]) * 60 + int(duration[3:])
