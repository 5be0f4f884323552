"""The demo uses nothing that an installation names in its environment: no folder, no server, no cluster."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from moovitamix.management.processes import build_demo_environment, simulation_environment
from tests.support.project import ROOT

# The address that messages link to, and the address of a player: neither is written to.
ONLY_SHOWN = {"SITE_URL", "PLAYER_URL_TEMPLATE"}
VARIABLES = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
PLACES = [
    name
    for name in VARIABLES
    if re.search("_DIR$|_URLS?$|STORAGE$|ENGINE$|_MASTER$|DATABASE_NAME|ALERT_EMAILS", name)
]


@pytest.mark.parametrize("name", sorted(set(PLACES) - ONLY_SHOWN))
def test_no_place_of_the_installation_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/srv/production")

    value = build_demo_environment(tmp_path, "http://127.0.0.1:9")[name]

    assert "/srv/production" not in value
    assert "/" not in value or str(tmp_path) in value or "127.0.0.1" in value or value == "consolemail://"


def test_a_simulation_multiplies_matrices_in_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "2")
    code = f"import os; print(*(os.environ[name] for name in {names})); "
    code += "import numpy, threadpoolctl as t; print(*(one['num_threads'] for one in t.threadpool_info()))"

    found = subprocess.run(
        [sys.executable, "-c", code], env=simulation_environment(tmp_path), capture_output=True, check=True
    )

    # A machine with one processor has one thread whatever it is told.
    assert found.stdout.splitlines() == [b"1 1", b"1"]
