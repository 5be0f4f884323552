"""Which artists a reason names for songs that share no genre with what the listener plays."""

import numpy as np
import pytest

from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.models.served import SongCard
from recommender.serving.list_limits import Limit
from recommender.serving.list_sampler import PickedSong
from recommender.serving.reasons.explanations import ReasonContext
from tests.support.builders.recommendations import LISTENER, RECOMMENDED_AT

pytestmark = pytest.mark.django_db

CLUSTER = 3


def card(song: int, artist: str, genres: str = "") -> SongCard:
    return SongCard(song, f"Song {song}", artist, "", genres, 200, True)


# The listener plays Muse most in the cluster, but songs by Keane and Beck are near song 1.
PLAYED = {
    7: card(7, "Muse", "rock, awesome"),
    8: card(8, "Keane / Someone"),
    9: card(9, "Beck"),
    6: card(6, ""),
}


def reason(song: SongCard, *, affinity: float = 0.3, familiar: bool = False) -> str:
    one = np.array([1])
    candidates = CandidateArrays(
        one, one.astype(np.float32), one, one, one.astype(np.uint8), {CLUSTER: affinity},
        related={1: (8, 9), 2: (7,)}, played_in_cluster={CLUSTER: (7, 6)},
    )  # fmt: skip
    context = ReasonContext(LISTENER, RECOMMENDED_AT, [candidates])
    context.use_cards(PLAYED)
    pick = PickedSong(song.id, CLUSTER, affinity, 0.1, familiar, rerecommended=False, cold_start=False)
    return context.reason_for(pick, song, "Muse and Queen").sentence


def test_a_song_by_a_new_artist_names_artists_of_songs_near_it() -> None:
    assert reason(card(1, "Gnarls")) == "Because you play Keane and Beck"
    assert reason(card(1, "Gnarls"), affinity=0.0) == "Because you play Keane and Beck"


def test_a_song_near_it_is_not_named_if_they_share_only_an_opinion() -> None:
    assert reason(card(2, "Slint", "awesome, post-rock")) == "Because you play Muse"
    assert reason(card(2, "Slint", "awesome, jazz"), affinity=0.0) == "Something different to try"


def test_what_the_listener_plays_in_the_cluster_is_named_only_if_it_shares_a_genre() -> None:
    assert reason(card(4, "Arvo", "Classical")) == "Something different to try"
    assert reason(card(4, "Enya")) == "Something different to try"
    assert reason(card(4, "Enya"), affinity=0.0) == "Something different to try"
    assert reason(card(4, "Placebo", "Indie Rock")) == "Because you play Muse"
    assert reason(card(4, "Placebo", "Indie Rock"), affinity=0.0) == "Something different to try"


def test_a_song_by_a_played_artist_names_this_artist() -> None:
    assert reason(card(2, "Muse feat. Beck"), familiar=True) == "Because you play Muse"


def test_a_heard_song_that_fills_a_list_is_not_called_a_favourite() -> None:
    one, played_at = np.array([1]), RECOMMENDED_AT.timestamp() - 20 * 86_400
    candidates = CandidateArrays(
        one, one.astype(np.float32), one, one, one.astype(np.uint8), {CLUSTER: 1.0},
        last_played_at={1: played_at},
    )  # fmt: skip
    context = ReasonContext(LISTENER, RECOMMENDED_AT, [candidates])
    favourite = PickedSong(1, CLUSTER, 1.0, 0.1, familiar=True, rerecommended=True, cold_start=False)

    reasons = [
        context.reason_for(pick, card(1, "Muse"), "").sentence
        for pick in (favourite, favourite._replace(relaxed=(Limit.HEARD,)))
    ]

    assert reasons == ["One of the songs that you play most", "You last heard it on 12 October"]
