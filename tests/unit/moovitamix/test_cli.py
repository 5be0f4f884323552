"""The output of the console scripts; what they run is tested from an installed wheel."""

import sys
from pathlib import Path

import pytest

from moovitamix.cli import run_tests, start_pipeline

INFO = [
    "start-pipeline    import every day at SCHEDULED_TIME",
    "SCHEDULED_TIME    when to run each day, HH:MM (now 02:00)",
]
CONFIG = ["DATABASE_URL      PostgreSQL instead", "SCHEDULED_TIME    when to run each day, HH:MM (now 02:00)"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--info"], INFO), (["--info", "--help-config"], INFO + CONFIG), (["--help-config"], CONFIG)],
)
def test_start_pipeline_explains_itself(
    arguments: list[str],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["start-pipeline", *arguments])

    start_pipeline()

    printed = capsys.readouterr().out
    assert [line for line in said if line not in printed] == []


def test_the_help_of_start_pipeline_names_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["start-pipeline", "-h"])

    with pytest.raises(SystemExit) as ended:
        start_pipeline()

    assert ended.value.code == 0
    assert "--help-config" in capsys.readouterr().out


def test_run_tests_outside_a_checkout_says_where_to_run_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit, match="change to a folder with tests/"):
        run_tests()
