"""Errors of the source client say what to do and show no secret."""

import copy

import pytest

from ingestion.source.errors import SourceContractBroken, SourceError, SourceUnavailable, without_secrets


def test_giving_up_names_the_address_the_attempts_and_the_last_reason() -> None:
    error = SourceUnavailable(
        "http://source/tracks?page=3", 5, "answered 500 Internal Server Error", "http_500"
    )

    text = str(error)

    assert (
        text == "http://source/tracks?page=3 failed 5 times; last reason: answered 500 Internal Server Error"
    )
    assert error.kind == "http_500"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ann:secret@source:81/tracks?page=3&size=100", "http://source:81/tracks?page=3&size=100"),
        ("https://source/tracks?api_key=secret&page=1#x", "https://source/tracks?api_key=***&page=1"),
        ("http://[secret/tracks", "(unreadable address)"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    text = without_secrets(url)

    assert text == shown


@pytest.mark.parametrize(
    "error",
    [
        SourceUnavailable("http://ann:secret@source/?key=secret", 5, "no answer", "timeout"),
        SourceContractBroken("http://ann:secret@source/?key=secret", "answered 404 Not Found", "http_404"),
    ],
)
def test_a_pickled_error_has_the_same_text_and_no_secret(error: SourceError) -> None:
    copied = copy.copy(error)

    assert str(copied) == str(error)
    assert "secret" not in f"{copied!r} {copied} {copied.args}"
