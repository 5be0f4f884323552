"""Drift of new songs: last week's songs compared with the champion's training data."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ingestion.models import Incident, Song
from recommender.models import DriftReport
from recommender.monitoring.alerts import check_drift
from recommender.monitoring.catalogue_drift import check_new_songs
from recommender.registry import model_loader
from recommender.registry.model_loader import ServingModel
from recommender.serving.list_limits import ServingOptions

WEEK = date(2026, 11, 16)
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def model(options: ServingOptions) -> ServingModel:
    loaded = model_loader.current_model(options.storage).model
    assert loaded is not None
    return loaded


def release(songs: list[Song], n: int = 200, **fields: object) -> None:
    """Add new songs like the given ones, except for `fields`."""
    Song.objects.bulk_create(
        Song(
            id=1_000_000 + place, name=f"New {place}", created_at=MONDAY + timedelta(minutes=place),
            updated_at=MONDAY, **{**_like(songs[place % len(songs)]), **fields},
        )
        for place in range(n)
    )  # fmt: skip


def _like(song: Song) -> dict[str, object]:
    names = ("artist", "songwriters", "duration", "genres", "album", "audio_features", "release_year")
    return {name: getattr(song, name) for name in names}


def check(model: ServingModel) -> DriftReport:
    report = check_new_songs(model, WEEK, NOW, seed=7)
    assert report is not None
    return report


def test_new_songs_like_the_old_ones_are_no_drift(model: ServingModel) -> None:
    release(list(Song.objects.order_by("name")))

    report = check(model)

    assert (report.n, report.drifted, report.alarm) == (200, False, False)


def test_songs_of_one_kind_alone_are_an_alarm_and_name_its_cluster(model: ServingModel) -> None:
    group = model.cluster_of(int(model.song_ids[5]))
    assert group is not None
    kind = [song for song in Song.objects.all() if model.cluster_of(song.pk) == group]
    release(kind[:1])

    report = check(model)

    assert report.alarm
    assert report.causes[0]["change"] > 0.3 or report.causes[1]["change"] > 0.3


def test_drift_is_an_incident_until_the_next_check_without_alarm(model: ServingModel) -> None:
    group = model.cluster_of(int(model.song_ids[5]))
    release([song for song in Song.objects.all() if model.cluster_of(song.pk) == group][:1])
    check_drift(model, NOW)
    opened = list(Incident.objects.filter(resolved_at=None).values_list("key", "kind"))

    check_drift(model, NOW + timedelta(days=7))

    assert opened == [("drift_found:songs", "drift_found")]
    assert not Incident.objects.filter(resolved_at=None).exists()


def test_a_few_new_songs_prove_nothing(model: ServingModel) -> None:
    release(list(Song.objects.all()[:1]), n=99)

    assert not check(model).drifted


def test_a_week_without_new_songs_has_a_report_of_none(model: ServingModel) -> None:
    assert (check(model).n, check(model).drifted) == (0, False)
    assert DriftReport.objects.filter(kind="songs").count() == 1


def test_songs_that_the_model_knows_are_not_new(model: ServingModel) -> None:
    Song.objects.update(created_at=MONDAY)

    assert check(model).n == 0
