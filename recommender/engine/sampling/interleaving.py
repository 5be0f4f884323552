"""Team-draft interleaving: champion and challenger fill one list in turn, with exact propensities.

In each round of two positions a fair random number decides who picks first. Songs in the list and artists at
their cap leave both pools before each pick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recommender.engine.sampling.sampler import (
    PROPENSITY_FLOOR,
    CandidatePool,
    ListOffers,
    Pick,
    seeded_uniform,
)

FIRST_PICK_SEED: Final = "coin"


@dataclass(frozen=True, slots=True)
class InterleavedPick:
    song: int  # song id
    by_challenger: bool  # whether the challenger drew the song; otherwise the champion did
    index: int  # the song's index in the pool of the model that drew it
    # Probability that each model would have drawn the song at this position; 0 if the model did not offer it.
    p_champion: float
    p_challenger: float

    @property
    def propensity(self) -> float:
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
    """The next n songs after `placed`; fewer only if neither model has a song left.

    A model without songs gives its position to the other. A longer list begins with the same songs.

    Args:
        champion, challenger: pools with the same song ids and artist codes.

    Source:
        Radlinski et al., "How does clickthrough data reflect retrieval quality?", CIKM 2008 (team draft).
    """
    teams = (
        _Team(champion, temperature, artist_cap, floor),
        _Team(challenger, temperature, artist_cap, floor),
    )
    for earlier in placed:
        codes, is_new = teams[earlier.by_challenger].facts_of(earlier.song)
        for team in teams:
            team.place_song(earlier.song, codes, is_new=is_new)
            team.count_kind(teams[earlier.by_challenger].kind_of(earlier.index))
    picks: list[InterleavedPick] = []
    for place in range(len(placed), len(placed) + n):
        turn = _is_challenger_turn(seed, place)
        if not teams[turn].has_offers:
            turn = not turn
        if not teams[turn].has_offers:
            break
        pick = teams[turn].draw_pick(seeded_uniform(seed, place))
        song = teams[turn].song_of_pick(pick)
        codes, is_new = teams[turn].facts_of(song)
        propensities = [team.propensity(song) for team in teams]
        # The drawn pick keeps its value, because adding the weights in another order may change the last bit.
        propensities[turn] = pick.propensity
        picks.append(InterleavedPick(song, turn, pick.index, *propensities))
        kind = teams[turn].kind_of(pick.index)
        for team in teams:
            team.place_song(song, codes, is_new=is_new)
            team.count_kind(kind)
    return picks


def challenger_picks_first(seed: str, round_number: int) -> bool:
    return seeded_uniform(f"{seed}:{FIRST_PICK_SEED}", round_number) < 0.5


def _is_challenger_turn(seed: str, place: int) -> bool:
    return challenger_picks_first(seed, place // 2) != bool(place % 2)


class _Team:
    def __init__(self, pool: CandidatePool, temperature: float, artist_cap: int | None, floor: float) -> None:
        self._offers = ListOffers(pool, temperature, artist_cap, ())
        self._temperature, self._floor = temperature, floor
        self._songs: list[int] = pool.songs.tolist()
        self._index_of = {song: index for index, song in enumerate(self._songs)}

    @property
    def has_offers(self) -> bool:
        return self._offers.has_offers

    def draw_pick(self, chance: float) -> Pick:
        if self._temperature <= 0:
            return self._offers.best_pick()
        return self._offers.draw_pick(chance, self._floor)

    def song_of_pick(self, pick: Pick) -> int:
        return self._songs[pick.index]

    def propensity(self, song: int) -> float:
        index = self._index_of.get(song)
        return 0.0 if index is None else self._offers.propensity(index, self._floor)

    def kind_of(self, index: int) -> int:
        return self._offers.kind_of(index)

    def count_kind(self, kind: int) -> None:
        self._offers.count_kind(kind)

    def facts_of(self, song: int) -> tuple[tuple[int, ...], bool]:
        """Codes of the song's artists and recording, and whether it is a new song in this pool."""
        index = self._index_of[song]
        return self._offers.codes_of(index), self._offers.is_new_song(index)

    def place_song(self, song: int, codes: tuple[int, ...], *, is_new: bool) -> None:
        """Count a song that either model drew, with its facts from that model."""
        index = self._index_of.get(song)
        if index is None:
            self._offers.place_other_song(codes, is_new=is_new)
        else:
            self._offers.place_song(index, is_new=is_new)
