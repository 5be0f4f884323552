"""Styles in a sentence, colours and covers."""

from typing import Any
from xml.etree import ElementTree

import pytest

from recommender.dashboard.listen.styles import draw_cover, phrase_of, unknown_style
from recommender.models import Cluster


def make_cluster(name: str, **facts: Any) -> Cluster:
    return Cluster(number=3, name=name, size=1, facts={"automatic_name": name, **facts})


@pytest.mark.parametrize(
    ("name", "facts", "phrase"),
    [
        ("Country, 1990s", {"genres": {"country": 0.8}, "decade": "1990s"}, "1990s country"),
        (
            "Rock, energetic, 1980s",
            {"genres": {"rock": 1}, "decade": "1980s", "moods": ["energetic"]},
            "energetic 1980s rock",
        ),
        ("R&B, calm", {"genres": {"R&B": 0.9}, "moods": ["calm"]}, "calm R&B"),
        ("Ada Blue, Bob and Cy", {"genres": {"rock": 1}}, "Ada Blue, Bob and Cy"),
        ("Grandma's records", {"genres": {"rock": 1}, "automatic_name": "Rock"}, "Grandma's records"),
        ("", {}, "Cluster 3"),
    ],
)
def test_a_cluster_is_named_as_people_speak(name: str, facts: dict[str, Any], phrase: str) -> None:
    assert phrase_of(make_cluster(name, **facts)) == phrase


def test_a_cover_is_well_formed_and_always_the_same() -> None:
    covers = {song: draw_cover(song, 'The <"Ada" & Bob>', unknown_style()) for song in range(40)}

    assert all(ElementTree.fromstring(cover).tag == "svg" for cover in covers.values())  # noqa: S314
    assert len(set(covers.values())) == 40
    assert draw_cover(7, 'The <"Ada" & Bob>', unknown_style()) == covers[7]
