"""Sources that mislead or do not answer, imported with the commands that people run."""

import json
from typing import Any

from tests.support.builders.source_rows import make_track
from tests.support.project import Project
from tests.support.servers.misleading_source import MisleadingSource
from tests.support.servers.scripted_server import Reply, ScriptedServer, page_reply

ALBUMS = (
    "from ingestion.models import *; import json;"
    "print(json.dumps(sorted(set(Song.objects.values_list('album', flat=True)))))"
)
INCIDENTS = (
    "from ingestion.models import *; import json;"
    "print(json.dumps(list(Incident.objects.filter(resolved_at=None).values_list('kind', flat=True))))"
)


def ingest(project: Project, url: str, **variables: Any) -> dict[str, Any]:
    done = project.manage("runingest", "--json", check=False, BASE_URL=url, SOURCE_ATTEMPTS="2", **variables)
    assert done.stdout, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["exit_code"] == done.returncode
    return facts


def test_a_run_by_hand_imports_what_a_corrected_source_sends(sqlite_project: Project) -> None:
    source = MisleadingSource()
    source.tracks = [make_track(pk, album="Wrong") for pk in range(1, 31)]
    source.mislead["/listen_history"] = lambda _: Reply(500)
    with ScriptedServer(source) as server:
        incomplete = ingest(sqlite_project, server.url)
        source.mislead.clear()
        source.tracks = [make_track(pk, album="Right") for pk in range(1, 31)]
        complete = ingest(sqlite_project, server.url)

    assert (incomplete["exit_code"], incomplete["error_kind"]) == (2, "source_incomplete")
    assert complete["exit_code"] == 0
    assert json.loads(sqlite_project.shell(ALBUMS)) == ["Right"]


def test_a_source_that_ignores_the_page_number_is_partial_with_an_incident(sqlite_project: Project) -> None:
    source = MisleadingSource()
    source.mislead["/tracks"] = lambda request: page_reply(
        source.tracks, request.page, size=10, items=source.tracks[:10]
    )
    with ScriptedServer(source) as server:
        facts = ingest(sqlite_project, server.url)

    assert (facts["exit_code"], facts["error_kind"]) == (2, "doubled_rows")
    assert "reports 30 songs and sent 10 different ones" in facts["error"]
    assert json.loads(sqlite_project.shell(INCIDENTS)) == ["run_partial"]


def test_limited_requests_and_a_total_that_is_too_high_lose_no_rows(sqlite_project: Project) -> None:
    source = MisleadingSource()
    seen: list[int] = []

    def answer(request: Any) -> Reply | None:
        seen.append(request.page)
        if len(seen) % 3 == 0:
            return Reply(429, headers={"Retry-After": "0"})
        return page_reply(source.tracks, request.page, size=10, total=5000, pages=500)

    source.mislead["/tracks"] = answer
    with ScriptedServer(source) as server:
        facts = ingest(sqlite_project, server.url)

    assert (facts["error_kind"], facts["resources"]["songs"]["new"]) == ("lying_total", 30)
    assert facts["resources"]["songs"]["requests"] < 100


def test_a_source_that_only_a_proxy_reaches_is_read_through_it(sqlite_project: Project) -> None:
    with ScriptedServer(MisleadingSource()) as proxy:
        facts = ingest(sqlite_project, "http://source.internal", HTTP_PROXY=proxy.url)

    assert (facts["exit_code"], facts["resources"]["songs"]["new"]) == (0, 30)
