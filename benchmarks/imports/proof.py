"""Random sources that mislead, and killed runs: is every success right, and everything else explained?

Each case is a source of one to three days whose pages are doubled, dropped, reordered, shifted or cut, whose
rows are mistyped, renamed, empty or doubled, and whose totals, times and charsets mislead. The pipeline reads
it over HTTP. A plain reference, which shares no code with the pipeline, then says what may be stored.

A case that fails is repeated with --seed NUMBER --cases 1 --kills 0.
"""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.imports.random_sources.kill_rounds import KillRounds, KillSummary
from benchmarks.report import Finding, Report
from benchmarks.workspace import MeasurementFailed, Workspace, open_postgres, open_sqlite, temporary_workspace
from tests.support.fork_server import run_fork_server
from tests.support.project import Project

MAX_EXAMPLES: Final = 20
QUICK_CASES, QUICK_KILLS = 40, 3
PROGRESS_EVERY: Final = 100


@dataclass(frozen=True)
class Plan:
    cases: int = 2_000
    kills: int = 100
    seed: int = 1
    postgresql: bool = False


def plan_from_arguments(chosen: Any) -> Plan:
    if chosen.quick:
        return Plan(QUICK_CASES, QUICK_KILLS, chosen.seed, chosen.postgresql)
    return Plan(chosen.cases, chosen.kills, chosen.seed, chosen.postgresql)


def measure(plan: Plan) -> Report:
    report = Report(asdict(plan))
    with temporary_workspace() as workspace:
        opener = open_postgres if plan.postgresql else open_sqlite
        with opener(workspace) as databases:
            try:
                if plan.cases:
                    _run_cases(workspace, databases.create_database(), plan, report)
                if plan.kills:
                    _run_kills(workspace, databases.create_database(), plan, report)
            except MeasurementFailed as error:
                report.is_broken = True
                report.notes.append(f"Failed: {error}")
    return report


def _run_cases(workspace: Workspace, database: dict[str, str], plan: Plan, report: Report) -> None:
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    false_alarms: list[str] = []
    for number, case in enumerate(_read_cases(workspace, database, plan), 1):
        statuses.update(case["statuses"])
        if case["problems"]:
            (false_alarms if case["only_false_alarms"] else wrong).append(case["text"])
            print(case["text"], flush=True)
        if number % PROGRESS_EVERY == 0:
            print(f"{number} cases, {len(wrong)} wrong, {len(false_alarms)} false alarms", flush=True)
    runs = sum(statuses.values())
    ended = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    report.findings += [
        _finding("cases in which a run is not what its status says", len(wrong), plan.cases),
        _finding("cases in which a run without a fault did not succeed", len(false_alarms), plan.cases),
    ]
    report.notes += [f"{runs} runs: {ended}.", *wrong[:MAX_EXAMPLES], *false_alarms[:MAX_EXAMPLES]]


def _run_kills(workspace: Workspace, database: dict[str, str], plan: Plan, report: Report) -> None:
    with _open_project(workspace, database) as project:
        summary = KillRounds(project, random.Random(plan.seed)).run(
            plan.kills, lambda text: print(text, flush=True)
        )
    report.findings.append(_finding("wrong rounds with a killed run", _wrong_rounds(summary), summary.rounds))
    ended = ", ".join(f"{count} {status}" for status, count in summary.statuses.most_common())
    kills = f"{summary.kills} kills; {summary.survived} runs ended before theirs"
    reused = f"{summary.resumed} used the pages of a killed run"
    report.notes += [
        f"{kills}; {reused}. The runs after them: {ended}.",
        *summary.problems[:MAX_EXAMPLES],
    ]


def _wrong_rounds(summary: KillSummary) -> int:
    return len({problem.partition(" (")[0] for problem in summary.problems})


@contextmanager
def _open_project(workspace: Workspace, database: dict[str, str]) -> Iterator[Project]:
    environment = {**workspace.environment, **database}
    with ExitStack() as stack:
        fork_server = stack.enter_context(run_fork_server(environment))
        project = Project(environment, workspace.folder, fork_server)
        stack.callback(project.stop)
        yield project


def _read_cases(workspace: Workspace, database: dict[str, str], plan: Plan) -> Iterator[dict[str, Any]]:
    command = [
        sys.executable, "-m", "benchmarks.imports.proof_cases", str(plan.seed), str(plan.cases),
        str(workspace.folder / "staging"),
    ]  # fmt: skip
    errors = Path(workspace.folder / "proof-errors.txt")
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            command, env={**workspace.environment, **database, "LOG_LEVEL": "ERROR"},
            cwd=workspace.folder, stdout=subprocess.PIPE, stderr=log,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None  # noqa: S101
        for line in process.stdout:
            yield orjson.loads(line)
    if process.returncode:
        raise MeasurementFailed(errors.read_text()[-3000:])


def _finding(measure: str, bad: int, of: int) -> Finding:
    return Finding(measure, ours=str(bad), peer=f"of {of}", ratio="", judged=bad, target=0)
