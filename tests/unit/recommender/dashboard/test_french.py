"""The listener page in French: every stored sentence and every word of a cluster's name is known."""

import re
from datetime import UTC, datetime, timedelta

from django.utils import translation

from recommender.dashboard.listen.rows import KINDS
from recommender.engine.clustering.labeling import MOODS
from recommender.models import Feedback
from recommender.serving.list_limits import Limit
from recommender.serving.reasons import reasons as reasons_of
from recommender.serving.reasons.cluster_name_translation import WORDS, describe_style, translate_name
from recommender.serving.reasons.reasons import DiscoveryCode, Reason, ReasonCode, reason_sentence

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def reasons() -> list[Reason]:
    """Every kind of reason that a song may have."""
    played = [NOW - timedelta(days=days) for days in (3, 80, 700)]
    return [
        *(reasons_of.cluster_reason("Country, 1990s", 0.34, counts_likes=one) for one in (True, False)),
        Reason(ReasonCode.FAVOURITE),
        Reason(ReasonCode.DIFFERENT),
        reasons_of.artist_reason(["Ada Blue", "Bob"]),
        *(
            reasons_of.popularity_reason(genre, is_played=one)
            for genre in ("", "Rock")
            for one in (True, False)
        ),
        *(reasons_of.new_song_reason(familiar=one) for one in (True, False)),
        *(reasons_of.last_played_reason(at.timestamp(), NOW) for at in played),
    ]


def limits() -> list[str]:
    """Every sentence about a list, in the active language."""
    return [
        *(reasons_of.relaxed_sentence(limit, songs) for limit in Limit for songs in (1, 3)),
        *(
            reasons_of.discovery_sentence(code, found=found, songs=20)
            for code in DiscoveryCode
            for found in (0, 7)
        ),
    ]


def test_every_code_has_a_reason_in_english_and_in_french() -> None:
    with translation.override("fr"):
        french = [reason.sentence for reason in reasons()] + limits()
        english = [reason.english for reason in reasons()]
    with translation.override("en"):
        english += limits()

    assert {reason.code for reason in reasons()} == set(ReasonCode)
    assert not {*french} & {*english}
    assert not [text for text in english if "the user" in text]
    assert not [text for text in french if re.search(r"\b(the|you|of|songs?)\b", text)]


def test_a_reason_keeps_its_names_and_dates() -> None:
    duo = reasons_of.artist_reason(["Simon and Garfunkel", "Bob"])
    lately = reasons_of.last_played_reason((NOW - timedelta(days=3)).timestamp(), NOW)
    with translation.override("fr"):
        assert duo.sentence == "Parce que vous écoutez Simon and Garfunkel et Bob"
        assert lately.sentence == "Vous l’avez écouté le 29 octobre"  # noqa: RUF001
        assert reason_sentence({"reason": "Of an earlier release"}) == "Of an earlier release"
    assert duo.english == "Because you play Simon and Garfunkel and Bob"


def test_every_word_of_a_cluster_s_name_is_translated() -> None:
    assert set(WORDS) == {word for words in MOODS.values() for word in words if word}
    with translation.override("fr"):
        assert translate_name("Country, 1990s, calm") == "Country, années 1990, calme"
        assert translate_name("Cluster 7") == "Style 7"
        assert describe_style("rock", ["calm", "1990s"]) == "rock calme des années 1990"


def test_every_kind_of_feedback_is_translated() -> None:
    assert set(KINDS) == set(Feedback.Kind.labels)
