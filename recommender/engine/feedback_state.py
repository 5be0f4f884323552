"""Which feedback events still count after later events of the same listener on the same song.

- Of likes, dislikes and clears only the latest counts, once. A `clear` also cancels earlier skips and wrong
  styles.
- A skip counts unless the song was liked or cleared later; a later play ends its exclusion.
- A listen counts if it was long enough (`heard_threshold`). Plays are never cancelled.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

# The music industry counts a stream from 30 seconds on. Of a song shorter than a minute, half is enough.
HEARD_SECONDS: Final = 30.0
HEARD_SHARE: Final = 0.5
# An app reports when a song was played, the source when its session began or ended, so both times differ by
# up to the length of a session. Within six hours at most one of them counts. A shorter window would count
# songs of a long evening twice; a longer one would hide a song that is played every day.
SAME_PLAY_HOURS: Final = 6.0
SAME_PLAY_SECONDS: Final = SAME_PLAY_HOURS * 3_600
# Any time far before the first event.
NEVER: Final = -1


class EventKind(IntEnum):
    """Kinds of feedback events, as small numbers for arrays."""

    LIKE = 0
    DISLIKE = 1
    SKIP = 2
    LISTEN = 3  # long enough to count
    WRONG_STYLE = 4
    CLEAR = 5
    NOT_HEARD = 6  # a listen that was too short


def heard_threshold(duration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds from which a listen counts; durations in seconds, 0 or NaN: unknown."""
    known = np.nan_to_num(duration) > 0
    return np.where(known, np.minimum(HEARD_SHARE * np.nan_to_num(duration), HEARD_SECONDS), HEARD_SECONDS)


class FeedbackState:
    """Which feedback events count and which exclude songs; entry i of every array is event i.

    Attributes:
        counts: whether the event counts.
        excludes: whether it is the latest opinion of the song and a dislike, which excludes the song
            permanently, or a skip, which does so for a month.
    """

    def __init__(
        self,
        pairs: NDArray[np.int64],
        kinds: NDArray[np.int8],
        at: NDArray[np.float64],
        ids: NDArray[np.int64],
    ) -> None:
        """Evaluate the events; every array has one entry per event, in any order.

        Args:
            pairs: one number for each pair of listener and song.
            kinds: see EventKind.
            at: times; the order of `ids` decides ties.
        """
        order = np.lexsort((ids, at))
        _, groups = np.unique(pairs, return_inverse=True)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        n_groups = int(groups.max(initial=-1)) + 1

        def last(kind: EventKind) -> NDArray[np.int64]:
            places = np.full(n_groups, NEVER, dtype=np.int64)
            chosen = kinds == kind
            np.maximum.at(places, groups[chosen], place[chosen])
            return places[groups]

        like, dislike, clear = last(EventKind.LIKE), last(EventKind.DISLIKE), last(EventKind.CLEAR)
        listen, skip, wrong = last(EventKind.LISTEN), last(EventKind.SKIP), last(EventKind.WRONG_STYLE)
        is_like = (place == like) & (like > np.maximum(dislike, clear))
        is_dislike = (place == dislike) & (dislike > np.maximum(like, clear))
        is_skip = (kinds == EventKind.SKIP) & (place > np.maximum(like, clear))
        is_wrong = (place == wrong) & (wrong > clear)
        self.counts: NDArray[np.bool_] = (
            is_like | is_dislike | is_skip | is_wrong | (kinds == EventKind.LISTEN)
        )
        self.excludes: NDArray[np.bool_] = is_dislike | (is_skip & (place == skip) & (skip > listen))


def reported_twice(
    listen_pairs: NDArray[np.int64],
    listen_at: NDArray[np.float64],
    session_pairs: NDArray[np.int64],
    session_at: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Mask that is True for each listen that is also a play in a session of the source.

    A play matches at most one listen of the same listener and song within SAME_PLAY_HOURS.
    """
    twice = np.zeros(len(listen_pairs), dtype=np.bool_)
    # Most songs are reported by one side alone; the loop sees only those of both.
    listens = np.flatnonzero(np.isin(listen_pairs, session_pairs))
    if not len(listens):
        return twice
    sessions = np.flatnonzero(np.isin(session_pairs, listen_pairs[listens]))
    listens = listens[np.lexsort((listen_at[listens], listen_pairs[listens]))]
    sessions = sessions[np.lexsort((session_at[sessions], session_pairs[sessions]))]
    plays = list(zip(session_pairs[sessions].tolist(), session_at[sessions].tolist(), strict=True))
    reported = zip(listens.tolist(), listen_pairs[listens].tolist(), listen_at[listens].tolist(), strict=True)
    next_play = 0
    for index, pair, at in reported:
        # Plays too early for this listen are too early for all later listens.
        while next_play < len(plays) and plays[next_play] < (pair, at - SAME_PLAY_SECONDS):
            next_play += 1
        if next_play == len(plays):
            break
        if plays[next_play] <= (pair, at + SAME_PLAY_SECONDS):
            twice[index] = True
            next_play += 1
    return twice
