"""Tables of metrics, promotions and served lists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n

from recommender.dashboard.formatting import (
    NOT_MEASURED,
    format_count,
    format_decimal,
    format_ratio,
    stored_text,
)
from recommender.dashboard.stored_sentences import actor_name
from recommender.models import Decision, Experiment, ModelVersion, Promotion

ExperimentKind = Experiment.Kind
MAX_PROMOTIONS: Final = 20
OUTCOME_SENTENCES: Final = {
    "reject": _n("{new} was rejected; {old} stayed champion."),
    "inconclusive": _n("{new} did not win; {old} stayed champion."),
    "invalid": _n("The experiment of {new} against {old} was invalid."),
}
# Key in the stored metrics: heading, explanation.
METRIC_HEADINGS: Final = {
    "ndcg": (
        _n("NDCG@20"),
        _n("How near the top of the list the songs of the following week are; 0 to 1, and 1 is perfect."),
    ),
    "recall": (
        _n("Recall@20"),
        _n("Share of the songs played in the following week that the list of 20 contains; 0 to 1."),
    ),
    "coverage": (
        _n("Coverage"),
        _n("Share of all songs that are recommended to at least one listener; 0 to 1."),
    ),
    "diversity": (_n("Diversity"), _n("How different the songs of one list are from each other; 0 to 1.")),
}
# Key in the stored scores of numbers of clusters: heading, explanation.
CLUSTER_SCORE_HEADINGS: Final = {
    "ndcg": (
        _n("NDCG@20"),
        _n("How near the top of lists drawn with this number of clusters the songs of the latest week are."),
    ),
    # Versions from before lists were drawn for the choice were compared by likelihood.
    "likelihood": (
        _n("Log-likelihood"),
        _n("Mean log-probability of the songs that listeners played in the latest week; higher is better."),
    ),
    "behind": (
        _n("Behind the best"),
        _n("How far it is below the best number of clusters in the first column; mean over listeners."),
    ),
    "error": (_n("Standard error"), _n("Standard error of “Behind the best”, over listeners.")),
    "coverage": (_n("Coverage"), _n("Share of all songs that the drawn lists contain.")),
    "stability": (
        _n("Stability"),
        (
            _n(
                "Whether two random halves of the songs give the same clusters (adjusted Rand index; 1: "
                "identical, 0: by chance). Measured only for numbers of clusters that are close to the best."
            )
        ),
    ),
    "silhouette": (
        _n("Silhouette"),
        _n(
            "Simplified silhouette, -1 to 1: how much closer songs are to their own center than to the next "
            "one."
        ),
    ),
}


@dataclass(frozen=True)
class TableCell:
    text: str
    best: bool = False


@dataclass(frozen=True)
class TableRow:
    name: str
    cells: list[TableCell]


@dataclass(frozen=True)
class PromotionEntry:
    """A change of the champion, or a challenger that was not promoted."""

    at: datetime
    text: str
    reason: SafeString
    by: str  # the actor who decided; empty if the reason names the actor
    link: str = ""  # the stored decision or the experiment; empty if there is none


def read_metric(version: ModelVersion, model: str, name: str = "ndcg") -> float | None:
    value = (version.metrics.get(model) or {}).get(name)
    return float(value) if isinstance(value, int | float) else None


def metric_headings() -> list[tuple[str, str]]:
    """Heading and explanation of each metric, in the active language."""
    return [_translated(texts) for texts in METRIC_HEADINGS.values()]


def _translated(texts: tuple[str, str]) -> tuple[str, str]:
    heading, explanation = texts
    return _(heading), _(explanation)


def metrics_table(version: ModelVersion) -> SafeString:
    """Metrics of the version and its baselines, and of the numbers of clusters tried; best values in bold."""
    # `metrics` holds other measurements too, such as the comparison with the champion.
    measured = [name for name, values in version.metrics.items() if isinstance(values, Mapping)]
    models = [name for name in measured if read_metric(version, name) is not None]
    columns = {name: [read_metric(version, model, name) for model in models] for name in METRIC_HEADINGS}
    rows = [
        TableRow(model, [_metric_cell(values[place], values) for values in columns.values()])
        for place, model in enumerate(models)
    ]
    context = {"headings": metric_headings(), "rows": rows, "first": _("Model"), "label": _("Metrics")}
    return render_to_string("recommender/metrics.html", context) + _cluster_choice_table(version)


def compare_versions(versions: Sequence[ModelVersion]) -> list[TableRow]:
    """One row per metric or fact, one cell per version."""
    measured = [
        _metric_row(_(heading), [read_metric(version, version.method, name) for version in versions])
        for name, (heading, _explanation) in METRIC_HEADINGS.items()
    ]
    against = [ndcg_against_popularity(version) for version in versions]
    best = max((ratio for ratio in against if ratio is not None), default=None)
    facts = {
        _("Songs"): [format_count(version.n_songs) for version in versions],
        _("Listeners"): [format_count(version.n_listeners) for version in versions],
        _("Plays"): [format_count(version.n_plays) for version in versions],
        _("Clusters"): [format_count(version.n_clusters) for version in versions],
        _("Data until (UTC)"): [f"{version.cut_off:%Y-%m-%d %H:%M}" for version in versions],
        _("Training time"): [f"{version.seconds:.0f} s" for version in versions],
    }
    return [
        *measured,
        TableRow(
            _("NDCG / popularity"),
            [
                TableCell(format_ratio(one), one is not None and one == best and len(against) > 1)
                for one in against
            ],
        ),
        *(TableRow(name, [TableCell(text) for text in texts]) for name, texts in facts.items()),
    ]


def latest_promotions() -> list[Promotion]:
    return list(Promotion.objects.select_related("promoted", "replaced", "decision")[:MAX_PROMOTIONS])


def experiments_without_promotion() -> QuerySet[Experiment]:
    found = Experiment.objects.filter(outcome__in=OUTCOME_SENTENCES).exclude(kind=ExperimentKind.HOLDBACK)
    # An A/A test without a difference is the expected end and changes nothing.
    return found.exclude(kind=ExperimentKind.AA_TEST, outcome=Experiment.Outcome.INCONCLUSIVE)[
        :MAX_PROMOTIONS
    ]


def promotion_entries(
    promotions: Sequence[Promotion], without_promotion: Iterable[Experiment]
) -> list[PromotionEntry]:
    entries = [
        PromotionEntry(
            one.at,
            describe_promotion(one),
            stored_text(one.reason),
            actor_name(one.by),
            _decision_link(getattr(one, "decision", None)),
        )
        for one in promotions
    ]
    for experiment in without_promotion:
        text = _(OUTCOME_SENTENCES[experiment.outcome]).format(
            new=experiment.challenger, old=experiment.champion
        )
        link = reverse("admin:recommender_experiment_change", args=[experiment.pk])
        entries.append(
            PromotionEntry(
                experiment.ended_at or experiment.created_at, text, stored_text(experiment.reason), "", link
            )
        )
    return sorted(entries, key=lambda entry: entry.at, reverse=True)[:MAX_PROMOTIONS]


def describe_promotion(promotion: Promotion) -> str:
    if promotion.replaced is None:
        return _("{promoted} became the first champion.").format(promoted=promotion.promoted)
    if promotion.rollback:
        return _("{replaced} was withdrawn; {promoted} is champion again.").format(
            replaced=promotion.replaced, promoted=promotion.promoted
        )
    return _("{promoted} replaced {replaced}.").format(
        promoted=promotion.promoted, replaced=promotion.replaced
    )


def items_table(items: Sequence[Mapping[str, Any]]) -> SafeString:
    return render_to_string("recommender/items.html", {"items": items})


def ndcg_against_popularity(version: ModelVersion) -> float | None:
    ours, baseline = read_metric(version, version.method), read_metric(version, "popularity")
    return ours / baseline if ours is not None and baseline else None


def _decision_link(decision: Decision | None) -> str:
    return reverse("admin:recommender_decision_change", args=[decision.pk]) if decision else ""


def _cluster_choice_table(version: ModelVersion) -> SafeString:
    choice = version.configuration.get("clusters") or {}
    scores = choice.get("scores", [])
    shown = {name for score in scores for name, value in score.items() if value is not None}
    headings = {name: _translated(texts) for name, texts in CLUSTER_SCORE_HEADINGS.items() if name in shown}
    rows = [
        TableRow(
            str(score["n_clusters"]),
            [_score_cell(score, name, score["n_clusters"] == choice["n_clusters"]) for name in headings],
        )
        for score in scores
    ]
    context = {
        "choice": choice, "rule": stored_text(choice.get("rule", "")),
        "headings": headings.values(), "rows": rows, "first": _("Clusters"),
        "label": _("Numbers of clusters that were tried"),
    }  # fmt: skip
    return render_to_string("recommender/clusters_choice.html", context)


def _score_cell(score: Mapping[str, Any], name: str, chosen: bool) -> TableCell:
    value = score.get(name)
    return TableCell("-" if value is None else format_decimal(value, 4), best=chosen)


def _metric_row(heading: str, values: list[float | None]) -> TableRow:
    return TableRow(heading, [_metric_cell(value, values) for value in values])


def _metric_cell(value: float | None, among: Sequence[float | None]) -> TableCell:
    if value is None:
        return TableCell(_(NOT_MEASURED))
    best = max(other for other in among if other is not None)
    return TableCell(format_decimal(value, 4), best=value == best and len(among) > 1)
