"""A training from the tables to a champion: what is fitted, stored and refused, and what a crash leaves."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from django.utils import timezone

from ingestion.jobs import resource_usage
from ingestion.models import Listener, ListeningHistory, Song
from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.engines import EngineUnavailable
from recommender.engine.data import EngineError
from recommender.models import Cluster, Feedback, ModelVersion, Promotion, TrainingRun
from recommender.registry import registry
from recommender.training import train
from recommender.training.dataset import read_training_data
from recommender.training.train import AlreadyTraining, TrainingOptions, TrainingProgress, retrain

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

START = datetime(2026, 10, 1, tzinfo=UTC)
STYLES = ("rock", "jazz", "techno")


def fill(songs: int = 60, listeners: int = 40, weeks: int = 4) -> None:
    """Three styles with songs of their own; each listener keeps to one and hears some songs every week."""
    draws = np.random.default_rng(7)
    Song.objects.bulk_create(
        Song(
            pk=pk, name=f"Song {pk}", artist=f"Artist {pk % 15}", genres=STYLES[pk % 3],
            duration=timedelta(seconds=180 + pk), created_at=START, updated_at=START,
            release_year=1990 + pk % 30, audio_features={"energy": (pk % 3) / 2},
        )
        for pk in range(1, songs + 1)
    )  # fmt: skip
    Listener.objects.bulk_create(
        Listener(pk=pk, favorite_genres=STYLES[pk % 3], created_at=START, updated_at=START)
        for pk in range(1, listeners + 1)
    )
    of_style = [[pk for pk in range(1, songs + 1) if pk % 3 == style] for style in range(3)]
    ListeningHistory.objects.bulk_create(
        ListeningHistory(
            user_id=pk, items=draws.choice(of_style[pk % 3], 4).tolist(),
            created_at=(at := START + timedelta(weeks=week, minutes=pk)), updated_at=at,
        )
        for week in range(weeks)
        for pk in range(1, listeners + 1)
    )  # fmt: skip


def order(tmp_path: Path, **wanted: Any) -> TrainingOptions:
    return TrainingOptions(storage=tmp_path / "models", **wanted)


class Stages(TrainingProgress):
    """Stores the names of the stages."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        self.names.append(name)


def test_the_first_good_model_becomes_champion_by_itself(tmp_path: Path) -> None:
    fill()

    run = retrain(order(tmp_path))

    version = run.version
    assert version is not None
    assert (run.status, version.role, version.method) == ("succeeded", "champion", "mix")
    assert (version.n_songs, version.n_listeners, version.n_plays) == (60, 40, 640)
    assert version.metrics["mix"]["ndcg"] > version.metrics["popularity"]["ndcg"]
    assert set(version.metrics) == {
        "mix",
        "popularity",
        "random",
        "rp3beta",
        "against_floor",
        "against_baselines",
    }
    assert version.cohesion["n_clusters"] == version.n_clusters == version.clusters.count()
    assert Promotion.objects.get().reason.startswith("The first model. NDCG@20 0.")
    arrays, facts = artifact.read_arrays(tmp_path / "models" / version.label, version.artifact_sha256)
    assert arrays["song_ids"].tolist() == list(range(1, 61))
    assert facts["label"] == version.label


def test_clusters_follow_the_styles_have_names_for_them_and_count_plays(tmp_path: Path) -> None:
    fill()
    Feedback.objects.create(
        event_id="like", listener_id=1, song_id=60, kind="like", at=START, received_at=START
    )

    retrain(order(tmp_path, n_clusters=3))

    names = sorted(Cluster.objects.values_list("name", flat=True))
    assert [name.split(",")[0] for name in names] == ["Jazz", "Rock", "Techno"]
    assert sum(Cluster.objects.values_list("size", flat=True)) == 60
    sessions = ListeningHistory.objects.values_list("items", flat=True)
    assert sum(Cluster.objects.values_list("plays", flat=True)) == sum(map(len, sessions))


def test_a_second_model_is_a_candidate_and_its_clusters_keep_their_numbers(tmp_path: Path) -> None:
    fill()
    first = retrain(order(tmp_path, n_clusters=3)).version

    second = retrain(order(tmp_path, n_clusters=3, seed=11)).version

    assert first is not None
    assert second is not None
    assert (first.role, second.role) == ("champion", "candidate")
    assert first.label != second.label
    named = [dict(one.clusters.values_list("name", "number")) for one in (first, second)]
    assert named[0] == named[1]


def test_the_same_data_and_seed_give_the_same_model(tmp_path: Path) -> None:
    fill()
    runs = [retrain(order(tmp_path)) for _ in range(2)]

    first, second = (
        artifact.read_arrays(tmp_path / "models" / run.version.label, run.version.artifact_sha256)[0]
        for run in runs
        if run.version is not None
    )

    same = [name for name in first if name != "cluster_ids" and np.array_equal(first[name], second[name])]
    assert len(same) == len(first) - 1


def test_without_songs_a_training_is_refused_by_name(tmp_path: Path) -> None:
    run = retrain(order(tmp_path))

    assert (run.status, run.error_kind, run.version) == ("refused", "TooFewSongs", None)
    assert run.error
    assert not list((tmp_path / "models").glob("*"))


def test_without_plays_a_training_is_refused_by_name(tmp_path: Path) -> None:
    fill(20, 3, 0)

    run = retrain(order(tmp_path))

    assert (run.status, run.error_kind, run.version) == ("refused", "TooFewPlays", None)
    assert "Nobody has played a song yet" in run.error


def test_without_an_available_song_a_training_is_refused_by_name(tmp_path: Path) -> None:
    fill()
    Song.objects.update(unavailable_at=START)

    run = retrain(order(tmp_path))

    assert (run.status, run.error_kind, run.version) == ("refused", "TooFewSongs", None)
    assert "No song is available any more" in run.error


@pytest.mark.parametrize("number", [1, 400])
def test_a_number_of_clusters_that_does_not_fit_the_catalogue_is_refused(tmp_path: Path, number: int) -> None:
    fill()

    run = retrain(order(tmp_path, n_clusters=number))

    assert (run.status, run.error_kind) == ("refused", "InvalidNumberOfClusters")
    assert f"{number} clusters of " in run.error
    assert "choose a number from 2 to " in run.error


@pytest.mark.parametrize(("songs", "listeners", "weeks"), [(1, 1, 1), (6, 1, 3), (60, 3, 1)])
def test_the_smallest_worlds_give_a_model_that_says_it_was_not_measured(
    tmp_path: Path, songs: int, listeners: int, weeks: int
) -> None:
    fill(max(songs, 1), listeners, 0)
    for week in range(weeks):
        at = START + timedelta(weeks=week)
        ListeningHistory.objects.create(user_id=1, items=[1 + week % songs], created_at=at, updated_at=at)

    run = retrain(order(tmp_path))

    assert run.status == "succeeded", run.error
    assert run.version is not None
    assert run.version.role == "champion"
    assert sum(run.version.clusters.values_list("size", flat=True)) == songs


def test_two_trainings_at_once_the_second_says_who_runs(tmp_path: Path) -> None:
    fill(9, 3, 1)
    told: list[str] = []

    class Second(TrainingProgress):
        def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
            if not told:
                with pytest.raises(AlreadyTraining) as busy:
                    retrain(order(tmp_path))
                told.append(str(busy.value))

    run = retrain(order(tmp_path), Second())

    assert told[0].startswith(f"Training {run.pk} has held the lock since ")
    assert run.status == "succeeded"


def test_a_dead_training_is_marked_and_what_it_left_is_cleared(tmp_path: Path) -> None:
    fill(9, 3, 1)
    now = timezone.now()
    dead = TrainingRun.objects.create(
        trigger="command", started_at=now, heartbeat_at=now - timedelta(hours=1), host="elsewhere", pid=1,
        process_started=0.0,
    )  # fmt: skip
    left = tmp_path / "models" / ".unfinished-2026w40.1-x"
    left.mkdir(parents=True)

    retrain(order(tmp_path))

    dead.refresh_from_db()
    assert (dead.status, dead.error_kind) == ("abandoned", "abandoned")
    assert not left.exists()


@pytest.mark.parametrize("stage", train.STAGES)
def test_whatever_breaks_in_any_stage_what_was_before_stays(tmp_path: Path, stage: str) -> None:
    fill()
    first = retrain(order(tmp_path)).version
    assert first is not None

    class Breaks(TrainingProgress):
        def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
            if name == stage:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        retrain(order(tmp_path, promote=True), Breaks())

    failed = TrainingRun.objects.first()
    assert failed is not None
    assert (failed.status, failed.error) == ("failed", "RuntimeError: power cut")
    assert list(ModelVersion.objects.values_list("label", "role")) == [(first.label, "champion")]
    artifact.verify_files(tmp_path / "models" / first.label, first.artifact_sha256)


def test_files_whose_row_was_never_written_are_removed_by_the_next_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(9, 3, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ModelVersion.objects, "create", full)
        with pytest.raises(OSError, match="No space left"):
            retrain(order(tmp_path))
    left = {
        folder.name: (folder / "manifest.json").stat().st_ino for folder in (tmp_path / "models").iterdir()
    }

    version = retrain(order(tmp_path)).version

    assert version is not None
    assert list(left) == [version.label]
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == [version.label]
    artifact.verify_files(tmp_path / "models" / version.label, version.artifact_sha256)


def test_folders_that_another_installation_or_a_person_put_there_stay(tmp_path: Path) -> None:
    fill(9, 3, 1)
    models = tmp_path / "models"
    artifact.write_arrays(models / "2026w40.1", {}, {"training": "1 2026-01-01T00:00:00+00:00 elsewhere 1"})
    for name in ("2026w40.2", "backup"):
        (models / name).mkdir()

    retrain(order(tmp_path))

    assert {"2026w40.1", "2026w40.2", "backup"} < {folder.name for folder in models.iterdir()}


def test_a_storage_that_can_t_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    fill(9, 3, 1)
    (tmp_path / "models").write_text("a file where the folder should be")
    watch = Stages()

    with pytest.raises(FileExistsError):
        retrain(order(tmp_path), watch)

    run = TrainingRun.objects.get()
    assert (run.status, run.error_kind, watch.names) == ("failed", "FileExistsError", [])


def test_a_first_classic_model_that_is_good_becomes_champion_by_itself(tmp_path: Path) -> None:
    fill()

    run = retrain(order(tmp_path, method="classic", n_clusters=3))

    version = run.version
    assert version is not None
    assert (version.method, version.role) == ("classic", "champion")
    assert set(version.metrics) == {
        "classic",
        "popularity",
        "random",
        "rp3beta",
        "against_floor",
        "against_baselines",
    }
    assert version.metrics["classic"]["ndcg"] > version.metrics["popularity"]["ndcg"]
    assert run.summary.startswith(f"Version {version.label} is champion. NDCG@20 0.")
    assert sum(version.clusters.values_list("size", flat=True)) == 60
    assert version.cohesion["n_clusters"] == version.clusters.count() == 3
    arrays, facts = artifact.read_arrays(tmp_path / "models" / version.label, version.artifact_sha256)
    model = ClassicModel.from_parts(arrays, facts)
    assert (model.name, model.n_clusters, len(model.labels)) == ("classic", 3, 60)


def test_a_first_model_worse_than_popularity_is_champion_only_where_that_was_asked_for(
    tmp_path: Path,
) -> None:
    fill()
    # All songs are alike to it, and everybody plays one song of the week.
    Song.objects.update(
        genres="", artist="One", release_year=None, audio_features={}, duration=timedelta(minutes=3)
    )
    at = START + timedelta(weeks=3, minutes=50)
    ListeningHistory.objects.filter(created_at__gte=START + timedelta(weeks=3)).delete()
    for day in range(5):
        Listener.objects.create(pk=100 + day, favorite_genres="", created_at=START, updated_at=START)
        ListeningHistory.objects.create(
            user_id=100 + day, items=[60], created_at=START + timedelta(days=day), updated_at=at
        )
    ListeningHistory.objects.bulk_create(
        ListeningHistory(user_id=pk, items=[60], created_at=at, updated_at=at) for pk in range(1, 41)
    )

    alone = retrain(order(tmp_path, method="classic"))
    asked = retrain(order(tmp_path, method="classic", promote=True))

    assert alone.version is not None, alone.error
    assert asked.version is not None
    label = alone.version.label
    assert alone.summary.startswith(
        f"Version {label} is worse than popularity and stays a candidate. NDCG@20 0."
    )
    assert alone.summary.endswith(f"To make it champion: python manage.py promote {label} --reason '...'")
    assert asked.version.role == "champion"


@pytest.mark.slow
def test_only_if_new_refuses_what_the_newest_version_knows_and_takes_what_is_new(tmp_path: Path) -> None:
    fill()
    first = retrain(order(tmp_path, only_if_new=True)).version
    assert first is not None

    retrain(order(tmp_path, method="classic"))
    again = retrain(order(tmp_path, only_if_new=True))
    fewer = retrain(order(tmp_path, only_if_new=True, n_clusters=2))
    other = retrain(order(tmp_path, only_if_new=True, seed=8))
    at = START + timedelta(weeks=4)
    ListeningHistory.objects.create(user_id=1, items=[1], created_at=at, updated_at=at)
    fresh = retrain(order(tmp_path, only_if_new=True, seed=8))

    assert (again.status, again.error_kind, again.version) == ("refused", "NothingNew", None)
    assert again.error.startswith(
        f"There is no new data since {first.label}, which was trained on data up to 2026-10-22"
    )
    assert [run.status for run in (fewer, other, fresh)] == ["succeeded"] * 3


def test_a_version_that_can_t_be_promoted_after_all_stays_a_candidate_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()

    def taken(*_: object, **__: object) -> None:
        raise registry.ChampionChanged("Another has become champion.")

    monkeypatch.setattr(registry, "promote", taken)

    run = retrain(order(tmp_path))

    assert run.version is not None
    assert (run.status, run.version.role) == ("succeeded", "candidate")
    assert "stays a candidate: Another has become champion." in run.summary


@pytest.mark.django_db(transaction=True)
def test_a_long_stage_keeps_the_lock_and_its_memory_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(9, 3, 1)
    monkeypatch.setattr(resource_usage, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(resource_usage, "SAMPLE_SECONDS", 0.01)
    seen: list[int] = []

    def slow(*_: object) -> None:
        before = TrainingRun.objects.get().heartbeat_at
        block = np.ones(40_000_000, dtype=np.float32)
        give_up = time.monotonic() + 600
        while TrainingRun.objects.get().heartbeat_at == before and time.monotonic() < give_up:
            block += 1
        assert TrainingRun.objects.get().heartbeat_at > before
        seen.append(block.nbytes)
        raise EngineError("Enough.")

    monkeypatch.setattr(train, "fit_final_model", slow)
    before = psutil.Process().memory_info().rss

    run = retrain(order(tmp_path))

    assert seen == [160_000_000]
    assert run.error == "Enough."
    assert run.peak_memory > before + 100_000_000


def test_a_training_whose_engine_can_not_start_is_refused_with_the_reason(tmp_path: Path) -> None:
    fill(9, 3, 1)

    def open_engine() -> Any:
        raise EngineUnavailable("The Spark master does not answer.")

    run = retrain(order(tmp_path, open_engine=open_engine))

    assert (run.status, run.error_kind) == ("refused", "EngineUnavailable")
    assert run.error == "The Spark master does not answer."


def test_what_the_engine_refuses_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(9, 3, 1)

    def refuse(*_: object) -> None:
        raise EngineError("These songs can't be told apart.")

    monkeypatch.setattr(train, "fit_final_model", refuse)

    run = retrain(order(tmp_path))

    assert (run.status, run.error) == ("refused", "These songs can't be told apart.")


def test_what_is_read_counts_likes_and_listens_as_plays_and_skips_against(tmp_path: Path) -> None:
    fill(6, 2, 1)
    now = timezone.now()
    kinds = {"like": None, "dislike": None, "skip": None, "wrong_style": None, "listen": 40.0}
    for number, (kind, seconds) in enumerate([*kinds.items(), ("listen", 10.0)], 1):
        Feedback.objects.create(
            event_id=str(number),
            listener_id=1,
            song_id=number,
            kind=kind,
            seconds=seconds,
            at=now,
            received_at=now,
        )
    ListeningHistory.objects.filter(user_id=1).delete()

    data = read_training_data()

    assert data.plays.matrix()[[0]].toarray().tolist() == [[2.0, 0, 0, 0, 1.0, 0]]
    assert data.skips.matrix()[[0]].toarray().tolist() == [[0, 2.0, 1.0, 0, 0, 0]]


def test_plays_of_unknown_songs_and_of_nobody_s_sessions_are_left_out() -> None:
    fill(6, 2, 0)
    at = START
    ListeningHistory.objects.create(user_id=1, items=[1, 999, 2], created_at=at, updated_at=at)
    ListeningHistory.objects.create(user_id=2, items=[3], created_at=at, updated_at=at, unavailable_at=at)

    data = read_training_data()

    assert (data.plays.listeners.tolist(), data.plays.songs.tolist()) == ([0, 0], [0, 1])
    assert data.cut_off == START


def test_a_play_from_the_future_counts_as_of_now_and_does_not_age_all_others() -> None:
    fill(6, 2, 3)
    at = datetime(2199, 1, 1, tzinfo=UTC)
    ListeningHistory.objects.create(user_id=1, items=[1], created_at=at, updated_at=at)
    before = timezone.now()

    data = read_training_data()

    assert data.n_plays == 25
    assert data.cut_off is not None
    assert before <= data.cut_off <= timezone.now()


def test_where_most_plays_are_from_the_future_the_clock_is_not_believed() -> None:
    fill(6, 2, 0)
    times = [datetime(2199, 1, day, tzinfo=UTC) for day in (1, 9)]
    for at in times:
        ListeningHistory.objects.create(user_id=1, items=[1], created_at=at, updated_at=at)

    data = read_training_data()

    assert data.plays.at.tolist() == [at.timestamp() for at in times]


def test_a_cut_off_leaves_out_what_came_later() -> None:
    fill(6, 2, 3)

    data = read_training_data(START + timedelta(weeks=1))

    assert data.n_plays == 2 * 4


def test_audio_features_are_read_whatever_they_hold() -> None:
    fill(4, 0, 0)
    Song.objects.filter(pk=1).update(audio_features=None)
    Song.objects.filter(pk=2).update(audio_features={"energy": "high", "tempo": 120})

    audio = read_training_data().catalogue.audio

    assert json.dumps({name: str(column.tolist()) for name, column in audio.items()}) == json.dumps(
        {"energy": "[nan, nan, 0.0, 0.5]", "tempo": "[nan, 120.0, nan, nan]"}
    )
