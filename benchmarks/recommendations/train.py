"""Cost of a full training, compared with ALS; K-means compared with scikit-learn's."""

import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Final

from benchmarks.recommendations.kmeans import measure as measure_kmeans
from benchmarks.report import Finding, Report
from benchmarks.workspace import ROOT, MeasurementFailed, Workspace, temporary_workspace

MAX_CPU_SECONDS: Final = 55.0
MAX_MEMORY: Final = 1_800.0  # MB, of all processes
MAX_KMEANS_RATIO: Final = 1.1  # of scikit-learn's MiniBatchKMeans
MAX_INERTIA_RATIO: Final = 1.01  # of full KMeans's
ALS_MISSING: Final = (
    "Skipped: implicit is not installed. To compare with it, install in a separate environment:\n"
    "  pip install --require-hashes -r requirements.lock && pip install implicit"
)


@dataclass(frozen=True)
class Plan:
    """The size of the database, and the number of points for K-means."""

    songs: int = 200_000
    listeners: int = 20_000
    plays: int = 1_000_000
    points: int = 1_000_000


def measure(plan: Plan) -> Report:
    """Measure a full `retrain`, K-means alone, and ALS on the same plays."""
    report = Report(asdict(plan))
    with temporary_workspace() as workspace:
        try:
            _measure_retrain(workspace, plan, report)
            _measure_kmeans(plan, report)
        except MeasurementFailed as error:
            report.is_broken = True
            report.notes.append(f"Failed: {error}")
    return report


def _measure_retrain(workspace: Workspace, plan: Plan, report: Report) -> None:
    workspace.environment["DATABASE_NAME"] = str(workspace.folder / "train.db")
    world = (str(plan.songs), str(plan.listeners), str(plan.plays))
    _print_progress(f"generating {world[0]} songs, {world[1]} listeners, {world[2]} plays")
    workspace.run_python(str(ROOT / "manage.py"), "migrate", "-v", "0")
    workspace.run_python("-m", "benchmarks.populate.catalogue", *world)
    _print_progress("retrain")
    ours = workspace.measure_module("benchmarks.recommendations.retrain_run")
    head = f"retrain, {plan.songs} songs x {plan.listeners} listeners, {plan.plays} plays"
    report.findings += [
        Finding(f"{head}: CPU seconds", f"{ours['cpu_seconds']:.1f} s", "-", "-", ours["cpu_seconds"],
                MAX_CPU_SECONDS, unit=" s"),
        Finding(f"{head}: peak memory", f"{ours['peak_memory'] / 1e6:.0f} MB", "-", "-",
                ours["peak_memory"] / 1e6, MAX_MEMORY, unit=" MB"),
    ]  # fmt: skip
    if find_spec("implicit") is None:
        report.notes.append(ALS_MISSING)
        return
    _print_progress("ALS on the same plays")
    peer = workspace.measure_module("benchmarks.recommendations.als_fit")
    report.notes.append(
        f"implicit ALS (64 factors, 15 iterations) on the same plays: {peer['cpu_seconds']:.1f} CPU s; "
        f"{peer['peak_memory'] / 1e6:.0f} MB. The full retrain, which also trains twice, tunes, evaluates, "
        f"names clusters and writes the artifact, takes {ours['cpu_seconds'] / peer['cpu_seconds']:.2f} "
        "times as many."
    )


def _measure_kmeans(plan: Plan, report: Report) -> None:
    _print_progress(f"K-means on {plan.points} x 32")
    figures = measure_kmeans(n=plan.points)
    time_ratio = figures["seconds"] / figures["minibatch_seconds"]
    inertia_ratio = figures["inertia"] / figures["full_inertia"]
    report.findings += [
        Finding(
            f"K-means, {plan.points} x 32: time / MiniBatchKMeans", f"{figures['seconds']:.1f} s",
            f"{figures['minibatch_seconds']:.1f} s", f"{time_ratio:.2f}", time_ratio, MAX_KMEANS_RATIO,
        ),
        Finding(
            f"K-means, {plan.points} x 32: inertia / full KMeans", f"{figures['inertia']:.4g}",
            f"{figures['full_inertia']:.4g}", f"{inertia_ratio:.4f}", inertia_ratio, MAX_INERTIA_RATIO,
        ),
    ]  # fmt: skip


def _print_progress(text: str) -> None:
    sys.stderr.write(f"train: {text} ...\n")
