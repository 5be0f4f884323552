"""Formats an incident's facts for readers; the end of a fact's name decides how.

`..._at` is a time (ISO 8601), `..._seconds`, `..._minutes`, `..._hours` and `..._days` are durations,
`..._share` runs from 0 to 1, `..._bytes` are bytes. `value`, `low`, `high`, `median` and `mad` have the
unit of the metric named by the fact `measure`. All others are numbers, keys of `WORDS`, or text.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_noop as _

# Longer errors are cut; the incident's page shows them in full.
MAX_CHARS: Final = 600
SECONDS_PER_UNIT: Final = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
# Identifiers, shown without a thousands separator: 12345, not 12,345.
IDENTIFIER_FACTS: Final = {"run", "training", "experiment", "version"}
MEASURE_FACTS: Final = {"value", "low", "high", "median", "mad", "mean"}
# A metric's values are formatted like a fact of this name; metrics not listed are counts.
FORMATTED_LIKE: Final = {
    "duration": "duration_seconds", "latency_p50": "latency_seconds", "latency_p95": "latency_seconds",
    "latency_max": "latency_seconds", "cpu_seconds": "cpu_seconds", "seconds": "duration_seconds",
    "rejected_share": "rejected_share", "error_share": "error_share", "bytes": "read_bytes",
    "peak_memory": "memory_bytes",
}  # fmt: skip
# Stored values and their readable text; translated in the context "fact".
WORDS: Final = {
    "songs": _("songs"), "users": _("listeners"), "listening_history": _("listening history"),
    "received": _("rows received"), "new": _("new rows"), "changed": _("changed rows"),
    "missing": _("missing rows"), "duration": _("duration"), "rejected_share": _("share of rejected rows"),
    "error_share": _("share of failed requests"), "latency_p95": _("95th percentile of data latency"),
    "bytes": _("bytes read"), "cpu_seconds": _("CPU time"), "peak_memory": _("memory"),
    "low": _("lower than expected"), "high": _("higher than expected"),
    "email": _("e-mail"), "slack": _("Slack"),
    "database": _("database"), "staging": _("staged pages"), "models": _("models"),
    "broker": _("task queue files"),
    "listening": _("listening outside recommendations"), "recommended": _("listening to recommendations"),
    "feedback": _("likes and skips"), "feed": _("source values"),
    "beat_dead": _("Celery Beat has stopped"), "switched_off": _("the schedule is disabled"),
    "worker_gone": _("no worker is processing tasks"),
    "not_taken": _("the task was sent, but no worker took it"),
    "scheduler_dead": _("start-pipeline has stopped"),
    "process_gone": _("its process has ended"), "too_long": _("it takes too long"),
    "silent": _("it has stopped sending heartbeats"),
    "no_schedule": _("it has no schedule"), "entry_missing": _("its entry has been deleted or renamed"),
    "solar_schedule": _("solar schedules are not supported"),
    "never_matches": _("no date in the next nine years matches its crontab"),
    "interval_too_long": _("its interval is longer than 366 days"),
    "expired": _("it has expired, or it expires before it is due"),
    "runs_once": _("its schedule runs once only"),
    "warning": _("Warning"), "critical": _("Critical"), "notice": _("Notice"),
}  # fmt: skip
# Labels of the facts listed below a message; translated in the context "number".
LABELS: Final = {
    "age_seconds": _("Age"), "age_hours": _("Age"), "age_days": _("Age"), "due_at": _("Due"),
    "next_due_at": _("Next run due"), "slot": _("Scheduled time"),
    "error": _("Error"), "error_kind": _("Error type"),
    "reason": _("Reason"), "stage": _("Stage"), "heartbeat_at": _("Last heartbeat"),
    "last_seen_at": _("Last heartbeat"), "started_at": _("Started"), "running_seconds": _("Running for"),
    "limit": _("Limit"), "limit_minutes": _("Limit"), "limit_hours": _("Limit"), "limit_days": _("Limit"),
    "limit_share": _("Limit"), "length": _("Waiting tasks"), "brought_in_at": _("Last import"),
    "newest_at": _("Newest row"), "free_share": _("Free"), "free_bytes": _("Free space"), "path": _("Path"),
    "failures": _("Consecutive failures"), "failing_since_at": _("Failing since"),
    "measure": _("Metric"), "resource": _("Data"), "value": _("Value"), "median": _("Median"),
    "mad": _("Median absolute deviation"), "low": _("Lower limit"), "high": _("Upper limit"),
    "mean": _("Mean"), "n": _("Sample size"), "verdict": _("Result"), "version": _("Version"),
    "from_version": _("Withdrawn"), "to_version": _("Version now serving"),
    "experiment": _("Experiment"), "causes": _("Causes"), "days": _("Days"),
    "fault": _("Fault"), "training": _("Training"), "run": _("Run"), "host": _("Machine"),
    "hosts": _("Machine"),
    "status": _("Status"), "feature": _("Feature"), "entry": _("Task"),
}  # fmt: skip


def fact_label(name: str) -> str:
    label = LABELS.get(name)
    return pgettext("number", label) if label else name.replace("_", " ").capitalize()


def translate_word(value: str) -> str:
    word = WORDS.get(value)
    return pgettext("fact", word) if word else value


def format_fact(name: str, value: Any, facts: Mapping[str, Any]) -> str:
    """A fact's value as text in the active language. Never raises, because the alert must be sent."""
    if isinstance(value, str):
        line = " ".join(value.split())[:MAX_CHARS]
        return _format_iso_time(line) if name.endswith("_at") else translate_word(line)
    if isinstance(value, list | tuple | dict):
        return ", ".join(format_fact(name, item, facts) for item in value)[:MAX_CHARS]
    if name in IDENTIFIER_FACTS or not _is_amount(value):
        return str(value)[:MAX_CHARS]
    if name in MEASURE_FACTS:
        name = FORMATTED_LIKE.get(str(facts.get("measure", "")), name)
    return format_amount(name.rpartition("_")[2], value)


def format_time(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M %Z")


def format_duration(seconds: float) -> str:
    """A duration in its two largest units: 3 d 4 h, 2 h 15 min, 45 s."""
    if 0 < seconds < 0.1:
        return f"{_format_number(round(1000 * seconds, 1))} ms"
    if seconds < 60:
        return f"{number_format(round(seconds, 1) if 0 < seconds < 10 else round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        rest = round(seconds - 60 * (seconds // 60))
        return f"{int(seconds // 60)} min {rest} s" if minutes < 10 and 0 < rest < 60 else f"{minutes} min"
    if minutes < 48 * 60:
        return _two_units(minutes // 60, "h", minutes % 60, "min")
    hours = round(minutes / 60)
    # In French a day is "jour".
    return _two_units(hours // 24, pgettext("fact", _("d")), hours % 24, "h")


def _format_iso_time(value: str) -> str:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    return format_time(at if at.tzinfo else at.replace(tzinfo=UTC))


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def format_amount(unit: str, value: float) -> str:
    """A value as text with its unit: a duration, bytes or a share."""
    if unit in SECONDS_PER_UNIT:
        return format_duration(value * SECONDS_PER_UNIT[unit])
    if unit == "share":
        return f"{_format_number(100 * value)} %"
    return _format_bytes(value) if unit == "bytes" else _format_number(value)


def _format_number(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 1 else 3
    return number_format(round(value, digits) if digits else round(value), force_grouping=True)


def _format_bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{_format_number(value)} {gettext(unit)}"
        value /= 1000
    return f"{_format_number(value)} {gettext('TB')}"


def _two_units(large: int, unit: str, small: int, rest: str) -> str:
    return f"{large} {unit} {small} {rest}" if small else f"{large} {unit}"


@dataclass(frozen=True)
class MessageTemplate:
    """The texts for one kind of incident.

    Messages use the first subject whose facts all exist, and omit other sentences with missing facts.
    """

    subject: tuple[str, ...]
    what: tuple[str, ...]
    how_bad: tuple[str, ...]
    what_to_do: tuple[str, ...]
