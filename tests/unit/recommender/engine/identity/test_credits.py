"""Artist credits: split into artists, without breaking the names of groups."""

from collections.abc import MutableMapping

import pytest

from recommender.engine.identity.credits import (
    ArtistCredits,
    artist_key,
    name_lead,
    possible_artists,
    shared_artist,
)


@pytest.mark.parametrize(("credit", "artists"), [
    ("Usher featuring will.i.am", ("Usher", "will.i.am")),
    ("Cassie Feat. Diddy & Yung Joc", ("Cassie", "Diddy & Yung Joc")),
    ("Drake (feat. Rihanna)", ("Drake", "Rihanna")),
    ("Drake [ft. Rihanna]", ("Drake", "Rihanna")),
    ("Drake ft Rihanna", ("Drake", "Rihanna")),
    ("Drake", ("Drake",)),
    ("Drake \u2013 feat. Rihanna", ("Drake", "Rihanna")),
    ("", ()), ("Various Artists", ()), ("[unknown]", ()), ("V.A.", ()),
    ("Verschiedene Interpreten feat. Drake", ("Drake",)),
])  # fmt: skip
def test_featured_artists_are_split_without_a_catalogue(credit: str, artists: tuple[str, ...]) -> None:
    assert ArtistCredits([credit]).artists(credit) == artists


@pytest.mark.parametrize("credit", [
    "Daft Punk & Pharrell", "Daft Punk / Pharrell", "Daft Punk and Pharrell", "Daft Punk, Pharrell",
    "Daft Punk x Pharrell", "Daft Punk \u00d7 Pharrell", "Daft Punk vs. Pharrell", "Daft Punk VS Pharrell",
    "Daft Punk \u2022 Pharrell", "Daft Punk \u00b7 Pharrell", "Daft Punk\u3001Pharrell",
    "Daft Punk w/ Pharrell",
    "Daft Punk presents Pharrell", "Daft Punk pres. Pharrell", "Daft Punk con Pharrell",
    "Daft Punk &amp; Pharrell",
    "Daft Punk\u060c Pharrell", "Various Artists, Daft Punk, Pharrell",
    "Daft Punk;Pharrell", "Daft Punk + Pharrell", "daft punk feat. Pharrell",
])  # fmt: skip
def test_credits_of_known_artists_are_split(credit: str) -> None:
    split = ArtistCredits([credit, "Daft Punk", "PHARRELL"])

    assert split.keys(credit) == ("daftpunk", "pharrell")
    assert split.lead_key(credit) == "daftpunk"
    assert split.lead_key("Various Artists") == ""
    assert artist_key(split.lead(credit)) == artist_key("Daft Punk")


@pytest.mark.parametrize("name", [
    "Simon & Garfunkel", "Earth, Wind & Fire", "AC/DC", "Belle and Sebastian", "Hall & Oates", "Iron & Wine",
    "Crosby, Stills, Nash & Young", "The Good, the Bad & the Queen", "Above & Beyond",
    "The Mamas & The Papas", "Lil Nas X",
    "Malcolm X", "X", "The XX", "Brave Fearless Feat", "Blood Sweat and Tears", "Matt and Kim",
])  # fmt: skip
def test_names_of_groups_stay_whole(name: str) -> None:
    split = ArtistCredits([name, "Earth", "Fire", "Simon", "Wind", "Nash", "Iron", "Kim", "Queen"])

    assert split.artists(name) == (name,)


def test_the_names_of_famous_groups_stay_whole_if_their_parts_are_artists() -> None:
    split = ArtistCredits(["Simon & Garfunkel", "Simon", "Garfunkel", "AC", "DC", "AC/DC"])

    assert split.artists("Simon & Garfunkel") == ("Simon & Garfunkel",)
    assert split.artists("AC/DC") == ("AC/DC",)


def test_an_act_with_a_backing_group_is_led_by_the_act() -> None:
    split = ArtistCredits(["Nick Cave", "Nick Cave & The Bad Seeds", "Prince", "Prince and the Revolution"])

    assert split.artists("Nick Cave & The Bad Seeds") == ("Nick Cave",)
    assert split.lead("Prince and the Revolution") == "Prince"


def test_a_list_of_artists_is_split_after_an_artist_with_a_credit_of_its_own() -> None:
    split = ArtistCredits(
        ["Eminem", "Eminem / Dina Rae", "Eminem;Nate Dogg", "Nobody / Somebody", "Eminem/B"]
    )

    assert split.artists("Eminem / Dina Rae") == ("Eminem", "Dina Rae")
    assert split.artists("Eminem;Nate Dogg") == ("Eminem", "Nate Dogg")
    assert split.artists("Nobody / Somebody") == ("Nobody / Somebody",)
    assert split.artists("Eminem/B") == ("Eminem/B",)


def test_a_group_of_two_nouns_stays_whole_beside_an_artist_of_one_of_them() -> None:
    split = ArtistCredits(["The Fox and the Hen", "Fox", "The Fox"])

    assert split.artists("The Fox and the Hen") == ("The Fox and the Hen",)


def test_a_full_name_with_a_credit_of_its_own_separates_from_anybody() -> None:
    split = ArtistCredits(
        ["Sean Kingston and Justin Bieber", "Justin Bieber", "Bruno & The Mars", "The Mars"]
    )

    assert split.artists("Sean Kingston and Justin Bieber") == ("Sean Kingston", "Justin Bieber")
    assert split.artists("Bruno & The Mars") == ("Bruno & The Mars",)
    credit = "Derek & The Dominos / Justin Bieber"
    assert split.artists(credit) == ("Derek & The Dominos", "Justin Bieber")
    assert split.artists("Alan Duet With Justin Bieber") == ("Alan", "Justin Bieber")


def test_a_part_of_two_credits_is_an_artist() -> None:
    split = ArtistCredits(["Kid Cudi / MGMT", "Kid Cudi / Ratatat", "MGMT"])

    assert split.artists("Kid Cudi / MGMT") == ("Kid Cudi", "MGMT")


def test_spellings_of_an_artist_have_one_key() -> None:
    assert artist_key("The Beatles") == artist_key("beatles") == artist_key("BEATLES ")
    assert artist_key("Beyonc\u00e9") == artist_key("Beyonce")
    assert artist_key("AC/DC") == artist_key("ACDC")
    assert artist_key("Beatles, The") == artist_key("The Beatles")
    assert artist_key("P!nk") == artist_key("Pink")
    assert artist_key("Ke$ha") == artist_key("Kesha")
    assert artist_key("A$AP Rocky") == artist_key("ASAP Rocky")
    assert len({artist_key(name) for name in ("The The", "!!!", "???", "Tyler, The Creator", "Pink")}) == 5


def test_the_shared_artist_of_two_credits_is_named_as_the_first_writes_it() -> None:
    assert shared_artist("Rihanna & Drake", "Eminem feat. RIHANNA") == "Rihanna"
    assert shared_artist("The Beatles", "Beatles") == "The Beatles"
    assert shared_artist("Drake", "Muse") == ""


@pytest.mark.parametrize(("credit", "lead"), [
    ("Drake / Kanye West / Lil Wayne / Eminem", "Drake"), ("Eminem / Hailie Jade", "Eminem"),
    ("Drake feat. Rihanna", "Drake"), ("AC/DC", "AC/DC"), ("Simon & Garfunkel", "Simon & Garfunkel"),
    ("Jason Mraz & Colbie Caillat", "Jason Mraz & Colbie Caillat"), ("Various Artists", ""),
    ("Simon &amp; Garfunkel", "Simon & Garfunkel"),
    ("Barry Tuckwell/Academy of St Martin-in-the-Fields/Sir Neville Marriner", "Barry Tuckwell"),
])  # fmt: skip
def test_a_sentence_names_the_lead_artist_of_a_long_credit(credit: str, lead: str) -> None:
    assert name_lead(credit) == lead


@pytest.mark.parametrize(("credit", "artists"), [
    ("<b>Muse</b>", ("Muse",)),
    ('<a href="/artist/7?x=y">Muse</a> feat. &lt;i class="x"&gt;Keane&lt;/i&gt;', ("Muse", "Keane")),
    ("<B>Mu</B>se", ("Muse",)),
    ("Muse<br />Keane<br>", ("Muse", "Keane")),
    ("<p>AC/DC</p>", ("AC/DC",)),
    ("<PIG>", ("<PIG>",)),
    ("I <3 Cats", ("I <3 Cats",)),
])  # fmt: skip
def test_html_is_not_part_of_a_name(credit: str, artists: tuple[str, ...]) -> None:
    split = ArtistCredits([credit, "Muse", "Keane"])

    assert split.artists(credit) == artists
    assert name_lead(credit) == artists[0]
    assert shared_artist(credit, artists[0]) == artists[0]


def test_a_long_broken_tag_is_read_in_one_pass() -> None:
    # A row may have 10 000 characters; backtracking over them took ten seconds.
    credit = "Muse<br" + 100_000 * " " + "x"

    assert name_lead(credit) == "Muse<br x"
    assert ArtistCredits([credit]).artists(credit) == ("Muse<br x",)


def test_artists_of_sentences_have_no_invisible_characters() -> None:
    credit, other = "\u202eSto\u200bne feat. Bo\ufeffb", "Stone"

    assert name_lead(credit) == "Stone"
    assert shared_artist(credit, other) == "Stone"
    assert ArtistCredits([credit]).artists(credit) == ("Stone", "Bob")


def test_the_artists_that_all_callers_share_can_t_be_changed() -> None:
    assert dict(possible_artists("Drake feat. Rihanna"))["drake"] == "Drake"
    assert not isinstance(possible_artists("Drake feat. Rihanna"), MutableMapping)
