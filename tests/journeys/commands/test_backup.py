"""A backup of a service that runs is restored onto the other database engine, value by value."""

import gzip
import json
from pathlib import Path

import pytest

from tests.support.databases import ProjectDatabases
from tests.support.project import Project

# An installation with a model, lists, feedback, a user with a role, a key and a schedule of its own.
FILL = """
from django.contrib.auth.models import Group, User
from ingestion.schedules import sync_timetable
from datetime import time
from recommender.api.authentication import issue_key
from recommender.models import *
from tests.support.builders.small_world import fill_tables, small_world
from django.db import transaction
with transaction.atomic():
    fill_tables(small_world())
from recommender.retraining import retrain_now
from recommender.serving import recommendations
from recommender.services import serving_options
assert retrain_now().status == "succeeded"
sync_timetable(time(2), "Europe/Paris")
ada = User.objects.create_user("ada", "ada@example.org", "a long password", is_staff=True)
ada.groups.add(Group.objects.get(name="owner"))
issue_key("iOS app", ada)
for listener in (470, 43937):
    recommendations.recommend(listener, options=serving_options(), n=5)
# As in a database that was made before these were squashed.
from django.db.migrations.recorder import MigrationRecorder
assert MigrationRecorder.Migration.objects.filter(name__contains="_squashed_").delete()[0] == 2
"""
CHECK = """
from django.contrib.auth.models import User
from django.contrib.auth import authenticate
from recommender.models import *
from recommender.serving import recommendations
from recommender.services import serving_options, serving_label
ada = User.objects.get(username="ada")
served = ServedList.objects.order_by("generated_at").first()
again = recommendations.replay_list(served.pk).same
new = recommendations.recommend(470, options=serving_options(), n=5)
key = ApiKey.objects.create(name="next", user=ada, digest="d")
print(ada.has_perm("recommender.add_apikey"), ada.check_password("a long password"), again, new.arm, key.pk)
"""


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_backup_is_restored_onto_the_other_engine(
    databases: ProjectDatabases, tmp_path: Path, source: str, target: str
) -> None:
    folders = [tmp_path / name for name in ("from", "to")]
    for folder in folders:
        folder.mkdir()
    backups = tmp_path / "backups"
    with (
        getattr(databases, f"{source}_project")(folders[0]) as origin,
        getattr(databases, f"{target}_project")(folders[1]) as copy,
    ):
        origin.shell(FILL)
        made = origin.manage("backup", str(backups)).stdout
        (backup,) = backups.iterdir()
        restored = copy.manage("restore", str(backup)).stdout
        twice = copy.manage("restore", str(backup), check=False)
        found = copy.shell(CHECK)

    assert "model files" in made
    assert "every table equals the backup" in restored
    assert "Restore into a new, migrated one" in twice.stderr
    # The role's permissions, the password, a replay byte for byte, the champion, and a free number for a key.
    assert found == "True True True champion 2"


def test_a_damaged_backup_is_refused_and_nothing_is_restored(sqlite_project: Project, tmp_path: Path) -> None:
    sqlite_project.shell("from tests.support.builders.api import make_song; make_song(1)")
    sqlite_project.manage("backup", str(tmp_path / "backups"))
    (backup,) = (tmp_path / "backups").iterdir()
    verified = sqlite_project.manage("backup", "--verify", str(backup)).stdout
    songs = backup / "tables" / "ingestion.song.jsonl.gz"
    row = json.loads(gzip.decompress(songs.read_bytes()))
    songs.write_bytes(gzip.compress(json.dumps({**row, "name": "Another"}).encode()))

    refused = sqlite_project.manage("backup", "--verify", str(backup), check=False)
    restored = sqlite_project.manage(
        "restore", str(backup), check=False, DATABASE_NAME=str(tmp_path / "none.db")
    )

    assert "are intact" in verified
    assert "differs from its hash" in refused.stderr
    assert restored.returncode == 1
