"""Progress of long commands: lines in a pipe, a bar at a terminal."""

import io
import sys
from threading import Event

import pytest

from ingestion.management.progress import StageBars, TimedStages, progress_bar


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


class Pipe(io.StringIO):
    """A pipe that says when it has got a line."""

    def __init__(self) -> None:
        super().__init__()
        self.has_line = Event()

    def flush(self) -> None:
        self.has_line.set()


def test_a_stage_that_takes_minutes_says_how_long_the_command_still_takes() -> None:
    now = [100.0]
    stages = TimedStages("training", stream=io.StringIO(), clock=lambda: now[0])
    now[0] += 20
    waiting = stages.line()
    stages.begin("reading", 1, 5)
    first = stages.line()
    stages.begin("clusters", 3, 5)
    now[0] += 40

    assert waiting == "training: 00:20 so far"
    assert first == "training: reading, step 1 of 5, 00:20 so far"
    assert stages.line() == "training: clusters, step 3 of 5, 01:00 so far, about 01:30 left"


def test_a_pipe_gets_lines_while_one_stage_runs() -> None:
    pipe = Pipe()

    with TimedStages("training", stream=pipe, interval=0.001) as stages:
        stages.begin("clusters", 1, 5)
        assert pipe.has_line.wait(60)

    assert pipe.getvalue().startswith("training: ")
    assert "\r" not in pipe.getvalue()


def test_a_pipe_gets_nothing_from_stages_that_end_within_ten_seconds() -> None:
    pipe = Pipe()

    with TimedStages("training", stream=pipe) as stages:
        stages.begin("clusters", 1, 5)

    assert pipe.getvalue() == ""


def test_a_terminal_gets_a_bar_of_the_stages() -> None:
    terminal = Terminal()

    with TimedStages("training", stream=terminal) as stages:
        stages.begin("reading", 1, 4)
        stages.begin("clusters", 2, 4)

    assert "clusters" in terminal.getvalue()
    assert "1/4" in terminal.getvalue()


def test_a_terminal_gets_the_time_so_far_from_a_command_without_stages() -> None:
    terminal = Terminal()

    with TimedStages("drift check", stream=terminal):
        shown = terminal.getvalue()

    assert "drift check: 00:00 so far" in shown
    assert "/s" not in shown  # no step is counted
