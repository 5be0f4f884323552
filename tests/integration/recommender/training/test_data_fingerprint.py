"""`retrain --if-new` and the weekly cycle: what counts as new, and what does not."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ingestion.models import Listener, ListeningHistory, Song
from recommender import retraining
from recommender.engine import artifact
from recommender.experiments import eligibility
from recommender.models import Feedback, ModelVersion, TrainingRun
from recommender.registry import registry
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.recommendations import RECOMMENDED_AT

News = Callable[[], Any]


def ask(storage: Path, **wanted: Any) -> TrainingRun:
    return retrain(TrainingOptions(storage=storage, only_if_new=True, **wanted))


def a_song() -> Song:
    return Song.objects.order_by("pk")[0]


def change_song(**fields: Any) -> None:
    Song.objects.filter(pk=a_song().pk).update(**fields)


def take_a_session_back() -> None:
    ListeningHistory.objects.order_by("pk")[0].delete()


def test_without_the_newest_versions_files_a_training_on_the_same_data_is_new(storage: Path) -> None:
    same = ask(storage)
    ModelVersion.objects.update(files_deleted_at=timezone.now())

    again = ask(storage)

    assert (same.error_kind, again.status) == ("NothingNew", "succeeded")


@pytest.mark.parametrize(
    "news",
    [
        lambda: change_song(genres="Polka"),
        lambda: change_song(artist="Somebody Else"),
        lambda: change_song(album="Another"),
        lambda: change_song(release_year=1931),
        lambda: change_song(duration=timedelta(seconds=1)),
        lambda: change_song(audio_features={"energy": 0.123}),
        lambda: change_song(audio_features=None),
        lambda: change_song(unavailable_at=RECOMMENDED_AT),
        lambda: Listener.objects.update(favorite_genres="Polka"),
        take_a_session_back,
        lambda: ListeningHistory.objects.order_by("pk").update(items=[a_song().pk]),
    ],
    ids=[
        "genres", "artist", "album", "year", "duration", "sound", "sound unknown", "gone", "favourites",
        "a session taken back", "sessions put right",
    ],
)  # fmt: skip
def test_what_was_changed_is_learnt_though_no_listening_came(storage: Path, news: News) -> None:
    unchanged = ask(storage)
    news()

    changed = ask(storage)

    assert (unchanged.status, unchanged.error_kind) == ("refused", "NothingNew")
    assert changed.status == "succeeded"


def test_a_song_s_new_name_is_no_news_for_nothing_is_learnt_from_names(storage: Path) -> None:
    change_song(name="Remastered")

    run = ask(storage)

    assert (run.status, run.error_kind) == ("refused", "NothingNew")


def test_a_vote_that_was_taken_back_is_news(storage: Path) -> None:
    said = {
        "listener": Listener.objects.order_by("pk")[0],
        "song": a_song(),
        "at": RECOMMENDED_AT - timedelta(days=300),
    }
    vote = Feedback.objects.create(kind=Feedback.Kind.DISLIKE, received_at=RECOMMENDED_AT, **said)
    voted, nothing = ask(storage), ask(storage)
    vote.delete()

    run = ask(storage)

    assert [one.status for one in (voted, nothing, run)] == ["succeeded", "refused", "succeeded"]


def test_a_refused_training_leaves_everything_as_it_was_and_says_why(storage: Path) -> None:
    before = list(ModelVersion.objects.values_list("label", "role", "artifact_sha256"))
    files = sorted(path for path in storage.rglob("*"))

    run = ask(storage, promote=True)

    assert run.version is None
    assert run.error.startswith(
        f"There is no new data since {before[0][0]}, which was trained on data up to "
    )
    assert list(ModelVersion.objects.values_list("label", "role", "artifact_sha256")) == before
    assert sorted(path for path in storage.rglob("*")) == files


def test_to_begin_afresh_after_a_refresh_is_new_but_not_twice(storage: Path) -> None:
    retrain(TrainingOptions(storage=storage))

    first, second = ask(storage, full=True), ask(storage, full=True)

    assert (first.status, second.status) == ("succeeded", "refused")


def test_a_version_of_a_release_without_digests_is_told_by_its_counts(storage: Path) -> None:
    ModelVersion.objects.update(configuration={"method": "mix"})
    same = ask(storage)
    Song.objects.create(
        pk=90_001, name="New", artist="New", duration=timedelta(seconds=200), created_at=timezone.now(),
        updated_at=timezone.now(),
    )  # fmt: skip

    more = ask(storage)

    assert (same.status, more.status) == ("refused", "succeeded")


def test_the_weekly_cycle_learns_where_only_song_details_have_changed(storage: Path) -> None:
    order = TrainingOptions(storage=storage, only_if_new=True, by=eligibility.AUTOMATIC_ACTOR)

    def verify(one: ModelVersion) -> None:
        artifact.verify_files(storage / one.label, one.artifact_sha256)

    nothing = retraining.run_cycle(order, RECOMMENDED_AT, verify)
    change_song(genres="Polka")
    cycled = retraining.run_cycle(order, RECOMMENDED_AT, verify)

    assert nothing.training.error_kind == "NothingNew"
    assert cycled.training.status == "succeeded"
    assert cycled.experiment is not None
    assert cycled.experiment.champion == registry.current_champion()
