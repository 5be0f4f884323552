"""Visits, and reactions to recommended songs, drawn from hidden tastes."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ingestion.demo.world.world import World

# Share of listeners who open the app on a day.
VISIT_SHARE: Final = 0.65
# Probability of a reaction to a very popular song of the only style that a listener likes. With the
# tastes of this world, a listener reacts to about three of twenty songs.
MAX_REACTION_PROBABILITY: Final = 0.5
LIKE_SHARE: Final = 0.35  # share of these reactions that are likes; the others are listens
SKIP_SHARE: Final = 0.05  # share of skips among songs without such a reaction


class Reaction(NamedTuple):
    """A listener's reaction to one song; `seconds` is the play time of a listen."""

    song: int
    kind: str
    seconds: float | None = None


def rng_for_day(seed: int, day: int) -> np.random.Generator:
    return np.random.default_rng((seed, 9, day))


def rng_for_listener(seed: int, day: int, listener: int) -> np.random.Generator:
    """For a listener's reactions, so that they do not depend on the order of the visits."""
    return np.random.default_rng((seed, 10, day, listener))


def draw_visits(world: World, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Today's visitors and when each comes, as a share of the day, in ascending order."""
    listeners = [row["id"] for row in world.rows("users")]
    who = [listener for listener in listeners if rng.random() < VISIT_SHARE]
    return list(zip(rng.permutation(who).tolist(), np.sort(rng.random(len(who))).tolist(), strict=True))


def draw_reactions(
    world: World, listener: int, songs: Sequence[int], rng: np.random.Generator
) -> list[Reaction]:
    """The listener's reactions in the list's order; most songs get none.

    They depend on the hidden taste and the song's popularity within its style, not on its rank.
    """
    appeal = world.style_affinity(listener, songs) * _relative_popularity(world, songs)
    found = []
    for song, chance, luck in zip(
        songs, MAX_REACTION_PROBABILITY * appeal, rng.random(len(songs)), strict=True
    ):
        if luck < LIKE_SHARE * chance:
            found.append(Reaction(song, "like"))
        elif luck < chance:
            found.append(Reaction(song, "listen", float(rng.integers(60, 240))))
        elif luck > 1 - SKIP_SHARE:
            found.append(Reaction(song, "skip"))
    return found


def _relative_popularity(
    world: World, songs: Sequence[int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    weights = np.array([world.popularity_of(song) for song in songs])
    fame: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = weights / (weights + world.median_popularity())
    return fame
