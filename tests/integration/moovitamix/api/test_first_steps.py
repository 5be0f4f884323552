"""A developer's first steps: the quickstart of /api/docs/ and the generated clients, run against a server."""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from pytest_django.live_server_helper import LiveServer

from recommender.api.authentication import issue_key
from recommender.models import Feedback
from tests.support.builders.api import make_listener, make_song
from tests.support.project import ROOT

JAVASCRIPT_CLIENT = ROOT / "moovitamix" / "static" / "clients" / "moovitamix-api.js"
USE_PYTHON_CLIENT = """
import os, sys
from moovita_mix_client import AuthenticatedClient
from moovita_mix_client.api.users import users_recommendations_retrieve
from moovita_mix_client.api.feedback import feedback_create
from moovita_mix_client.models import Event, FeedbackKindEnum

client = AuthenticatedClient(sys.argv[1], os.environ["MOOVITAMIX_KEY"], raise_on_unexpected_status=True)
mix = users_recommendations_retrieve.sync(7, client=client, n=5)
assert mix.discovery.asked == 0.3
print([item.song.id for item in mix.items])
event = Event("typed", 7, mix.items[0].song.id, FeedbackKindEnum.LIKE)
print(feedback_create.sync(client=client, body=event).created)
"""
USE_JAVASCRIPT_CLIENT = """
import { client, feedbackCreate, usersRecommendationsRetrieve } from "./moovitamix-api.mjs";

client.setConfig({ baseUrl: process.argv[2], auth: () => process.env.MOOVITAMIX_KEY, throwOnError: true });
const { data: mix } = await usersRecommendationsRetrieve({ path: { id: 7 }, query: { n: 5 } });
console.log(JSON.stringify(mix.items.map(({ song }) => song.id)));
const body = { event_id: "untyped", user_id: 7, song_id: mix.items[0].song.id, kind: "like" };
const { data } = await feedbackCreate({ body });
console.log(data.created);
"""


@pytest.fixture
def environment(
    transactional_db: None, settings: Any, tmp_path: Path, django_user_model: Any
) -> dict[str, str]:
    """A world without a model, so lists are of popular songs; and a key for it."""
    settings.MODEL_STORAGE = tmp_path / "models"
    make_listener(7)
    for pk in range(8, 28):
        make_song(pk, artist=f"Artist {pk}")
    key = issue_key("A developer", django_user_model.objects.create_user("developer"))[1]
    # The generator formats with ruff, which stands beside this interpreter, as in a developer's environment.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "MOOVITAMIX_KEY": key, "PATH": programs}


def run(command: list[str], environment: dict[str, str], folder: Path) -> list[str]:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_quickstart_runs_in_each_language(
    live_server: LiveServer, environment: dict[str, str], tmp_path: Path
) -> None:
    page = Client().get("/api/docs/", headers={"Host": live_server.url.removeprefix("http://")})
    found = dict(re.findall(r'<code id="quickstart-(\w+)">(.*?)</code>', page.content.decode(), re.DOTALL))
    snippets = {name: unescape(text) for name, text in found.items()}
    (tmp_path / "quickstart.mjs").write_text(snippets["javascript"])

    python = run([sys.executable, "-c", snippets["python"]], environment, tmp_path)
    javascript = run([tool("node"), "quickstart.mjs"], environment, tmp_path)
    curl = run(["sh", "-e", "-c", snippets["curl"]], environment, tmp_path)

    assert (len(python), javascript[5]) == (6, "{")
    assert re.fullmatch(r"1 Song \d+ by Artist \d+ - \w.+", python[0])
    assert re.fullmatch(r"1 Song \d+ by Artist \d+ - \w.+", javascript[0])
    assert '"reason_code":"new_in_genre"' in "".join(curl)
    assert Feedback.objects.filter(kind="like").count() == 3


@pytest.mark.slow
def test_the_python_client_that_a_developer_generates_works(
    live_server: LiveServer, environment: dict[str, str], tmp_path: Path
) -> None:
    generator = Path(sys.executable).with_name("openapi-python-client")

    run(
        [str(generator), "generate", "--fail-on-warning", "--url", f"{live_server.url}/api/schema/"],
        environment,
        tmp_path,
    )
    package = tmp_path / "moovita-mix-client"
    used = run([sys.executable, "-c", USE_PYTHON_CLIENT, live_server.url], environment, package)

    assert len(json.loads(used[0])) == 5
    assert Feedback.objects.get().event_id == "typed"


@pytest.mark.slow
def test_the_javascript_client_works(
    live_server: LiveServer, environment: dict[str, str], tmp_path: Path
) -> None:
    shutil.copy(JAVASCRIPT_CLIENT, tmp_path / "moovitamix-api.mjs")
    (tmp_path / "use.mjs").write_text(USE_JAVASCRIPT_CLIENT)

    used = run([tool("node"), "use.mjs", live_server.url], environment, tmp_path)

    assert len(json.loads(used[0])) == 5
    assert Feedback.objects.get().event_id == "untyped"


@pytest.mark.django_db
def test_the_javascript_client_has_every_operation_of_the_schema() -> None:
    schema = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    described = {
        (camel_case(operation["operationId"]), method, path)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }

    written = re.findall(
        r'var (\w+) = \(options\) => \(options\??\.client \?\? client\)\.(\w+)\(\{.*?url: "([^"]+)"',
        JAVASCRIPT_CLIENT.read_text(),
        re.DOTALL,
    )

    assert {*written} == described, "Generate it again: docs/contributing.md, The JavaScript client"


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
