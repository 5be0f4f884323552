"""Two models' songs in one list: rounds of two places, a fair coin for who begins, exact probabilities.

Each model draws from what is eligible given all places before, whoever filled them: songs that are placed
and artists at their cap are gone from both pools before the next draw. Nothing is drawn and thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recommender.engine.sampling.sampler import FLOOR, Offers, Pick, Pool, chance

COIN: Final = "coin"


@dataclass(frozen=True, slots=True)
class Place:
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
    champion: Pool,
    challenger: Pool,
    *,
    n: int,
    temperature: float,
    seed: str,
    floor: float = FLOOR,
    artist_cap: int | None = 2,
    placed: Sequence[Place] = (),
) -> list[Place]:
    """The next n places after those `placed`; fewer only where neither model has a song left.

    A model without a song left leaves its place to the other one. The chances come from the seed and the
    place alone, so that a list of 40 begins with the list of 20.

    Args:
        champion, challenger: pools that name songs by the same ids, and artists by the same codes.

    Source:
        Radlinski et al., "How does clickthrough data reflect retrieval quality?", CIKM 2008 (team draft).
    """
    sides = (
        _Side(champion, temperature, artist_cap, floor),
        _Side(challenger, temperature, artist_cap, floor),
    )
    for place in placed:
        for side in sides:
            side.place(place.song, sides[place.by_challenger].artist_of(place.song))
    places: list[Place] = []
    for number in range(len(placed), len(placed) + n):
        turn = _turn(seed, number)
        if not sides[turn].has_offers:
            turn = not turn
        if not sides[turn].has_offers:
            break
        pick = sides[turn].draw(chance(seed, number))
        song, artist = sides[turn].song(pick), sides[turn].artist(pick)
        chances = [side.propensity(song) for side in sides]
        # As it was drawn: the other way of adding up the same weights may end in another last bit.
        chances[turn] = pick.propensity
        places.append(Place(song, turn, pick.index, *chances))
        for side in sides:
            side.place(song, artist)
    return places


def begins(seed: str, number: int) -> bool:
    """Whether the challenger fills the first place of this round; a fair coin."""
    return chance(f"{seed}:{COIN}", number) < 0.5


def _turn(seed: str, number: int) -> bool:
    """Whether a place is the challenger's."""
    return begins(seed, number // 2) != bool(number % 2)


class _Side:
    """One model's offers."""

    def __init__(self, pool: Pool, temperature: float, artist_cap: int | None, floor: float) -> None:
        self._offers = Offers(pool, temperature, artist_cap, ())
        self._temperature, self._floor = temperature, floor
        self._songs: list[int] = pool.songs.tolist()
        self._artists: list[int] = pool.artists.tolist()
        self._places = {song: index for index, song in enumerate(self._songs)}

    @property
    def has_offers(self) -> bool:
        return bool(self._offers.clusters)

    def draw(self, number: float) -> Pick:
        return self._offers.best() if self._temperature <= 0 else self._offers.drawn(number, self._floor)

    def song(self, pick: Pick) -> int:
        return self._songs[pick.index]

    def artist(self, pick: Pick) -> int:
        return self._artists[pick.index]

    def artist_of(self, song: int) -> int:
        return self._artists[self._places[song]]

    def propensity(self, song: int) -> float:
        index = self._places.get(song)
        return 0.0 if index is None else self._offers.propensity(index, self._floor)

    def place(self, song: int, artist: int) -> None:
        index = self._places.get(song)
        if index is None:
            self._offers.count(artist)
        else:
            self._offers.take(index)
