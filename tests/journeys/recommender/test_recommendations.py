"""From recorded source pages to a list with reasons that can be replayed."""

import json

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.source import RecordedSource
from tests.support.project import ROOT, Project

PAGES = ROOT / "tests" / "contract" / "pages"
SOMEBODY = (
    "from ingestion.models import ListeningHistory; "
    "print(ListeningHistory.objects.order_by('user_id').values_list('user_id', flat=True)[0])"
)
TRAININGS = (
    "import json; from recommender.models import TrainingRun; "
    "print(json.dumps(list(TrainingRun.objects.values_list('status', 'trigger'))))"
)
START = "from recommender.training.launch import start_training; print(start_training().wait(120))"


def read_recorded_pages(project: Project) -> None:
    with DemoServer(RecordedSource(PAGES)) as server:
        project.manage("runingest", BASE_URL=server.url)


@pytest.fixture
def listened(project: Project) -> Project:
    """An installation that has taken in the recorded pages: random words as genres, no audio features."""
    read_recorded_pages(project)
    return project


def test_the_recorded_real_pages_train_and_serve_and_a_list_replays(listened: Project) -> None:
    trained = json.loads(listened.manage("retrain", "--json").stdout)
    prepared = listened.manage("preparelists", "--all").stdout
    user = listened.shell(SOMEBODY)
    served = json.loads(listened.manage("recommend", user, "--serve", "--json").stdout)
    explained = listened.manage("recommend", user, "--explain", "--discovery", "0.8").stdout
    replayed = listened.manage("recommend", "--replay", served["recommendation_id"])

    assert (trained["status"], trained["role"]) == ("succeeded", "champion")
    assert "candidate lists" in prepared
    assert served["arm"] == "champion"
    assert len(served["items"]) == 20
    assert len({item["song"]["id"] for item in served["items"]}) == 20
    assert all(item["reason"] and 0 < item["propensity"] <= 1 for item in served["items"])
    assert "artist" in explained
    assert replayed.returncode == 0


def test_a_training_started_in_the_admin_runs_in_its_own_process(sqlite_project: Project) -> None:
    read_recorded_pages(sqlite_project)

    ended = sqlite_project.shell(START)

    assert ended == "0"
    assert json.loads(sqlite_project.shell(TRAININGS)) == [["succeeded", "admin"]]


def test_without_songs_a_training_says_what_is_missing(sqlite_project: Project) -> None:
    sqlite_project.manage("migrate", "-v0")

    refused = sqlite_project.manage("retrain", check=False)
    nobody = sqlite_project.manage("recommend", "4711", check=False)

    assert refused.returncode == 4
    assert "python manage.py runingest" in refused.stderr
    assert nobody.returncode != 0
    assert "4711" in nobody.stderr
