"""The original project's commands from an installed wheel, in a user's folder without the checkout."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.builders.original_database import make_original_database
from tests.support.project import ROOT, Project, build_environment, wait_for_line
from tests.support.servers.ports import free_port


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that a developer's .env and databases lie beside it, as they do."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (
        "moovitamix",
        "ingestion",
        "recommender",
        "templates",
        "pyproject.toml",
        "README.md",
        "requirements.txt",
    ):
        (folder / "copy").mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(folder / "copy")], check=True)
    (folder / "copy" / ".env").write_text("SECRET_KEY=never-to-be-shipped\n")
    (folder / "copy" / "ingestion" / "music_data.db").write_text("never to be shipped")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(folder / "copy")],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel, and sees the packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    target = next((folder / "lib").glob("python*")) / "site-packages"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(
        pip, check=True, capture_output=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (target / "dependencies.pth").write_text("\n".join(ours) + "\n")
    for script in (target / "bin").iterdir():
        text = re.sub(r"^#!.*", f"#!{folder}/bin/python", script.read_text(), count=1)
        (folder / "bin" / script.name).write_text(text)
        (folder / "bin" / script.name).chmod(0o755)
    return folder / "bin"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Project]:
    """An empty folder in which a user runs the installed commands."""
    environment = build_environment(tmp_path)
    del environment["VAR_DIR"], environment["ENV_FILE"]
    project = Project(environment, tmp_path)
    yield project
    project.stop()


def run(place: Project, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, env={**place.environment, **variables}, cwd=place.folder, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip


def test_the_wheel_holds_every_package_and_nothing_of_a_developer(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())

    modules = {
        str(path.relative_to(ROOT))
        for room in ("moovitamix", "ingestion", "recommender")
        for path in (ROOT / room).rglob("*.py")
    }
    templates = {f"moovitamix/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*.html")}
    assert modules | templates <= held
    others = {
        "moovitamix/static/logo.svg", "moovitamix/scenarios/usual.json",
        "ingestion/locale/fr/LC_MESSAGES/django.mo", "ingestion/observability/README.md",
        "ingestion/observability/grafana-dashboard.json", "ingestion/observability/prometheus-alerts.yml",
    }  # fmt: skip
    assert others <= held
    assert not [name for name in held if ".env" in name or name.endswith(".db")]


def test_start_pipeline_test_shows_the_configuration_and_runs_once(
    installed: Path, place: Project, world: World
) -> None:
    with DemoServer(world) as server:
        url = server.url
        done = run(
            place, str(installed / "start-pipeline"), "--test", SCHEDULED_TIME="04:30",
            BASE_URL=server.url.replace("http://", "http://user:not-to-be-shown@"),
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert f"BASE_URL          the source API (now {url})" in done.stdout
    assert "(now 04:30)" in done.stdout
    assert "not-to-be-shown" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{len(world.rows('tracks'))} songs: ")
    # A relative name starts from where the command runs.
    assert (place.folder / "music_data.db").is_file()


def test_a_env_file_where_the_command_runs_is_read(installed: Path, place: Project) -> None:
    (place.folder / ".env").write_text("SCHEDULED_TIME=25:00\n")

    done = run(place, str(installed / "start-pipeline"), "--test")

    assert done.returncode == 1
    assert done.stderr == (
        "SCHEDULED_TIME='25:00' can't be read: expected a time of day as HH:MM, such as 02:00.\n"
    )


def test_start_pipeline_waits_for_its_time_and_stops_cleanly(installed: Path, place: Project) -> None:
    process = place.start(
        str(installed / "start-pipeline"), cwd=place.folder, BASE_URL="http://user:s3cret@127.0.0.1:8001"
    )

    said = wait_for_line(process, "Ctrl-C stops.")
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=600)[0]

    assert "SCHEDULED_TIME 02:00 is a time in UTC (TIME_ZONE), not this machine's local time" in said
    assert "next run" in said
    assert "from http://127.0.0.1:8001. Ctrl-C stops." in said
    assert "s3cret" not in said + rest
    assert "Scheduler stopped." in rest
    assert process.returncode == 0


SMALL_SOURCE = ("--songs=20", "--listeners=5", "--days=2")


def move_into_the_original_project(place: Project, base_url: str) -> Path:
    """The files that a user of the original project has in the folder; returns the database."""
    (place.folder / ".env").write_text(
        f"BASE_URL={base_url}\nSCHEDULED_TIME=10:27\nDATABASE_NAME=music_data.db\n"
    )
    for name in ("src/moovitamix_fastapi/main.py", "test/test_pipeline.py", "requirements.txt", "README.md"):
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_text("")
    for name in ("BASE_URL", "SCHEDULED_TIME", "DATABASE_NAME", "DATABASE_URL"):
        place.environment.pop(name, None)
    return make_original_database(place.folder / "music_data.db")


def count_songs(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        return int(database.execute("SELECT COUNT(*) FROM songs").fetchone()[0])


def test_the_original_project_s_readme_works_in_its_own_folder(installed: Path, place: Project) -> None:
    port = free_port()
    old = move_into_the_original_project(place, f"http://127.0.0.1:{port}")
    before = old.read_bytes()
    server = place.start(str(installed / "start-server"), *SMALL_SOURCE, cwd=place.folder)
    said = wait_for_line(server, "Ctrl-C stops.")

    done = run(place, str(installed / "start-pipeline"), "--info", "--test")
    again = run(place, str(installed / "start-pipeline"), "--test")

    assert f"http://127.0.0.1:{port}:" in said
    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert "when to run each day, HH:MM (now 10:27)" in done.stdout
    assert "music_data.db is a database of the original project. It stays as it is." in done.stdout
    assert "start-pipeline --import-original" in done.stdout
    assert re.search(r"\b21 songs: 21 new", done.stdout)
    assert "21 songs: 0 new" in again.stdout
    assert old.read_bytes() == before
    assert count_songs(place.folder / "music_data.moovitamix.db") == 21
    # The new file stays in use when the old one is gone.
    old.unlink()
    later = run(place, str(installed / "start-pipeline"), "--test")
    assert "21 songs: 0 new" in later.stdout
    assert not old.exists()


def test_the_original_project_s_data_is_imported_into_the_new_database(
    installed: Path, place: Project
) -> None:
    old = move_into_the_original_project(place, "http://127.0.0.1:9")
    before = old.read_bytes()

    done = run(place, str(installed / "start-pipeline"), "--import-original")
    after = old.read_bytes()
    old.unlink()
    without = run(place, str(installed / "start-pipeline"), "--import-original")

    assert done.returncode == 0, done.stderr
    assert "6 duplicate rows were repaired." in done.stdout
    assert count_songs(place.folder / "music_data.moovitamix.db") == 10
    assert after == before
    assert (without.returncode, "is not a database of the original project" in without.stderr) == (1, True)


def test_start_server_serves_the_demo_source(installed: Path, place: Project) -> None:
    process = place.start(
        str(installed / "start-server"),
        "--port=0",
        *SMALL_SOURCE,
        cwd=place.folder,
    )

    said = wait_for_line(process, "Ctrl-C stops.")
    url = re.search(r"http://[\d.:]+\d", said)
    assert url is not None
    answer = requests.get(f"{url[0]}/tracks?page=1&size=5", timeout=120)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)

    assert len(answer.json()["items"]) == 5
    assert process.returncode == 0


def test_run_tests_passes_its_arguments_to_pytest(installed: Path, place: Project) -> None:
    (place.folder / "tests").mkdir()
    (place.folder / "tests" / "test_it.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    # The real ones bring settings of their own, and refuse any other.
    refuse = "import os\nassert 'DJANGO_SETTINGS_MODULE' not in os.environ\n"
    (place.folder / "tests" / "conftest.py").write_text(refuse)
    without = {name: value for name, value in place.environment.items() if name != "DJANGO_SETTINGS_MODULE"}
    place.environment.clear()
    place.environment.update(without)

    done = run(place, str(installed / "run-tests"), "-q", "-k", "one")

    assert "1 passed, 1 deselected" in done.stdout


def test_the_web_pages_find_their_templates_and_static_files(installed: Path, place: Project) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.template.loader import get_template\n"
        "from django.contrib.staticfiles.finders import find\n"
        "print(get_template('admin/index.html').origin.name, find('logo.svg'))"
    )

    done = run(place, str(installed / "python"), "-c", code, DJANGO_SETTINGS_MODULE="moovitamix.settings")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(installed.parent)) == 2
