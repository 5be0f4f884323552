"""The listener page in French: every stored sentence and every word of a cluster's name is known."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import translation

from recommender.dashboard.listen.rows import KINDS
from recommender.dashboard.listen.styles import phrase_of
from recommender.engine.clustering.labeling import MOODS
from recommender.models import Cluster, Feedback
from recommender.serving.list_limits import Limit
from recommender.serving.reasons import reasons as reasons_of
from recommender.serving.reasons.cluster_name_translation import (
    WORDS,
    cluster_name,
    describe_style,
    translate_name,
)
from recommender.serving.reasons.reasons import DiscoveryCode, Reason, ReasonCode, reason_sentence

# Names that staff chose are in the database.
pytestmark = pytest.mark.django_db
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
    with translation.override("en"):
        english = [reason.sentence for reason in reasons()] + limits()

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
    with translation.override("en"):
        assert duo.sentence == "Because you play Simon and Garfunkel and Bob"


def test_every_word_of_a_cluster_s_name_is_translated() -> None:
    assert set(WORDS) == {word for words in MOODS.values() for word in words if word}
    with translation.override("fr"):
        assert translate_name("Country, 1990s, calm") == "Country, années 1990, calme"
        assert translate_name("Cluster 7") == "Style 7"
        assert describe_style("rock", ["calm", "1990s"]) == "rock calme des années 1990"


@pytest.mark.parametrize(
    ("name", "facts", "french"),
    [
        ("Live", {"automatic_name": "Rock"}, "Live"),  # chosen by staff
        ("Rock and calm, 1990s", {"automatic_name": "Rock"}, "Rock and calm, 1990s"),
        ("Live", {"moods": ["live"]}, "En concert"),
        ("Live", {"moods": ["fast"], "name_kind": "artists"}, "Live"),  # a band
        ("Drum and Bass, calm", {}, "Drum and Bass, calme"),
        ("Drum and Bass and Techno", {}, "Drum and Bass et Techno"),
        ("Techno and Drum and Bass", {}, "Techno et Drum and Bass"),
        ("Acoustic", {"moods": ["acoustic"]}, "Acoustique"),  # also a genre
        ("Belle and Sebastian and Muse", {}, "Belle and Sebastian et Muse"),
        ("Muse, Belle and Sebastian and Keane", {}, "Muse, Belle and Sebastian et Keane"),
        ("Earth, Wind and Fire", {}, "Earth, Wind and Fire"),
        ("Rock and Metal, 1990s", {}, "Rock et Metal, années 1990"),
        ("Muse, Keane and Ash", {}, "Muse, Keane et Ash"),
        ("Belle and Sebastian", {}, "Belle and Sebastian"),
        ("", {}, "Style 3"),
    ],
)
def test_a_cluster_s_name_is_translated_unless_staff_chose_it(
    name: str, facts: dict[str, Any], french: str
) -> None:
    cluster = Cluster(number=3, name=name, facts=facts)
    with translation.override("fr"):
        assert cluster_name(cluster) == french
    with translation.override("en"):
        assert cluster_name(cluster) == cluster.shown_name


def test_a_style_of_one_genre_with_an_and_is_one_genre_in_a_sentence() -> None:
    facts = {"genres": {"drum and bass": 1}, "moods": ["calm"]}
    with translation.override("fr"):
        phrase = phrase_of(Cluster(number=3, name="Drum and bass, calm", facts=facts))
        chosen = phrase_of(Cluster(number=3, name="Rock, calm", facts={**facts, "automatic_name": "Pop"}))

    assert (phrase, chosen) == ("drum and bass calme", "Rock, calm")


def test_every_kind_of_feedback_is_translated() -> None:
    assert set(KINDS) == set(Feedback.Kind.labels)
