"""The source restarts with other songs under the known ids, and a person accepts the new catalogue."""

import json

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import Project

SOMEBODY = (
    "from ingestion.models import ListeningHistory; "
    "print(ListeningHistory.objects.filter(unavailable_at=None).order_by('user_id')"
    ".values_list('user_id', flat=True)[0])"
)
LIKE = """
from django.utils import timezone
from ingestion.models import Listener, Song
from recommender.models import Feedback
listener = Listener.objects.get(pk={0})
for song in Song.objects.filter(unavailable_at=None)[:5]:
    Feedback.objects.create(event_id=f"old-{{song.pk}}", listener=listener, song=song, kind="dislike",
                            at=timezone.now(), received_at=timezone.now())
"""
WATCH = """
import json
from django.utils import timezone
from ingestion.models import Incident
from recommender import listener_profiles as profiles
from recommender.monitoring import health_checks as watching
from recommender.models import Experiment, ModelVersion
watching.model_degraded(timezone.now())
known = profiles.read_profiles([{0}], timezone.now())[{0}]
print(json.dumps({{
    "roles": list(ModelVersion.objects.order_by("pk").values_list("role", flat=True)),
    "ended": [one.resolved_at is not None for one in Incident.objects.filter(key="model_degraded")],
    "disliked": len(known.excluded),
}}))
"""


@pytest.fixture
def world() -> World:
    return World(songs=150, listeners=40, days=20, seed=5)


def served(project: Project, listener: str) -> dict[str, str]:
    answer: dict[str, str] = json.loads(project.manage("recommend", listener, "--serve", "--json").stdout)
    return answer


def test_what_was_learnt_and_said_of_the_old_songs_is_not_used_and_a_retrain_mends_it(
    postgres_project: Project, world: World
) -> None:
    project = postgres_project
    with DemoServer(world) as server:
        project.manage("runingest", BASE_URL=server.url)
        project.manage("retrain")
        listener = project.shell(SOMEBODY)
        project.manage("preparelists", "--all")
        project.shell(LIKE.format(listener))
        before = served(project, listener)
        world.new_catalogue()
        accepted = project.manage("runingest", "--accept-reset", BASE_URL=server.url)
        again = project.manage("runingest", BASE_URL=server.url)
    listener = project.shell(SOMEBODY)

    between = served(project, listener)
    watched = json.loads(project.shell(WATCH.format(listener)))
    promoted = project.manage("promote", before["model_version"], "--reason=try", check=False)
    trained = json.loads(project.manage("retrain", "--json").stdout)
    after = served(project, listener)
    mended = json.loads(project.shell(WATCH.format(listener)))

    assert before["arm"] == "champion"
    assert "This is a new catalogue" in accepted.stderr
    assert "This is a new catalogue" not in again.stderr
    assert between["arm"] == "fallback"
    assert watched == {"roles": ["withdrawn"], "ended": [False], "disliked": 0}
    assert "a withdrawn version never returns" in promoted.stderr
    assert (trained["status"], trained["role"]) == ("succeeded", "champion")
    assert after["arm"] == "champion"
    assert mended == {"roles": ["withdrawn", "champion"], "ended": [True], "disliked": 0}


def test_a_reset_that_was_accepted_and_was_none_keeps_the_model(
    sqlite_project: Project, world: World
) -> None:
    project = sqlite_project
    with DemoServer(world) as server:
        project.manage("runingest", BASE_URL=server.url)
        project.manage("retrain")
        listener = project.shell(SOMEBODY)
        accepted = project.manage("runingest", "--accept-reset", BASE_URL=server.url)

    assert "This is a new catalogue" not in accepted.stderr
    assert served(project, listener)["arm"] == "champion"
