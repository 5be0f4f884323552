"""Listeners who open the app: they get a list, and react to it by tastes that no recommender sees."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ingestion.demo.world.world import World

# Share of listeners who come on a day.
VISIT_SHARE: Final = 0.65
# Of a song fully to the taste, and famous: how probable it is that something comes of it. With tastes as they
# are about three of twenty songs.
MAX_REACTION_PROBABILITY: Final = 0.5
LIKE_SHARE: Final = 0.35  # of those; the others are listened to, without a word
SKIP_SHARE: Final = 0.05  # of the rest


class Reaction(NamedTuple):
    """What a listener did with one song of a list, in the API's words; `seconds`: of a listen."""

    song: int
    kind: str
    seconds: float | None = None


def rng_for_day(seed: int, day: int) -> np.random.Generator:
    """What chance decides on this day."""
    return np.random.default_rng((seed, 9, day))


def draw_visits(world: World, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Who comes today, and at which share of the day, in order of time."""
    listeners = [row["id"] for row in world.rows("users")]
    who = [listener for listener in listeners if rng.random() < VISIT_SHARE]
    return list(zip(rng.permutation(who).tolist(), np.sort(rng.random(len(who))).tolist(), strict=True))


def draw_reactions(
    world: World, listener: int, songs: Sequence[int], rng: np.random.Generator
) -> list[Reaction]:
    """What the listener does with a list, in its order; nothing with most songs.

    What decides is the hidden taste, and the song's fame among its own style; not where it stands.
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
    """From 0 to 1, a half for a song that is as famous as most."""
    weights = np.array([world.popularity_of(song) for song in songs])
    usual = float(np.median([world.popularity_of(row["id"]) for row in world.rows("tracks")]))
    fame: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = weights / (weights + usual)
    return fame
