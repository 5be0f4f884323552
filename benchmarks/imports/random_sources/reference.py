"""What must hold after a run, derived only from what the source sent, without code of the product.

A successful run has stored, for each list, exactly the source's state at some moment of the run, except for
rows that it reports as rejected. Any other run reports what is doubtful, invents nothing and deletes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.imports.random_sources.content import LISTS, SESSIONS, USERS, Content, Row
from benchmarks.imports.random_sources.forms import ListForm, identity

# Songs and users by id, sessions by everything that they say.
StoredRows = dict[Any, "StoredRow"]


@dataclass(frozen=True)
class StoredRow:
    """A row of the database. `state` is "current", "missing", "unavailable" or "expired"."""

    content: Any
    state: str

    @property
    def is_available(self) -> bool:
        return self.state in {"current", "missing"}


@dataclass(frozen=True)
class ListFacts:
    received: int = 0
    total: int = 0
    rejected: int = 0
    missing: int = 0
    expired: int = 0
    duplicates: int = 0
    corrections: int = 0
    unknown_fields: int = 0
    open_rejections: int = 0


@dataclass(frozen=True)
class RunFacts:
    status: str
    error: str
    error_kind: str
    summary: str
    lists: dict[str, ListFacts]
    incidents: frozenset[str] | None  # kinds of the open ones; None if the run was not reviewed


@dataclass
class DayRecord:
    """One day: what the source held, what was stored before and after, what was reported.

    Attributes:
        versions: the states of the source that may be stored.
        history: everything that was ever sent, in the form in which it is stored.
        is_only_run: nothing was written between `before` and the run.
    """

    versions: list[Content]
    forms: dict[str, ListForm]
    before: dict[str, StoredRows]
    after: dict[str, StoredRows]
    run: RunFacts
    history: dict[str, set[Any]] = field(default_factory=lambda: {name: set() for name in LISTS})
    is_only_run: bool = True


def find_problems(day: DayRecord) -> list[str]:
    """Violations as sentences; empty if everything holds."""
    problems = list(_problems_of_any_run(day))
    run = day.run
    if run.status == "succeeded":
        problems += [problem for name in LISTS for problem in _problems_of_success(day, name)]
        still_open = [kind for kind in run.incidents or () if kind.startswith("run")]
        problems += [f"succeeded, but {kind} is open" for kind in still_open]
    elif run.status == "partial":
        problems += _problems_of_doubt(day, "run_partial")
    elif run.status in {"refused", "failed"}:
        problems += _problems_of_doubt(day, f"run_{run.status}")
        problems += [
            f"{run.status}, but {name} changed" for name in LISTS if day.before[name] != day.after[name]
        ]
    else:
        problems.append(f"ended as {run.status}")
    return problems


def freeze(name: str, row: Row) -> tuple[Any, Any]:
    """The key under which a row is stored, and its content, as in `StoredRows`."""
    content = tuple(
        (field_name, _frozen(value)) for field_name, value in sorted(row.items()) if field_name != "uid"
    )
    return (content if name == SESSIONS else row["id"]), content


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


def _problems_of_any_run(day: DayRecord) -> Iterator[str]:
    for name in LISTS:
        gone = len(day.before[name].keys() - day.after[name].keys())
        # An edited session replaces the stored one, under the same listener and time.
        if gone and name != SESSIONS:
            yield f"{gone} stored {name} disappeared"
        if gone and len(day.after[name]) < len(day.before[name]):
            yield f"{gone} stored {name} disappeared"
        sent = day.history[name]
        invented = [one.content for one in day.after[name].values() if one.content not in sent]
        if invented:
            yield f"{len(invented)} {name} hold what the source never sent: {invented[0]}"


def _problems_of_doubt(day: DayRecord, incident: str) -> Iterator[str]:
    run = day.run
    if not run.error or not run.error_kind:
        yield f"{run.status} without a reason"
    if run.incidents is not None and incident not in run.incidents:
        yield f"{run.status} without the incident {incident}"
    for name in LISTS:
        for key, row in day.before[name].items():
            after = day.after[name].get(key)
            if after is None:
                continue
            if row.is_available and not after.is_available:
                yield f"{run.status}, but a row of {name} was taken away"
                break
            if row.state == "current" and after.state != "current":
                yield f"{run.status}, but a row of {name} counts as {after.state}"
                break


def _problems_of_success(day: DayRecord, name: str) -> list[str]:
    """The violations for the moment of the run with the fewest."""
    facts = day.run.lists.get(name)
    if facts is None:
        return [f"succeeded without a report of {name}"]
    contents = _index_contents(day, name)
    found = [list(_differences(day, name, version, facts, contents)) for version in day.versions]
    return min(found, key=len)


@dataclass
class _Expected:
    """What must be stored of one list at one moment.

    Attributes:
        readable: the rows, each with the contents that it had during the run.
        refused: what the source sent for rows that must be refused.
        refused_keys: their keys: an older state of them may be stored.
        damaged: how many of the readable rows lost something.
    """

    readable: dict[Any, set[Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    refused_keys: set[Any] = field(default_factory=set)
    damaged: int = 0


def _expect(day: DayRecord, name: str, version: Content, contents: dict[Any, set[Any]]) -> _Expected:
    form, users, expected = day.forms[name], day.after[USERS].keys(), _Expected()
    for row in version.rows[name]:
        wanted = form.expect(row)
        if wanted is None or (name == SESSIONS and wanted["user_id"] not in users):
            expected.refused.add(repr(form.write(row)))
            expected.refused_keys.add(row["id"] if name != SESSIONS else (row["user_id"], row["created_at"]))
            continue
        expected.damaged += wanted != {key: value for key, value in row.items() if key != "uid"}
        expected.readable[freeze(name, wanted)[0]] = contents[identity(name, row)]
    return expected


def _differences(
    day: DayRecord, name: str, version: Content, facts: ListFacts, contents: dict[Any, set[Any]]
) -> Iterator[str]:
    expected, after = _expect(day, name, version, contents), day.after[name]
    readable = expected.readable
    current = {key: row.content for key, row in after.items() if row.state == "current"}
    lost = readable.keys() - current.keys()
    if lost and not _is_named_as_short(day.run, facts):
        yield f"{len(lost)} of {len(readable)} {name} of the source are not current: {next(iter(lost))}"
    wrong = [key for key in readable.keys() & current.keys() if current[key] not in readable[key]]
    if wrong:
        yield f"{len(wrong)} {name} are stored otherwise: {current[wrong[0]]} for {readable[wrong[0]]}"
    stale = [
        key
        for key in current.keys() - readable.keys()
        if _key_of(name, current[key]) not in expected.refused_keys
    ]
    if stale:
        yield f"{len(stale)} stored {name} are current, but the source does not hold them: {stale[0]}"
    yield from _unnamed_differences(day, name, expected, facts)


def _unnamed_differences(day: DayRecord, name: str, expected: _Expected, facts: ListFacts) -> Iterator[str]:
    """Differences between source and tables that the run does not report."""
    if _is_named_as_short(day.run, facts):
        # Rows that were not sent cannot be named one by one.
        return
    refused = len(expected.refused)
    if min(facts.rejected, facts.open_rejections) < refused:
        kept = f"{facts.open_rejections} kept"
        yield f"{facts.rejected} rejected and {kept} {name} for {refused} refused rows"
    if facts.corrections + facts.unknown_fields < expected.damaged:
        yield f"{facts.corrections} corrections of {name} for {expected.damaged} damaged rows"
    after = day.after[name].values()
    absent = _count_keys(name, day.before[name].values()) - _count_keys(name, after, "current")
    if day.is_only_run and facts.missing + facts.expired < absent.total():
        yield f"{facts.missing} missing {name} for {absent.total()} stored rows that did not come"


def _is_named_as_short(run: RunFacts, facts: ListFacts) -> bool:
    """Whether the summary says that the list is shorter than the source reports, as it is every day."""
    return facts.total > facts.received and f"{facts.total:,}".replace(",", " ") in run.summary


def _count_keys(name: str, rows: Iterable[StoredRow], state: str = "") -> Counter[Any]:
    """Rows by the key that the source gives them: available ones, or those of one state."""
    return Counter(
        _key_of(name, row.content) for row in rows if (row.state == state if state else row.is_available)
    )


def _index_contents(day: DayRecord, name: str) -> dict[Any, set[Any]]:
    """By a row's identity, what may be stored of it: its content at any moment of the run."""
    contents: dict[Any, set[Any]] = {}
    for version in day.versions:
        for row in version.rows[name]:
            expected = day.forms[name].expect(row)
            if expected is not None:
                contents.setdefault(identity(name, row), set()).add(freeze(name, expected)[1])
    return contents


def _key_of(name: str, content: Any) -> Any:
    values = dict(content)
    return values["id"] if name != SESSIONS else (values["user_id"], values["created_at"])
