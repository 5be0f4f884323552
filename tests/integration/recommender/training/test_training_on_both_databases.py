"""Whole trainings by the command, on SQLite and on PostgreSQL: on real pages, on the demo, and killed."""

import json
import os
import signal
import sys
from datetime import date

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.source import RecordedSource, Source
from ingestion.demo.world.world import World
from tests.support.project import ROOT, Project, wait_for_line

PAGES = ROOT / "tests" / "contract" / "pages"
CLUSTERS = """
import json
from recommender.models import Cluster, ModelVersion, Promotion, TrainingRun
print(json.dumps({
    "names": list(Cluster.objects.values_list("name", flat=True)),
    "sizes": list(Cluster.objects.values_list("size", flat=True)),
    "roles": list(ModelVersion.objects.order_by("id").values_list("role", flat=True)),
    "runs": list(TrainingRun.objects.order_by("id").values_list("status", flat=True)),
    "reasons": list(Promotion.objects.order_by("id").values_list("reason", flat=True)),
}))
"""


def ingest(project: Project, source: Source) -> None:
    with DemoServer(source) as server:
        project.manage("runingest", "--json", BASE_URL=server.url)


@pytest.mark.slow
def test_real_pages_give_a_model_with_named_clusters_that_says_how_well_it_does(project: Project) -> None:
    ingest(project, RecordedSource(PAGES))

    trained = json.loads(project.manage("retrain", "--json").stdout)

    stored = json.loads(project.shell(CLUSTERS))
    assert (trained["status"], trained["role"], trained["songs"]) == ("succeeded", "champion", 1000)
    assert trained["listeners"] > 900
    assert sum(stored["sizes"]) == 1000
    assert all(stored["names"])
    assert len(set(stored["names"])) == len(stored["names"])
    assert stored["reasons"][0].startswith("The first model. ")


@pytest.mark.slow
def test_the_demo_s_tastes_are_learnt_better_than_popularity_knows_them(project: Project) -> None:
    ingest(project, World.ending_on(date(2026, 10, 31), songs=600, listeners=120, days=30))

    trained = json.loads(project.manage("retrain", "--json").stdout)
    evaluated = json.loads(project.manage("evaluate", "--json").stdout)

    metrics = trained["metrics"]
    assert metrics["mix"]["listeners"] >= 50
    assert metrics["mix"]["ndcg"] > 1.5 * metrics["popularity"]["ndcg"]
    assert metrics["popularity"]["ndcg"] > metrics["random"]["ndcg"]
    assert trained["role"] == "champion"
    assert evaluated["version"] == trained["version"]


@pytest.mark.slow
def test_a_training_killed_in_the_middle_leaves_the_champion_and_no_lock(project: Project) -> None:
    ingest(project, World.ending_on(date(2026, 10, 31), songs=300, listeners=60, days=20))
    first = json.loads(project.manage("retrain", "--json").stdout)

    for stage in ("reading sessions", "writing the artifact"):
        killed = project.start(sys.executable, str(ROOT / "manage.py"), "retrain", "--promote")
        wait_for_line(killed, stage)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    after = json.loads(project.shell(CLUSTERS))
    last = json.loads(project.manage("retrain", "--promote", "--json").stdout)

    assert first["role"] == "champion"
    assert after["roles"].count("champion") == 1
    assert (last["status"], last["role"]) == ("succeeded", "champion")
    ended = json.loads(project.shell(CLUSTERS))
    # The last of those killed may have been quick enough to end.
    assert ended["runs"][:2] == ["succeeded", "abandoned"]
    assert ended["runs"][2] in {"abandoned", "succeeded"}
    folders = {folder.name for folder in (project.folder / "var" / "models").iterdir()}
    assert len(folders) == len(ended["roles"])
