"""Progress of long commands: lines in a pipe, a bar at a terminal."""

import io
import sys

import pytest

from ingestion.management.progress import StageBars, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_lines_with_what_is_left() -> None:
    pipe = io.StringIO()

    with progress_bar("backup", "rows", 100, stream=pipe, interval=0) as bar:
        bar.update(50)
        bar.update(50)

    lines = pipe.getvalue().splitlines()
    assert [line.rpartition(",")[0] for line in lines] == [
        f"backup: {done} of 100 rows" for done in (0, 50, 100)
    ]
    assert all(line.endswith(" left") for line in lines)
    assert "\r" not in pipe.getvalue()


def test_a_pipe_gets_nothing_from_a_command_that_ends_within_ten_seconds() -> None:
    pipe = io.StringIO()

    with progress_bar("backup", "rows", 100, stream=pipe) as bar:
        bar.update(100)

    assert pipe.getvalue() == ""
    assert (bar.delay, bar.mininterval) == (10.0, 10.0)


def test_a_terminal_gets_a_bar_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with StageBars("rows") as bars:
        bars("restore", 50, 200)
        bars("compare", 200, 200)

    shown = terminal.getvalue()
    assert "restore:   0%" in shown
    assert "| 0/200 [00:00<?, ? rows/s]" in shown
    assert shown.index("restore") < shown.index("compare")
