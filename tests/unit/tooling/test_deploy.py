"""The files of deploy/: they name what exists, run without root, and have limits.

Docker and Kubernetes do not run in the tests. Linters check the Dockerfile, compose.yaml and systemd's units;
the Kubernetes manifests are checked as text.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from tests.support.project import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"] == "moovitamix"}
KUBERNETES: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes" / "moovitamix.yaml").read_text())
)
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SETTINGS = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
# Read by the compose file itself.
OF_COMPOSE = {"SITE_HOST", "POSTGRES_PASSWORD"}


def containers() -> list[dict[str, Any]]:
    return [
        container
        for one in KUBERNETES
        if one["kind"] in {"Deployment", "Job"}
        for container in one["spec"]["template"]["spec"]["containers"]
    ]


def test_the_image_runs_without_root_from_the_locked_packages() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)

    assert len(stages) == 3
    assert "ARG LOCK=requirements.lock" in stages[1]
    assert "--require-hashes -r /build/$LOCK" in stages[1]
    assert re.search(r"^USER 10001$", stages[2], re.MULTILINE)
    assert "HEALTHCHECK" in stages[2]
    assert all((ROOT / name).exists() for name in copied)
    # What is copied is in the build's context.
    ignored = (ROOT / ".dockerignore").read_text()
    assert all(f"!{name}" in ignored for name in copied)


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", DEPLOY / "Dockerfile"],
        ["check-jsonschema", "--builtin-schema=vendor.compose-spec", DEPLOY / "compose.yaml"],
    ],
    ids=["Dockerfile", "compose.yaml"],
)
def test_linters_find_nothing_wrong(command: list[str | Path]) -> None:
    # In the folder of Python, because a virtual environment need not be activated.
    linter = shutil.which(command[0], path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip(f"{command[0]} is not installed")

    done = subprocess.run([linter, *command[1:]], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_has_limits_and_what_is_ours_a_read_only_root() -> None:
    volumes = {
        volume.split(":")[0] for one in COMPOSE["services"].values() for volume in one.get("volumes", [])
    }

    assert all(one.get("mem_limit") or name == "migrate" for name, one in COMPOSE["services"].items())
    assert all(one["read_only"] and one["cap_drop"] == ["ALL"] for one in OURS.values())
    assert {name for name in volumes if not name.startswith(".")} == set(COMPOSE["volumes"])
    assert set(COMPOSE["services"]) == {"proxy", "web", "worker", "beat", "migrate", "postgres", "redis"}


def test_settings_and_commands_exist() -> None:
    environment = {name for one in OURS.values() for name in one["environment"]}
    example = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    pods = {variable["name"] for one in containers() for variable in one.get("env", [])}
    commands = {one["command"][0] for name, one in OURS.items() if name != "beat"}
    commands |= {one["args"][0] for one in containers()}

    assert environment | pods | (example - OF_COMPOSE) <= SETTINGS
    assert commands <= set(get_commands())


def test_pods_run_without_root_and_have_limits() -> None:
    for one in containers():
        assert one["securityContext"]["readOnlyRootFilesystem"]
        assert "memory" in one["resources"]["limits"]
    for one in KUBERNETES:
        if one["kind"] == "Deployment":
            assert one["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    command = re.search(r"manage\.py (\w+)", text)
    assert command is not None
    assert command[1] in get_commands()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    here = tmp_path / unit.name
    here.write_text(
        text.replace("/opt/moovitamix/.venv/bin/python", sys.executable)
        .replace("/opt/moovitamix", str(ROOT))
        .replace("User=moovitamix", "User=root")
    )

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert unit.name not in done.stderr, done.stderr
