"""The tables as arrays, also while a run writes into them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from ingestion.models import Song
from recommender import matrices
from recommender.matrices import read_training_data

pytestmark = pytest.mark.django_db


def add(pk: int, energy: float) -> None:
    now = timezone.now()
    Song.objects.create(
        pk=pk, name=f"Song {pk}", artist="Ada", genres="rock", duration=timedelta(minutes=3),
        audio_features={"energy": energy}, created_at=now, updated_at=now,
    )  # fmt: skip


@pytest.mark.parametrize("added", [1, 15, 25, 99], ids=["before", "between", "beyond two", "after"])
def test_a_song_that_a_run_writes_meanwhile_gives_no_song_anothers_sound(
    monkeypatch: pytest.MonkeyPatch, added: int
) -> None:
    for pk in (10, 20, 30):
        add(pk, energy=pk / 100)
    read = matrices._json_texts

    def read_later(*column: object) -> Iterator[tuple[int, str | None]]:
        add(added, energy=0.99)
        Song.objects.filter(pk=20).delete()
        return read(*column)  # type: ignore[arg-type]

    monkeypatch.setattr(matrices, "_json_texts", read_later)

    catalogue = read_training_data().catalogue

    assert catalogue.ids.tolist() == [10, 20, 30]
    assert str(catalogue.audio["energy"].tolist()) == "[0.1, nan, 0.3]"
