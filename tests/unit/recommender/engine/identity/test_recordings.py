"""Which titles are copies of one recording."""

import pytest

from recommender.engine.identity.recordings import recording_key


def key(title: str, album: str = "") -> str:
    return recording_key(title, "muse", album)


@pytest.mark.parametrize("title", [
    "Starlight (Remastered)", "Starlight - 2011 Remaster", "Starlight - Remastered 2009",
    "Starlight [Remaster]",
    "Starlight (Album Version)", "Starlight (Radio Edit)", "Starlight - Radio Edit",
    "Starlight (Single Version)",
    "Starlight (2006 Remastered LP Version)", "Starlight (Explicit Album Version)", "STARLIGHT",
    "Starlight (feat. Someone)",
    "Starlight (Original Mix)", "Starlight (Bonus Track)", "Starlight (Deluxe Edition)", "Starlight - Mono",
    "Starlight (20th Anniversary Edition)", "Starlight feat. Someone", "Starlight [feat. A] (Explicit)",
    "Starlight (with Someone)", "Starlight - From \"Some Film\"", "Starlight (From the Motion Picture X)",
    "Starlight (Original Motion Picture Soundtrack)", "Starlight / Remastered 2009", "Starlight - 2015 Mix",
    "Starlight\uff08Remastered\uff09", "Starlight (Official Video)", "Starlight (Japanese Bonus Track)",
    "Starlight (Edit)", "Starlight (1993 Digital Remaster)", "Starlight - Single Version - 2011 Remaster",
    "Starlight\uff08\u30ea\u30de\u30b9\u30bf\u30fc\uff09",
    "Starlight (2019\u30ea\u30de\u30b9\u30bf\u30fc\u7248)",
    "Starlight (\u0420\u0435\u043c\u0430\u0441\u0442\u0435\u0440\u0438\u043d\u0433 2010)",
    "Star\u200blight", "Starlight (Mono Version / Remastered 2002)",
])  # fmt: skip
def test_copies_have_the_key_of_the_recording(title: str) -> None:
    assert key(title, "Greatest Hits") == key("Starlight", "Black Holes")


@pytest.mark.parametrize("title", [
    "Starlight (Live)", "Starlight - Live at Wembley", "Starlight (Acoustic)", "Starlight (Someone Remix)",
    "Starlight (Demo)", "Starlight (Instrumental)", "Starlight (Part 2)", "Starlight (Reprise)",
    "Starlight II",
    "Starlight (Extended Mix)", "Starlight (Manhattan Clique Remix Radio Edit)",
    "Starlight (Karaoke Version)",
    "Starlight (The New)", "Starlight (2)", "Starlight (With You)", "Starlight (Taylor's Version)",
    "Starlight (From Here)", "Starlight / Darkness", "Starlight (Sped Up)",
])  # fmt: skip
def test_other_recordings_have_other_keys(title: str) -> None:
    assert key(title) != key("Starlight")


def test_a_song_of_a_live_album_is_another_recording() -> None:
    assert key("Starlight", "HAARP (Live at Wembley)") != key("Starlight", "Black Holes")
    assert key("Starlight", "HAARP (Live at Wembley)") == key("Starlight (Live)", "HAARP")
    assert key("Starlight", "Live It Up") == key("Starlight")


def test_common_titles_mean_different_recordings_on_different_albums() -> None:
    assert key("Intro", "One") != key("Intro", "Two")
    assert key("Intro", "One") == key("Intro (Remastered)", "One")


def test_brackets_are_part_of_a_title_if_they_do_not_name_a_copy() -> None:
    assert key("(Sittin' On) The Dock of the Bay") == key(
        "(Sittin\u2019 On) The Dock Of The Bay (Remastered)"
    )
    assert key("(I Can't Get No) Satisfaction") != key("Satisfaction")


def test_without_a_title_or_an_artist_there_is_no_key() -> None:
    assert recording_key("", "muse") == recording_key("Starlight", "") == ""
    assert recording_key("!!!", "muse") != recording_key("???", "muse")


def test_the_number_of_a_part_is_compared_in_any_spelling() -> None:
    spellings = ["The Wall, Pt. 2", "The Wall (Part 2)", "The Wall Part II", "The Wall - Pt. II (Remastered)"]

    assert len({key(title) for title in spellings}) == 1
    assert len({key(f"The Wall (Pt. {number})") for number in ("I", "II", "IV", "VI", "IX", "XI")}) == 6


def test_feat_is_also_a_word_of_a_title() -> None:
    assert key("A Feat of Love") != key("A Feat of Hate")


def test_titles_that_differ_by_marks_of_their_script_are_different_recordings() -> None:
    assert len({key(title) for title in ("\u0926\u093f\u0932", "\u0926\u0942\u0932", "\u0926\u0932")}) == 3
