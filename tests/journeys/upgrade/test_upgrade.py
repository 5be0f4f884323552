"""An installation of the previous release is upgraded: it serves, replays and keeps what staff have set."""

import json
import lzma
import sqlite3
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import ROOT, Project, build_environment

FIXTURE = Path(__file__).with_name("fixture")
EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text())
LISTENER = EXPECTED["replays"][0]["listener"]
# Given on the old names of model classes: the migrations rename permissions with the classes.
OLD_PERMISSIONS = {"view_shelf", "view_mishap", "view_bandcheck", "view_pulse"}
NEW_PERMISSIONS = {
    "recommender.view_candidatelist", "recommender.view_servingerror", "ingestion.view_anomalycheck",
    "ingestion.view_heartbeat",
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the upgraded installation answers."""
    folder = tmp_path_factory.mktemp("installation")
    restore(folder)
    project = Project(
        build_environment(
            folder, DATABASE_NAME=folder / "music_data.db", VAR_DIR=folder, MODEL_STORAGE=folder / "models",
            DJANGO_SETTINGS_MODULE="moovitamix.settings", SCHEDULED_TIME="02:00",

        ),
        folder,
    )  # fmt: skip
    project.manage("migrate", "--verbosity=0")
    process = project.start(
        sys.executable, "-m", "tests.support.processes.upgraded_installation",
        EXPECTED["api_keys"]["rehearsal"], str(LISTENER), *API_PATHS, cwd=ROOT,
    )  # fmt: skip
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    yield json.loads(output.splitlines()[-1])
    project.stop()


def restore(folder: Path) -> None:
    database = sqlite3.connect(folder / "music_data.db")
    database.executescript(lzma.decompress((FIXTURE / "installation.sql.xz").read_bytes()).decode())
    for codename in OLD_PERMISSIONS:
        database.execute(
            "INSERT INTO auth_user_user_permissions (user_id, permission_id) SELECT u.id, p.id"
            " FROM auth_user u, auth_permission p WHERE u.username = 'rehearsal' AND p.codename = ?",
            [codename],
        )
    database.commit()
    database.close()
    with tarfile.open(FIXTURE / "models.tar.xz") as models:
        models.extractall(folder, filter="data")


API_PATHS = [path for path in EXPECTED["api"] if path.endswith("/")]


def test_every_stored_list_replays_to_the_last_bit(answers: dict[str, Any]) -> None:
    replays = answers["replays"]

    assert len(replays) == EXPECTED["replays_of_all_lists"]["lists"]
    assert all(one["same"] for one in replays.values())
    for recorded in EXPECTED["replays"]:
        assert replays[recorded["recommendation_id"]]["items"] == recorded["items"]


def test_every_stored_decision_comes_out_the_same_and_says_that_the_code_has_moved(
    answers: dict[str, Any],
) -> None:
    replayed = answers["decisions"]

    assert len(replayed) == len(EXPECTED["decisions"])
    for recorded in EXPECTED["decisions"]:
        assert replayed[str(recorded["decision"])] == {
            "same": True, "data_changed": False, "code_changed": True, "verdict": recorded["verdict"],
        }  # fmt: skip


def test_versions_experiments_and_promotions_are_as_they_were(answers: dict[str, Any]) -> None:
    assert answers["roles"] == {one["label"]: one["role"] for one in EXPECTED["versions"]}
    assert answers["experiments"] == [
        [one["kind"], one["status"], one["outcome"]] for one in EXPECTED["experiments"]
    ]
    assert answers["promotions"] == [one["promoted"] for one in EXPECTED["promotions"]]


def test_incidents_keep_their_kinds_and_keys(answers: dict[str, Any]) -> None:
    assert answers["incidents"] == [
        [one["key"], one["kind"], one["severity"]] for one in EXPECTED["incidents"]
    ]


def test_beat_entries_that_staff_edited_stay_as_they_were_set(answers: dict[str, Any]) -> None:
    def times(crontab: str | None) -> str | None:
        return crontab and " ".join(crontab.split()[:2])

    added = {"Back up every day", "Count the charts after each import", "Delete old lists every day"}
    kept = [one for one in answers["beat"] if one["name"] not in added]
    assert kept == sorted(
        (
            {
                "name": one["name"], "task": one["task"], "enabled": bool(one["enabled"]),
                "crontab": times(one["crontab"]),
            }
            for one in EXPECTED["beat"]
        ),
        key=lambda one: str(one["name"]),
    )  # fmt: skip


def test_the_api_answers_what_it_answered_with_the_same_key(answers: dict[str, Any]) -> None:
    for path in API_PATHS:
        recorded, answer = EXPECTED["api"][path], answers["api"][path]
        assert answer["status"] == recorded["status"] == 200
        if "first" in recorded:  # of a long list only the first row was recorded
            assert with_fields_of(recorded["first"], answer["body"]["results"][0]) == recorded["first"], path
        else:
            assert with_fields_of(recorded["body"], answer["body"]) == recorded["body"], path
    assert answers["without a key"] == 401


def with_fields_of(recorded: Any, answer: Any) -> Any:
    """The answer without fields that a later release added."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        return {name: with_fields_of(recorded.get(name), answer[name]) for name in answer if name in recorded}
    if isinstance(recorded, list) and isinstance(answer, list) and len(recorded) == len(answer):
        return [with_fields_of(one, other) for one, other in zip(recorded, answer, strict=True)]
    return answer


def test_a_new_list_is_served_by_the_model_of_before(answers: dict[str, Any]) -> None:
    served = answers["list"]

    assert served["status"] == 200
    assert len(served["body"]["items"]) == 20
    assert served["body"]["arm"] in {"champion", "challenger", "interleaved"}


def test_permissions_on_renamed_models_are_kept(answers: dict[str, Any]) -> None:
    assert set(answers["permissions"]) >= NEW_PERMISSIONS
    assert not {one for one in answers["permissions"] if one.split(".")[1] in OLD_PERMISSIONS}
