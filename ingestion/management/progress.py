"""How far a long command is: a bar at a terminal, otherwise a line every ten seconds."""

import logging
import sys
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final, Self, TextIO

from tqdm import tqdm

from ingestion.models import IngestionRun
from ingestion.pipeline.change_detection import RowChange
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.source.schemas import Resource, schema_for

logger = logging.getLogger(__name__)

# Shown only on request, because this output may end up in a log or a mail.
PERSONAL_FIELDS: Final = {"first_name", "last_name", "email", "gender"}
LINE_INTERVAL: Final = 10.0  # seconds
REFRESH_INTERVAL: Final = 1.0  # seconds between two states of a bar


class _Lines:
    """A stream for tqdm, which writes each state over the last one; here each state becomes a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if shown := text.strip():
            self._stream.write(f"{shown}\n")

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(
    title: str, unit: str, total: int | None = None, *,
    stream: TextIO | None = None, interval: float = LINE_INTERVAL, keep: bool = False,
) -> "tqdm[Any]":  # fmt: skip
    """A bar with the time that is left; in a file or pipe, lines with it.

    A command that ends within the interval writes no line. `keep` leaves the full bar on the terminal.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        return tqdm(total=total, desc=title, unit=f" {unit}", leave=keep, file=stream)
    has_end = total is not None
    form = "{desc}: {n_fmt} of {total_fmt}{unit}, {remaining} left" if has_end else "{desc}: {n_fmt}{unit}"
    return tqdm(
        total=total, desc=title.strip(), unit=f" {unit}", bar_format=form, leave=False, miniters=1,
        mininterval=interval, delay=interval, file=_Lines(stream),
    )  # fmt: skip


class StageBars:
    """A bar for each stage of a command; called with the stage, its new rows and all of its rows."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stage = ""
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bar is None or stage != self._stage:
            self.__exit__()
            self._stage, self._bar = stage, progress_bar(stage, self._unit, total)
        self._bar.update(done)


class TimedStages:
    """Says what a command is doing and how long it takes, although one stage may take minutes.

    A terminal gets the elapsed time, and from the first stage on a bar of the stages with the time that is
    left. A file or pipe gets a line every ten seconds, and none from a command that ends before. A command
    without stages calls no `begin`: nobody knows how long it still takes.
    """

    def __init__(
        self, title: str, *, stream: TextIO | None = None, interval: float = LINE_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._title, self._clock, self._interval = title, clock, interval
        self._stream = stream or sys.stderr
        self._began, self._ended = clock(), Event()
        self._stage, self._step, self._steps = "", 0, 0
        self._bar: tqdm[Any] | None = None
        self._thread = Thread(target=self._tell_in_turn, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._stream.isatty():
            self._bar = tqdm(
                desc=self._title, unit=" steps", bar_format="{desc}: {elapsed} so far", leave=False,
                file=self._stream,
            )  # fmt: skip
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def begin(self, stage: str, step: int, steps: int) -> None:
        """Stage `stage` begins; it is number `step` of `steps`, from 1."""
        self._stage, self._step, self._steps = stage, step, steps
        if self._bar is not None:
            # Not by `update`, which shows nothing if the last state is less than a tenth of a second old.
            self._bar.n, self._bar.total, self._bar.bar_format = step - 1, steps, None
            self._bar.set_description(stage.ljust(30))

    def line(self) -> str:
        """What a pipe gets now, such as "training: clusters, step 4 of 8, 01:30 so far, about 02:30 left"."""
        elapsed, done = self._clock() - self._began, self._step - 1
        parts = [self._stage] if self._stage else []
        if self._steps:
            parts.append(f"step {self._step} of {self._steps}")
        parts.append(f"{tqdm.format_interval(elapsed)} so far")
        if done > 0:
            # As if each of the other steps took as long as those that are done.
            left = elapsed / done * self._steps - elapsed
            parts.append(f"about {tqdm.format_interval(max(0.0, left))} left")
        return f"{self._title}: {', '.join(parts)}"

    def _tell_in_turn(self) -> None:
        is_terminal = self._stream.isatty()
        while not self._ended.wait(REFRESH_INTERVAL if is_terminal else self._interval):
            if is_terminal and self._bar is not None:
                self._bar.refresh()
            elif not is_terminal:
                self._stream.write(f"{self.line()}\n")
                self._stream.flush()


class IngestionProgressBar(IngestionProgress):
    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._name = ""

    def on_stage(self, run: IngestionRun, name: str) -> None:
        self.close()
        self._name = name
        logger.info("stage run=%s name=%r", run.pk, name)

    def on_progress(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = progress_bar(self._name.ljust(26), "rows", total, keep=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class DryRunDiff(IngestionProgressBar):
    """Progress bars that also collect the changes of a dry run, as text lines or as rows for JSON."""

    def __init__(self, *, show_personal: bool) -> None:
        super().__init__()
        self.changes: list[dict[str, Any]] = []
        self.run: IngestionRun | None = None  # once the run has begun
        self._show_personal = show_personal

    def on_stage(self, run: IngestionRun, name: str) -> None:
        self.run = run
        super().on_stage(run, name)

    def on_change(self, resource: Resource, change: RowChange) -> None:
        schema = schema_for(resource)
        before = change.before or (None,) * len(schema.columns)
        fields = {
            column: [self._visible_value(column, old), self._visible_value(column, new)]
            for column, old, new in zip(schema.columns, before, change.record, strict=True)
            if old != new
        }
        key = change.record[0] if schema.key_length == 1 else list(change.record[: schema.source_key_length])
        deed = "new" if change.before is None else "changed" if fields else "returned"
        self.changes.append({"resource": resource.value, "key": key, "deed": deed, "fields": fields})

    def on_missing(self, resource: Resource, key: tuple[Any, ...]) -> None:
        shown = key[0] if len(key) == 1 else list(key)
        self.changes.append({"resource": resource.value, "key": shown, "deed": "missing", "fields": {}})

    def _visible_value(self, column: str, value: Any) -> Any:
        hidden = column in PERSONAL_FIELDS and value is not None and not self._show_personal
        return "(hidden)" if hidden else value


def format_change(change: dict[str, Any]) -> str:
    fields = ", ".join(
        f"{name}: {new!r}" if change["deed"] == "new" else f"{name}: {old!r} -> {new!r}"
        for name, (old, new) in change["fields"].items()
    )
    return f"{change['resource']} {change['key']} {change['deed']}{': ' if fields else ''}{fields}"
