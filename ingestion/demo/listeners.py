"""Listeners with a latent taste, and the sessions in which it shows."""

from datetime import datetime, timedelta
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.demo.catalogue import Moments
from ingestion.demo.ids import Ids
from ingestion.demo.names import GENDERS, email, person
from ingestion.demo.source import Row
from ingestion.demo.styles import STYLES

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
