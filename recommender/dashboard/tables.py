"""Tables of models and lists, as people look at them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from recommender.models import Decision, Experiment, ModelVersion, Promotion

ExperimentKind = Experiment.Kind
LEDGER_LIMIT: Final = 20  # lines of the ledger
OUTCOME_SENTENCES: Final = {
    "reject": "{new} was rejected, and {old} stayed.",
    "inconclusive": "{new} did not win, and {old} stayed.",
    "invalid": "The test of {new} against {old} was invalid.",
}
# Name in the stored metrics: heading, and what it means.
METRIC_HEADINGS: Final = {
    "ndcg": ("NDCG@20", "How high the songs stand that were played afterwards; 1 is perfect."),
    "recall": ("Recall@20", "Share of the songs played afterwards that are among the 20."),
    "coverage": ("Coverage", "Share of all songs that anyone is recommended."),
    "diversity": ("Diversity", "How unlike each other the songs of one list are; 0 to 1."),
}
# Name in the stored scores of numbers of clusters: heading, and what it means.
CLUSTER_SCORE_HEADINGS: Final = {
    "likelihood": ("Likelihood", "Mean logarithm of the probability of a song that was played afterwards."),
    "behind": ("Behind the best", "The best number's likelihood less this one's, paired by listener."),
    "error": ("Standard error", "Of that difference, over listeners."),
    "stability": ("Stability", "Adjusted Rand index of two halves of the songs; asked of the nearest alone."),
    "silhouette": ("Silhouette", "Simplified: how much nearer a song's own centre is than the next."),
}


@dataclass(frozen=True)
class TableCell:
    text: str
    best: bool = False


@dataclass(frozen=True)
class LedgerEntry:
    """A line of the ledger as a sentence.

    Attributes:
        by: empty where the reason says it.
        link: to what it rested on; empty where that was not stored.
    """

    at: datetime
    text: str
    reason: str
    by: str
    link: str = ""


@dataclass(frozen=True)
class TableRow:
    name: str
    note: str
    cells: list[TableCell]


def read_metric(version: ModelVersion, model: str, name: str = "ndcg") -> float | None:
    """One stored number; None where it was not measured."""
    value = (version.metrics.get(model) or {}).get(name)
    return float(value) if isinstance(value, int | float) else None


def metrics_table(version: ModelVersion) -> SafeString:
    """The version's model beside its baselines, the best of each column in bold; and how k was chosen."""
    # Among them are other measurements, such as the one against the champion.
    measured = [name for name, values in version.metrics.items() if isinstance(values, Mapping)]
    models = [name for name in measured if read_metric(version, name) is not None]
    columns = {name: [read_metric(version, model, name) for model in models] for name in METRIC_HEADINGS}
    lines = [
        TableRow(model, "", [_metric_cell(values[row], values) for values in columns.values()])
        for row, model in enumerate(models)
    ]
    context = {"headings": METRIC_HEADINGS.values(), "lines": lines, "first": "Model"}
    return render_to_string("recommender/metrics.html", context) + _cluster_choice_table(version)


def compare_versions(versions: Sequence[ModelVersion]) -> list[TableRow]:
    """Versions side by side: a line for each metric and fact, a cell for each version."""
    measured = [
        _metric_row(heading, note, [read_metric(version, version.method, name) for version in versions])
        for name, (heading, note) in METRIC_HEADINGS.items()
    ]
    against = [_ndcg_against_popularity(version) for version in versions]
    facts = [
        TableRow("Songs", "", [TableCell(_format_count(version.n_songs)) for version in versions]),
        TableRow("Listeners", "", [TableCell(_format_count(version.n_listeners)) for version in versions]),
        TableRow("Plays", "", [TableCell(_format_count(version.n_plays)) for version in versions]),
        TableRow("Clusters", "", [TableCell(_format_count(version.n_clusters)) for version in versions]),
        TableRow(
            "Data cut-off", "", [TableCell(f"{version.cut_off:%Y-%m-%d %H:%M}") for version in versions]
        ),
        TableRow("Training", "", [TableCell(f"{version.seconds:.0f} s") for version in versions]),
    ]
    return [
        *measured,
        _metric_row("NDCG against popularity", "Times the popular songs' NDCG.", against),
        *facts,
    ]


def latest_promotions() -> list[Promotion]:
    """Its last lines, the latest first."""
    return list(Promotion.objects.select_related("promoted", "replaced", "decision")[:LEDGER_LIMIT])


def experiments_without_promotion() -> QuerySet[Experiment]:
    """Tests whose challenger did not make it, the latest first."""
    tests = Experiment.objects.filter(outcome__in=OUTCOME_SENTENCES).exclude(kind=ExperimentKind.ANCHOR)
    # Of two equal models none was to win.
    return tests.exclude(kind=ExperimentKind.EQUALS, outcome=Experiment.Outcome.INCONCLUSIVE)[:LEDGER_LIMIT]


def ledger_entries(promotions: Sequence[Promotion], dropped: Iterable[Experiment]) -> list[LedgerEntry]:
    """The ledger in sentences, and between its lines the versions that did not make it; the latest first."""
    lines = [
        LedgerEntry(
            one.at,
            describe_promotion(one),
            one.reason,
            one.by,
            _decision_link(getattr(one, "decision", None)),
        )
        for one in promotions
    ]
    for test in dropped:
        text = OUTCOME_SENTENCES[test.outcome].format(new=test.challenger, old=test.champion)
        link = reverse("admin:recommender_experiment_change", args=[test.pk])
        lines.append(LedgerEntry(test.ended_at or test.created_at, text, test.reason, "", link))
    return sorted(lines, key=lambda line: line.at, reverse=True)[:LEDGER_LIMIT]


def describe_promotion(promotion: Promotion) -> str:
    """One line of the ledger as a sentence."""
    if promotion.replaced is None:
        return f"{promotion.promoted} became the first champion."
    if promotion.rollback:
        return f"{promotion.replaced} was withdrawn, and {promotion.promoted} came back."
    return f"{promotion.promoted} took over from {promotion.replaced}."


def _decision_link(decision: Decision | None) -> str:
    return reverse("admin:recommender_decision_change", args=[decision.pk]) if decision else ""


def items_table(items: Sequence[Mapping[str, Any]]) -> SafeString:
    """A served list's songs with their reasons and propensities."""
    return render_to_string("recommender/items.html", {"items": items})


def _cluster_choice_table(version: ModelVersion) -> SafeString:
    """Why the version has as many clusters as it has, and every number that was tried."""
    told = version.configuration.get("clusters") or {}
    scores = told.get("scores", [])
    lines = [
        TableRow(
            str(score["n_clusters"]),
            "",
            [
                _score_cell(score, name, score["n_clusters"] == told["n_clusters"])
                for name in CLUSTER_SCORE_HEADINGS
            ],
        )
        for score in scores
    ]
    context = {"told": told, "headings": CLUSTER_SCORE_HEADINGS.values(), "lines": lines}
    return render_to_string("recommender/clusters_choice.html", context)


def _format_count(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _ndcg_against_popularity(version: ModelVersion) -> float | None:
    ours, floor = read_metric(version, version.method), read_metric(version, "popularity")
    return ours / floor if ours is not None and floor else None


def _score_cell(score: Mapping[str, Any], name: str, chosen: bool) -> TableCell:
    value = score.get(name)
    return TableCell("-" if value is None else f"{value:.4f}", best=chosen)


def _metric_row(heading: str, note: str, values: list[float | None]) -> TableRow:
    return TableRow(heading, note, [_metric_cell(value, values) for value in values])


def _metric_cell(value: float | None, among: Sequence[float | None]) -> TableCell:
    if value is None:
        return TableCell("not measured")
    best = max(other for other in among if other is not None)
    return TableCell(f"{value:.4f}", best=value == best and len(among) > 1)
