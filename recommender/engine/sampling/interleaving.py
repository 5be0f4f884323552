"""Two models' songs in one list: rounds of two places, a fair coin for who begins, exact probabilities.

Each model draws from what is eligible given all places before, whoever filled them: songs that are placed
and artists at their cap are gone from both pools before the next draw. Nothing is drawn and thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recommender.engine.sampling.sampler import (
    PROPENSITY_FLOOR,
    CandidatePool,
    ClusterOffers,
    Pick,
    seeded_uniform,
)

FIRST_PICK_SEED: Final = "coin"


@dataclass(frozen=True, slots=True)
class InterleavedPick:
    """One place of an interleaved list.

    Attributes:
        song: its id.
        by_challenger: who drew it.
        index: its entry in the pool of who drew it.
        p_champion, p_challenger: the probability with which each would have drawn it, given the places
            before; 0 where it is none of its offers.
    """

    song: int
    by_challenger: bool
    index: int
    p_champion: float
    p_challenger: float

    @property
    def propensity(self) -> float:
        """The probability with which who drew it drew it."""
        return self.p_challenger if self.by_challenger else self.p_champion


def interleave(
    champion: CandidatePool,
    challenger: CandidatePool,
    *,
    n: int,
    temperature: float,
    seed: str,
    artist_cap: int | None,
    floor: float = PROPENSITY_FLOOR,
    placed: Sequence[InterleavedPick] = (),
) -> list[InterleavedPick]:
    """The next n places after those `placed`; fewer only where neither model has a song left.

    A model without a song left leaves its place to the other one. The chances come from the seed and the
    place alone, so that a list of 40 begins with the list of 20.

    Args:
        champion, challenger: pools that name songs by the same ids, and artists by the same codes.

    Source:
        Radlinski et al., "How does clickthrough data reflect retrieval quality?", CIKM 2008 (team draft).
    """
    sides = (
        _Team(champion, temperature, artist_cap, floor),
        _Team(challenger, temperature, artist_cap, floor),
    )
    for place in placed:
        for side in sides:
            side.place_song(place.song, sides[place.by_challenger].artist_of(place.song))
    places: list[InterleavedPick] = []
    for number in range(len(placed), len(placed) + n):
        turn = _is_challenger_turn(seed, number)
        if not sides[turn].has_offers:
            turn = not turn
        if not sides[turn].has_offers:
            break
        pick = sides[turn].draw_pick(seeded_uniform(seed, number))
        song, artist = sides[turn].song_of_pick(pick), sides[turn].artist_of_pick(pick)
        chances = [side.propensity(song) for side in sides]
        # As it was drawn: the other way of adding up the same weights may end in another last bit.
        chances[turn] = pick.propensity
        places.append(InterleavedPick(song, turn, pick.index, *chances))
        for side in sides:
            side.place_song(song, artist)
    return places


def challenger_picks_first(seed: str, number: int) -> bool:
    """Whether the challenger fills the first place of this round; a fair coin."""
    return seeded_uniform(f"{seed}:{FIRST_PICK_SEED}", number) < 0.5


def _is_challenger_turn(seed: str, number: int) -> bool:
    """Whether a place is the challenger's."""
    return challenger_picks_first(seed, number // 2) != bool(number % 2)


class _Team:
    """One model's offers."""

    def __init__(self, pool: CandidatePool, temperature: float, artist_cap: int | None, floor: float) -> None:
        self._offers = ClusterOffers(pool, temperature, artist_cap, ())
        self._temperature, self._floor = temperature, floor
        self._songs: list[int] = pool.songs.tolist()
        self._artists: list[int] = pool.artists.tolist()
        self._places = {song: index for index, song in enumerate(self._songs)}

    @property
    def has_offers(self) -> bool:
        return bool(self._offers.clusters)

    def draw_pick(self, number: float) -> Pick:
        return (
            self._offers.best_pick()
            if self._temperature <= 0
            else self._offers.draw_pick(number, self._floor)
        )

    def song_of_pick(self, pick: Pick) -> int:
        return self._songs[pick.index]

    def artist_of_pick(self, pick: Pick) -> int:
        return self._artists[pick.index]

    def artist_of(self, song: int) -> int:
        return self._artists[self._places[song]]

    def propensity(self, song: int) -> float:
        index = self._places.get(song)
        return 0.0 if index is None else self._offers.propensity(index, self._floor)

    def place_song(self, song: int, artist: int) -> None:
        index = self._places.get(song)
        if index is None:
            self._offers.count_artist(artist)
        else:
            self._offers.place_song(index)
