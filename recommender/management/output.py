"""Terminal output: training progress, tables of metrics and clusters."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from ingestion.management.progress import TimedStages
from recommender.models import ModelVersion, TrainingRun
from recommender.training.evaluation import NOT_MEASURED
from recommender.training.train import TrainingProgress

logger = logging.getLogger(__name__)

METRIC_COLUMNS: Final = ("ndcg", "recall", "coverage", "diversity")
COLUMN_WIDTH: Final = 14
MAX_CLUSTERS: Final = 12
POPULARITY: Final = "popularity, because there is no model"  # in the place of a version's label


class TerminalProgress(TrainingProgress):
    """Logs each stage of a training, and says how long it still takes."""

    def __init__(self, stages: TimedStages) -> None:
        self._stages = stages

    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        logger.info("stage training=%s name=%r", run.pk, name)
        self._stages.begin(name, step, steps)


def metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    if not metrics:
        return NOT_MEASURED
    # Other entries are differences between models.
    models = {name: values for name, values in metrics.items() if "recall" in values}
    rows = sorted(models.items(), key=lambda item: -(item[1].get("ndcg") or 0.0))
    lines = ["".join(["model".ljust(COLUMN_WIDTH), *(name.rjust(COLUMN_WIDTH) for name in METRIC_COLUMNS)])]
    lines += [
        "".join([name.ljust(COLUMN_WIDTH), *(_format_cell(values.get(one)) for one in METRIC_COLUMNS)])
        for name, values in rows
    ]
    listeners = rows[0][1].get("listeners", 0)
    return "\n".join(
        [*lines, f"Measured on {listeners} listeners' new songs of the latest week; lists of 20."]
    )


def clusters_text(version: ModelVersion) -> str:
    clusters = list(version.clusters.order_by("-size", "number"))
    lines = [f"{one.number:6}  {one.size:8} songs  {one.shown_name}" for one in clusters[:MAX_CLUSTERS]]
    left = len(clusters) - MAX_CLUSTERS
    return "\n".join(
        [f"{len(clusters)} clusters:", *lines, *([f"        and {left} more"] if left > 0 else [])]
    )


def _format_cell(value: float | None) -> str:
    return ("-" if value is None else f"{value:.4f}").rjust(COLUMN_WIDTH)
