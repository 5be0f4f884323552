"""What listeners play: taste times popularity, and the same songs again."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.demo.catalogue import Catalogue
from ingestion.demo.listeners import Listeners, session_times
from ingestion.demo.source import Row, stamp
from ingestion.demo.styles import STYLES

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
