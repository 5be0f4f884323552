"""Every fault of a source, imported with the commands that people run.

On both databases if rows are written twice or in an unusual order; otherwise the effect of a fault does not
depend on the database.
"""

import json
from typing import Any

import pytest

from ingestion.demo.faults.spec import parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.journeys.conftest import Serve
from tests.support.project import Project
from tests.support.servers.scripted_server import CERTIFICATE, ScriptedServer, page_reply

HURRY = {"SOURCE_READ_TIMEOUT": "1", "SOURCE_CONNECT_TIMEOUT": "1"}


def ingest(project: Project, url: str, *arguments: str, **variables: str) -> dict[str, Any]:
    environment: dict[str, Any] = {"BASE_URL": url, **HURRY, **variables}
    done = project.manage("runingest", "--json", *arguments, check=False, **environment)
    assert done.stdout, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["exit_code"] == done.returncode
    return facts


@pytest.mark.parametrize(
    ("faults", "kinds"),
    [
        ("429@2x1", {"http_429"}),
        ("500:0.2", {"http_500"}),
        ("slow:0.3", set()),
        ("drop:0.2", {"truncated", "connection"}),
        ("truncated:0.2", {"bad_json"}),
        ("html:0.2", {"not_json"}),
        ("hang@2x1", {"timeout"}),
        ("500,drop,truncated,html", {"http_500", "bad_json", "not_json", "truncated", "connection"}),
    ],
)
def test_a_passing_fault_is_waited_out_and_nothing_is_lost(
    sqlite_project: Project, world: World, serve: Serve, faults: str, kinds: set[str]
) -> None:
    facts = ingest(sqlite_project, serve(faults).url)

    assert (facts["status"], facts["exit_code"]) == ("succeeded", 0)
    received = [facts["resources"][name]["received"] for name in ("songs", "users", "listening_history")]
    assert received == [len(world.rows(name)) for name in ("tracks", "users", "listen_history")]
    seen = {kind for resource in facts["resources"].values() for kind in resource["errors"]}
    assert seen <= kinds
    assert bool(seen) == bool(kinds)


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ("500:1", "http_500"),
        ("hang@1x9", "timeout"),
        ("html:1", "not_json"),
        ("truncated:1", "bad_json"),
        ("redirect", "redirect"),
        ("huge", "too_large"),
    ],
)
def test_a_lasting_fault_fails_the_run_and_says_why(
    sqlite_project: Project, serve: Serve, faults: str, kind: str
) -> None:
    facts = ingest(sqlite_project, serve(faults).url, SOURCE_ATTEMPTS="2")

    assert (facts["status"], facts["exit_code"], facts["error_kind"]) == ("failed", 1, kind)
    assert facts["error"]
    assert sqlite_project.shell("from ingestion.models import *; print(Song.objects.count())") == "0"


@pytest.mark.parametrize(
    ("faults", "resource", "at_least"),
    [
        ("badrow:0.02", "songs", 1),
        ("nulluser:0.02", "listening_history", 1),
        ("unknownuser:0.02", "listening_history", 1),
    ],
)
def test_a_few_bad_rows_are_kept_and_leave_the_run_a_success(
    project: Project, serve: Serve, faults: str, resource: str, at_least: int
) -> None:
    url = serve(faults).url

    first, second = ingest(project, url), ingest(project, url)

    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert first["resources"][resource]["rejected"] >= at_least
    assert second["resources"][resource]["written"] == 0
    assert second["resources"][resource]["rejected"] == first["resources"][resource]["rejected"]


def test_many_bad_rows_make_the_run_partial_with_what_is_sure_applied(
    sqlite_project: Project, serve: Serve
) -> None:
    facts = ingest(sqlite_project, serve("badrow:0.3").url)

    assert (facts["status"], facts["exit_code"], facts["error_kind"]) == ("partial", 2, "too_many_rejected")
    assert int(sqlite_project.shell("from ingestion.models import *; print(Song.objects.count())")) > 200


def test_rows_sent_twice_are_counted_and_written_once(project: Project, serve: Serve, world: World) -> None:
    url = serve("duplicate:0.05").url

    first, second = ingest(project, url), ingest(project, url)

    # The rows span several pages, so that a doubled one may stand in another one's place.
    assert (first["exit_code"], first["error_kind"]) == (2, "doubled_rows")
    assert first["resources"]["songs"]["duplicates"] > 0
    assert first["resources"]["songs"]["new"] == len(world.rows("tracks"))
    assert sum(resource["written"] for resource in second["resources"].values()) == 0


def test_songs_that_do_not_exist_are_counted(sqlite_project: Project, serve: Serve) -> None:
    facts = ingest(sqlite_project, serve("unknownsong:0.05").url)

    assert facts["status"] == "succeeded"
    assert facts["resources"]["listening_history"]["unknown_songs"] > 0


def test_a_total_that_lies_makes_the_run_partial(sqlite_project: Project, serve: Serve) -> None:
    facts = ingest(sqlite_project, serve("lyingtotal:0.1").url)

    assert (facts["exit_code"], facts["error_kind"]) == (2, "lying_total")


def test_rows_that_move_while_they_are_read_are_all_found(project: Project) -> None:
    # Its own world: the fault changes it for good.
    world = World(songs=450, listeners=60, days=12)
    with DemoServer(world, faults=parse_faults("shift@2")) as server:
        facts = ingest(project, server.url)
        then = ingest(project, server.url)

    assert facts["status"] == "succeeded"
    assert sum(resource["shifts"] for resource in facts["resources"].values()) >= 1
    # Whatever survived the shift was found by the first run: the second finds nothing new.
    assert [then["resources"][name]["new"] for name in ("songs", "users")] == [0, 0]


def test_a_source_that_was_reset_is_refused_until_a_person_accepts_it(
    sqlite_project: Project, serve: Serve
) -> None:
    ingest(sqlite_project, serve("").url)
    with DemoServer(World(songs=450, listeners=60, days=12), faults=parse_faults("reset")) as server:
        refused = ingest(sqlite_project, server.url)
        accepted = ingest(sqlite_project, server.url, "--accept-reset")

    assert (refused["status"], refused["exit_code"]) == ("refused", 4)
    assert "--accept-reset" in refused["error"]
    assert accepted["status"] == "succeeded"


def test_a_token_that_the_source_wants_is_sent_and_never_shown(sqlite_project: Project, world: World) -> None:
    with DemoServer(world, token="s3cret-token") as server:
        without = ingest(sqlite_project, server.url)
        done = sqlite_project.manage("runingest", BASE_URL=server.url, SOURCE_TOKEN="s3cret-token")

    assert (without["status"], "SOURCE_TOKEN" in without["error"]) == ("failed", True)
    assert "s3cret" not in done.stdout + done.stderr


def test_a_password_in_the_address_is_not_shown_where_a_run_fails(sqlite_project: Project) -> None:
    done = sqlite_project.manage(
        "runingest", check=False, BASE_URL="http://user:s3cret@127.0.0.1:1", SOURCE_ATTEMPTS="1"
    )

    assert done.returncode == 1
    assert "Source: http://127.0.0.1:1\n" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_a_source_behind_a_company_s_own_certificate_is_read(sqlite_project: Project) -> None:
    with ScriptedServer([page_reply([])], tls=True) as server:
        wanted: dict[str, Any] = {"BASE_URL": server.url, "SOURCE_ATTEMPTS": "1"}
        stranger = sqlite_project.manage("runingest", check=False, **wanted)
        trusted = sqlite_project.manage(
            "runingest", check=False, REQUESTS_CA_BUNDLE=str(CERTIFICATE), **wanted
        )

    assert stranger.returncode == 1
    assert "certificate verify failed" in stranger.stderr
    assert trusted.returncode == 0, trusted.stderr
