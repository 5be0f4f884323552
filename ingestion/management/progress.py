"""Progress of a run: bars on a terminal, else log lines."""

import logging
import sys
from typing import Any, Final

from tqdm import tqdm

from ingestion.models import IngestionRun
from ingestion.pipeline.change_detection import RowChange
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.source.schemas import Resource, schema_for

logger = logging.getLogger(__name__)

# Shown only on request, because this output may end up in a log or a mail.
PERSONAL_FIELDS: Final = {"first_name", "last_name", "email", "gender"}


class IngestionProgressBar(IngestionProgress):
    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._name = ""

    def on_stage(self, run: IngestionRun, name: str) -> None:
        self.close()
        self._name = name
        logger.info("stage run=%s name=%r", run.pk, name)

    def on_progress(self, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(
                total=total, desc=self._name.ljust(26), unit=" rows", leave=True, file=sys.stderr
            )
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
