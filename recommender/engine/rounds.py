"""Interleaved lists, scored: of each round's two songs, which model's was engaged with."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

# More decisive rounds of one list say little that three do not, and would let one evening count for many.
COUNTED: Final = 3


@dataclass(frozen=True)
class Score:
    """Rounds that count: `wins` of the challenger, `losses` to the champion."""

    wins: int = 0
    losses: int = 0

    @property
    def balance(self) -> int:
        return self.wins - self.losses

    def __add__(self, other: "Score") -> "Score":
        return Score(self.wins + other.wins, self.losses + other.losses)


def score_list(
    songs: Sequence[int], by_challenger: Sequence[bool], engaged: Collection[int], refused: Collection[int]
) -> Score:
    """A list's first three decisive rounds, in the order of its places.

    Places 1 and 2 are a round, 3 and 4 the next; a last place without a second one is none. A round is
    decisive if exactly one of its songs was engaged with.

    Args:
        songs: in the order of the list.
        by_challenger: for each place, whether the challenger drew it.
        engaged: songs that were liked, or listened to.
        refused: songs that were skipped or disliked, which undoes an engagement.
    """
    wins = losses = 0
    for first in range(0, len(songs) - 1, 2):
        liked = [place for place in (first, first + 1) if songs[place] in engaged]
        liked = [place for place in liked if songs[place] not in refused]
        if len(liked) != 1:
            continue
        if by_challenger[liked[0]]:
            wins += 1
        else:
            losses += 1
        if wins + losses == COUNTED:
            break
    return Score(wins, losses)


def total(scores: Iterable[Score]) -> Score:
    return sum(scores, Score())
