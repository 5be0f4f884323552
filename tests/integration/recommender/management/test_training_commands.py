"""The commands `retrain`, `evaluate`, `promote` and `rollback`: text, JSON, errors and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion.jobs.lock import lock_owner
from ingestion.models import ListeningHistory, Song
from recommender.models import ModelVersion, Promotion, TrainingRun
from tests.support.builders.small_world import fill_tables, small_world

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, settings: Any) -> Path:
    settings.MODEL_STORAGE = tmp_path / "models"
    return Path(settings.MODEL_STORAGE)


@pytest.fixture
def world() -> None:
    fill_tables(small_world())


def code_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        call_command(*arguments)
    return ended.value.code


def labels() -> list[str]:
    return list(ModelVersion.objects.order_by("id").values_list("label", flat=True))


@pytest.mark.usefixtures("world")
def test_retrain_prints_metrics_clusters_and_the_champion(
    capsys: Out,
) -> None:
    call_command("retrain")

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "ndcg", "recall", "coverage", "diversity"]
    assert {line.split()[0] for line in lines[1:5]} == {"mix", "popularity", "random", "rp3beta"}
    version = ModelVersion.objects.get()
    assert f"{version.n_clusters} clusters:" in lines
    largest = version.clusters.order_by("-size", "number").first()
    assert largest is not None
    assert any(line.endswith(f"{largest.size} songs  {largest.name}") for line in lines)
    assert lines[-1].startswith(f"Version {version.label} is champion. NDCG@20 0.")


@pytest.mark.usefixtures("world")
def test_retrain_json_prints_one_object(capsys: Out) -> None:
    call_command("retrain", "--json")

    facts = json.loads(capsys.readouterr().out)
    assert (facts["status"], facts["exit_code"], facts["error"], facts["role"]) == (
        "succeeded", 0, None, "champion",
    )  # fmt: skip
    assert [facts["version"]] == labels()
    assert (facts["songs"], facts["metrics"]["mix"]["listeners"] > 0) == (300, True)
    assert facts["peak_memory"] > 50_000_000
    assert facts["cpu_seconds"] > 0


def test_without_songs_retrain_is_refused_and_says_what_to_do(capsys: Out) -> None:
    code = code_of("retrain")

    printed = capsys.readouterr()
    assert code == 4
    assert "There are no songs to train on. Import them first: python manage.py runingest" in printed.err
    assert printed.out == ""


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Nobody has played a song yet. Import sessions first: python manage.py runingest"),
        (["--clusters", "1"], "1 clusters of 300 songs make no sense: choose a number from 2 to "),
        (["--clusters", "5000"], "5000 clusters of 300 songs make no sense: choose a number from 2 to "),
    ],
)
def test_retrain_without_plays_or_with_an_absurd_number_of_clusters_is_refused(
    arguments: list[str], expected: str, capsys: Out
) -> None:
    if not arguments:
        ListeningHistory.objects.all().delete()

    code = code_of("retrain", *arguments)

    assert code == 4
    assert expected in capsys.readouterr().err
    assert labels() == []


@pytest.mark.usefixtures("world")
def test_retrain_without_an_available_song_is_refused(capsys: Out) -> None:
    Song.objects.update(unavailable_at=timezone.now())

    code = code_of("retrain")

    assert code == 4
    assert "No song is available any more" in capsys.readouterr().err


@pytest.mark.usefixtures("world")
def test_retrain_if_new_is_refused_the_second_time(capsys: Out) -> None:
    call_command("retrain", "--if-new")
    capsys.readouterr()

    code = code_of("retrain", "--if-new", "--json")

    facts = json.loads(capsys.readouterr().out)
    assert (code, facts["exit_code"], facts["error_kind"]) == (4, 4, "NothingNew")
    assert len(labels()) == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_during_another_training_retrain_names_it_and_exits_with_3(as_json: bool, capsys: Out) -> None:
    now = timezone.now()
    other = TrainingRun.objects.create(
        trigger="schedule", started_at=now, heartbeat_at=now, stage="reading songs", **lock_owner()
    )

    code = code_of("retrain", *(["--json"] if as_json else []))

    printed = capsys.readouterr()
    text = json.loads(printed.out)["error"] if as_json else printed.err
    assert code == 3
    assert text.startswith(
        f"Training {other.pk} has held the lock since {now:%Y-%m-%d %H:%M:%S} UTC (process "
    )
    assert "stage: reading songs" in text


@pytest.mark.usefixtures("world")
def test_a_storage_that_can_t_be_written_gives_a_sentence_and_no_traceback(
    storage: Path, capsys: Out
) -> None:
    storage.write_text("a file where the folder should be")

    code = code_of("retrain")

    printed = capsys.readouterr().err
    assert code == 1
    assert "The training failed; nothing was changed: " in printed
    assert str(storage) in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("count", ["0", "-3"])
def test_fewer_than_one_cluster_is_refused_before_the_training(count: str) -> None:
    with pytest.raises(CommandError, match="at least 1"):
        call_command("retrain", f"--clusters={count}")

    assert not TrainingRun.objects.exists()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["evaluate"], "There is no model yet. Train one: python manage.py retrain"),
        (["evaluate", "x"], "There is no model yet. Train one: python manage.py retrain"),
        (["promote", "x", "--reason=y"], "There is no model yet. Train one: python manage.py retrain"),
        (["rollback", "--reason=y"], "There is no model yet. Train one: python manage.py retrain"),
    ],
)
def test_before_the_first_training_every_command_says_to_train(command: list[str], expected: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command(*command)

    assert str(raised.value).startswith(expected)


@pytest.mark.usefixtures("world")
def test_evaluate_compares_two_versions_on_the_same_week_paired_by_listener(capsys: Out) -> None:
    for seed in "12":
        call_command("retrain", "--seed", seed)
    capsys.readouterr()
    first, second = labels()

    call_command("evaluate", first, "--against", second)
    said = capsys.readouterr().out
    call_command("evaluate", second, "--against", first, "--json")
    facts = json.loads(capsys.readouterr().out)
    call_command("evaluate", first, "--against", first, "--json")
    same = json.loads(capsys.readouterr().out)

    assert said.startswith(f"{first} is ")
    assert f"Trained on that week, and so rated too high: {first}, {second}." in said
    assert facts["difference"]["listeners"] > 0
    assert facts["trained_on_the_week"] == [second, first]
    assert same["difference"]["difference"] == 0
    with pytest.raises(CommandError, match="Name the version to compare"):
        call_command("evaluate", "--against", first)


@pytest.mark.usefixtures("world")
def test_promote_and_rollback_change_the_champion_and_store_the_reason(capsys: Out) -> None:
    for seed in "12":
        call_command("retrain", "--seed", seed)
    capsys.readouterr()
    first, second = labels()

    call_command("promote", second, "--reason", "livelier")
    promoted = capsys.readouterr().out
    call_command("rollback", "--reason", "complaints")

    assert promoted == f"{second} is champion instead of {first}.\n"
    assert capsys.readouterr().out == f"{second} is withdrawn; {first} is champion again.\n"
    assert list(Promotion.objects.order_by("id").values_list("reason", flat=True))[1:] == [
        "livelier",
        "complaints",
    ]
    with pytest.raises(CommandError, match=r"a withdrawn version never returns\. Nothing was changed\."):
        call_command("promote", second, "--reason", "again")


@pytest.mark.usefixtures("world")
def test_promote_and_rollback_print_one_json_object_also_for_an_error(capsys: Out) -> None:
    for seed in "12":
        call_command("retrain", "--seed", seed)
    capsys.readouterr()
    first, second = labels()

    call_command("promote", second, "--reason", "livelier", "--json")
    promoted = json.loads(capsys.readouterr().out)
    call_command("rollback", "--reason", "complaints", "--json")
    back = json.loads(capsys.readouterr().out)
    with pytest.raises(CommandError):
        call_command("promote", second, "--reason", "again", "--json")
    refused = json.loads(capsys.readouterr().out)

    assert promoted | {"at": ""} == {
        "promoted": second, "replaced": first, "rollback": False, "reason": "livelier", "by": "promote",
        "at": "",
    }  # fmt: skip
    assert (back["promoted"], back["replaced"], back["rollback"]) == (first, second, True)
    assert list(refused) == ["error"]
    assert refused["error"].endswith("a withdrawn version never returns. Nothing was changed.")


@pytest.mark.usefixtures("world")
def test_a_version_whose_file_was_changed_is_neither_promoted_nor_evaluated(storage: Path) -> None:
    for seed in "12":
        call_command("retrain", "--seed", seed)
    first, second = labels()
    damaged = storage / second / "weights.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])

    for command in (["promote", second, "--reason=x"], ["evaluate", second]):
        with pytest.raises(CommandError, match="has changed since it was written"):
            call_command(*command)

    assert ModelVersion.objects.get(role="champion").label == first


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("method", ["mix", "classic"])
def test_evaluate_shows_the_baselines_and_says_if_the_version_was_trained_on_the_week(
    method: str, capsys: Out
) -> None:
    call_command("retrain", "--method", method)
    capsys.readouterr()

    call_command("evaluate", *labels())
    text = capsys.readouterr().out
    call_command("evaluate", *labels(), "--json")

    facts = json.loads(capsys.readouterr().out)
    assert text.startswith(f"Version {labels()[0]}:\nmodel ")
    assert "the version was trained on that week" in text
    assert set(facts["metrics"]) == {method, "popularity", "random", "rp3beta"}
    assert facts["has_seen_the_week"] is True


def test_evaluate_says_that_no_listener_can_be_measured(capsys: Out) -> None:
    fill_tables(small_world(songs=30, listeners=5, days=1))
    call_command("retrain")
    capsys.readouterr()

    call_command("evaluate")

    assert capsys.readouterr().out == (
        f"Version {labels()[0]}:\n"
        "Not measured: no listener with earlier plays played a new song in the latest week.\n"
    )


@pytest.mark.slow
def test_every_command_asks_for_migrations_if_tables_are_missing(sqlite_project: Any) -> None:
    empty = {"DATABASE_NAME": str(sqlite_project.folder / "empty.db")}

    told = [
        sqlite_project.manage(*command, check=False, **empty)
        for command in (["retrain"], ["evaluate"], ["promote", "x", "--reason=y"], ["rollback", "--reason=y"])
    ]

    assert [done.returncode for done in told] == [1] * 4
    assert all("python manage.py migrate" in done.stderr for done in told)
    assert not any("Traceback" in done.stderr for done in told)
