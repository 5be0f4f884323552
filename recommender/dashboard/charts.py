"""The loop as people look at it: versions over time, clusters as a map, drift, the ledger."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

from django.db.models import Q, Subquery
from django.utils.safestring import SafeString

from ingestion.models import Song
from recommender.dashboard.tables import read_metric
from recommender.models import DriftReport, EngagementDay, Experiment, ModelVersion, Promotion, TrainingRun

MAX_VERSIONS: Final = 26  # half a year of weeks
MAX_CHART_DAYS: Final = 90
MAX_EXAMPLES: Final = 3
PRIMARY_COLOUR, SECONDARY_COLOUR, TERTIARY_COLOUR, LIMIT_COLOUR = (
    "var(--color-primary-600)",
    "#94a3b8",
    "#0d9488",
    "#d97706",
)
# As many as a chart has lines at most: versions that served within 90 days, kinds of drift.
SERIES_COLOURS: Final = (
    PRIMARY_COLOUR,
    SECONDARY_COLOUR,
    TERTIARY_COLOUR,
    LIMIT_COLOUR,
    "#be185d",
    "#2563eb",
    "#65a30d",
    "#7c2d12",
)


@dataclass(frozen=True)
class Plot:
    """A chart with all that a reader needs to trust it.

    Attributes:
        data: as Chart.js takes it, as JSON; empty: there is nothing to draw yet.
        formula, window: what is drawn, of which time.
        sample: of how many it is made.
        rows: the same numbers as a table; the first row holds the headings.
        empty: what to do for there to be something.
    """

    title: str
    kind: str
    data: str
    formula: str
    window: str
    sample: str
    rows: list[list[str]] = field(default_factory=list)
    empty: str = ""

    @property
    def table(self) -> SafeString:
        """The rows as HTML: a template's loops took a third of the page's time."""
        lines = []
        for place, row in enumerate(self.rows):
            first, *rest = map(escape, row)
            scope, cell = ("row", "td") if place else ("col", 'th scope="col"')
            cells = "".join(f"<{cell}>{one}</{cell[:2]}>" for one in rest)
            lines.append(f'<tr><th scope="{scope}">{first}</th>{cells}</tr>')
        return SafeString("".join(lines))


@dataclass(frozen=True)
class VersionHistory:
    """The versions that the page tells of.

    Attributes:
        newest: oldest first, at most `VERSIONS`.
        champion: which may be older than these.
        last_training: how it ended; empty: there was none.
    """

    newest: list[ModelVersion]
    champion: ModelVersion | None
    last_training_status: str


def recent_versions() -> VersionHistory:
    """The newest versions and the champion, in one query."""
    newest = ModelVersion.objects.order_by("-id").values("pk")[:MAX_VERSIONS]
    wanted = Q(pk__in=newest) | Q(role=ModelVersion.Role.CHAMPION)
    training = Subquery(TrainingRun.objects.order_by("-id").values("status")[:1])
    found = list(ModelVersion.objects.filter(wanted).annotate(last_training=training).order_by("id"))
    champion = next((one for one in found if one.role == ModelVersion.Role.CHAMPION), None)
    return VersionHistory([*found[-MAX_VERSIONS:]], champion, (found[0].last_training or "") if found else "")


def recent_drift_reports() -> list[DriftReport]:
    """Of the last weeks that were looked at, the oldest first."""
    return list(DriftReport.objects.select_related("version").order_by("-week")[: 4 * MAX_CHART_DAYS // 7])[
        ::-1
    ]


def versions_plot(versions: Sequence[ModelVersion]) -> Plot:
    """NDCG of each version and of popularity, on the week that the version had not seen."""
    ours = [read_metric(version, version.method) for version in versions]
    floor = [read_metric(version, "popularity") for version in versions]
    counts = [(version.metrics.get(version.method) or {}).get("listeners", 0) for version in versions]
    listeners = [count for count in counts if count]
    sets = [
        _chart_series("Version", ours, PRIMARY_COLOUR),
        _chart_series("Popularity", floor, SECONDARY_COLOUR),
    ]
    return Plot(
        "Quality", "line", _chart_json([version.label for version in versions], sets) if versions else "",
        "NDCG@20 on what listeners played by themselves in the week after the listening it was measured "
        "with: songs heard before left out, each listener one value.",
        f"The last {MAX_VERSIONS} versions.",
        f"{min(listeners, default=0)} to {max(listeners, default=0)} listeners each",
        [["Version", "Role", "NDCG@20", "Popularity", "Clusters hold together"],
         *([version.label, version.get_role_display(), _format_number(one, 4), _format_number(other, 4),
            _format_number(version.cohesion.get("silhouette_macro"), 3)]
           for version, one, other in zip(versions, ours, floor, strict=True))],
        "There is no model yet. Train one: python manage.py retrain",
    )  # fmt: skip


def cohesion_plot(newest: Sequence[ModelVersion]) -> Plot:
    """Macro silhouette of each version's clusters, of those that were measured."""
    versions = [version for version in newest if version.cohesion]
    macro = [version.cohesion.get("silhouette_macro") for version in versions]
    explained = [version.cohesion.get("r2") for version in versions]
    sets = [
        _chart_series("Silhouette, mean over clusters", macro, PRIMARY_COLOUR),
        _chart_series("R2", explained, SECONDARY_COLOUR),
    ]
    return Plot(
        "Cohesion",
        "line",
        _chart_json([version.label for version in versions], sets) if versions else "",
        "Silhouette by centres: (b - a) / max(a, b), a the distance to the own centre, b to the next one; "
        "R2 = 1 - inertia / total sum of squares.",
        f"The last {MAX_VERSIONS} versions.",
        f"{sum(one.n_songs for one in versions[-1:])} songs in the newest",
        [
            ["Version", "Silhouette", "R2"],
            *(
                [version.label, _format_number(one, 3), _format_number(other, 3)]
                for version, one, other in zip(versions, macro, explained, strict=True)
            ),
        ],
        "There is no model yet. Train one: python manage.py retrain",
    )


def recent_engagement_days(now: datetime) -> list[EngagementDay]:
    """What was counted of each of the last days, the oldest first."""
    since = (now - timedelta(days=MAX_CHART_DAYS)).date()
    rows = EngagementDay.objects.filter(day__gte=since, lists__gt=0)
    return list(rows.select_related("version").order_by("day"))


def engagement_plot(rows: Sequence[EngagementDay]) -> Plot:
    """Engaged songs a list, day by day, of each version that served."""
    days = sorted({row.day for row in rows})
    labels = sorted({row.version.label for row in rows})
    found = {(row.version.label, row.day): row.engaged for row in rows}
    sets = [
        _chart_series(
            label, [found.get((label, day)) for day in days], SERIES_COLOURS[place % len(SERIES_COLOURS)]
        )
        for place, label in enumerate(labels)
    ]
    return Plot(
        "Engagement",
        "line",
        _chart_json([f"{day:%m-%d}" for day in days], sets) if rows else "",
        "Songs of a list that were liked, listened to, or played within 7 days, and not refused; the mean of "
        "the listeners' means. Zero counts as zero; the last 7 days still grow.",
        f"The last {MAX_CHART_DAYS} days, by the champion of the day; "
        "what a test mixed into its lists is in it.",
        f"{sum(row.lists for row in rows)} lists",
        [
            ["Day", "Version", "Lists", "Listeners", "Engaged songs a list", "Final"],
            *(
                [
                    f"{row.day}",
                    row.version.label,
                    str(row.lists),
                    str(row.listeners),
                    _format_number(row.engaged, 2),
                    "yes" if row.final else "not yet",
                ]
                for row in rows[::-1]
            ),
        ],
        "Nobody was served a list yet, or the daily look has not run: it counts what came of them.",
    )


def drift_plot(reports: Sequence[DriftReport]) -> Plot:
    """The effect of each week's look at drift, as a share of what would be drift."""
    weeks = sorted({report.week for report in reports})
    kinds = [kind for kind in DriftReport.Kind if any(report.kind == kind for report in reports)]
    found = {(report.kind, report.week): report for report in reports}
    # The limit has its own.
    colours = [colour for colour in SERIES_COLOURS if colour != LIMIT_COLOUR]
    sets = [
        _chart_series(
            kind.label, [_share_of_limit(found.get((kind, week))) for week in weeks], colours[place]
        )
        for place, kind in enumerate(kinds)
    ]
    sets.append(
        {**_chart_series("Drift", [1.0] * len(weeks), LIMIT_COLOUR), "borderDash": [6, 4], "pointRadius": 0}
    )
    return Plot(
        "Drift",
        "line",
        _chart_json([f"{week}" for week in weeks], sets) if reports else "",
        "Effect over its limit: sqrt(JSD - mean JSD of the permutations), each listener's week against their "
        "own eight weeks before. At 1 and p <= .01 the week has drifted; two such weeks, or one at 2, are an "
        "alarm.",
        f"The last {len(weeks)} weeks that were looked at.",
        f"{sum(report.n for report in reports[-3:])} plays in the latest",
        [
            ["Week", "What", "Effect", "Limit", "p", "Drifted", "What moved most"],
            *(
                [
                    f"{report.week}",
                    report.get_kind_display(),
                    _format_number(report.effect, 3),
                    _format_number(report.limit, 3),
                    _format_number(report.p, 4),
                    "ALARM" if report.alarm else "yes" if report.drifted else "no",
                    _main_cause(report),
                ]
                for report in reports[::-1]
            ),
        ],
        "No week was looked at yet: python manage.py checkdrift",
    )


def map_plot(version: ModelVersion | None) -> Plot:
    """The champion's clusters in two dimensions: near where their songs are alike."""
    clusters = list(version.clusters.order_by("-size")) if version else []
    placed = [cluster for cluster in clusters if "map" in cluster.facts]
    largest = max((cluster.size for cluster in placed), default=1)
    bubbles = [
        dict(zip("xy", cluster.facts["map"], strict=True), name=cluster.name,
             r=round(3 + 22 * (cluster.size / largest) ** 0.5, 1))
        for cluster in placed
    ]  # fmt: skip
    data = json.dumps({"datasets": [{"label": "Clusters", "data": bubbles, "backgroundColor": "#7c3aed66"}]})
    songs = _song_names(
        song for cluster in clusters for song in cluster.facts.get("examples", [])[:MAX_EXAMPLES]
    )
    return Plot(
        "Clusters", "bubble", data if placed else "",
        "The clusters' middles on their two main axes (principal components); a bubble's area is its songs.",
        f"Version {version.label}." if version else "No version.",
        f"{len(clusters)} clusters of {sum(cluster.size for cluster in clusters)} songs",
        [["Cluster", "Songs", "Plays", "For example"],
         *([cluster.name, str(cluster.size), str(cluster.plays),
            "; ".join(songs[pk] for pk in cluster.facts.get("examples", [])[:MAX_EXAMPLES] if pk in songs)]
           for cluster in clusters)],
        "No champion has a map yet: the next training draws it." if version
        else "There is no model yet. Train one: python manage.py retrain",
    )  # fmt: skip


def build_headline(
    versions: VersionHistory,
    tests: Sequence[Experiment],
    ledger: Sequence[Promotion],
    drift: Sequence[DriftReport],
    now: datetime,
) -> str:
    """How the loop stands, in a sentence."""
    champion = versions.champion
    if champion is None:
        return "No model serves yet: popularity does. Train one with python manage.py retrain."
    parts = [f"{champion.label} has served {_since(champion, ledger, now)}"]
    test = next((one for one in tests if one.status == "running" and one.kind != "anchor"), None)
    if test is not None and test.started_at is not None:
        parts.append(f"{test.challenger} is on day {(now - test.started_at).days + 1} of its test against it")
    if versions.last_training_status in {"failed", "abandoned"}:
        parts.append("the last training failed")
    if any(report.alarm and report.at >= now - timedelta(days=7) for report in drift):
        parts.append("listening has drifted")
    return "; ".join(parts) + "."


def _since(champion: ModelVersion, ledger: Sequence[Promotion], now: datetime) -> str:
    """Its last promotion, which is the ledger's first line, for every change of champion stands there."""
    last = next((line for line in ledger if line.promoted_id == champion.pk), None)
    days = (now - (last.at if last else champion.created_at)).days
    return "since today" if days < 1 else f"for {days} day{'s' if days > 1 else ''}"


def _main_cause(report: DriftReport) -> str:
    cause: Mapping[str, Any] | None = report.causes[0] if report.causes else None
    if cause is None:
        return ""
    names = ", ".join(one["name"] for one in cause.get("clusters", ())) or cause.get("name", "")
    return f"{names} {cause['change']:+.0%}"


def _share_of_limit(report: DriftReport | None) -> float | None:
    return None if report is None or not report.limit else report.effect / report.limit


def _song_names(songs: Iterable[int]) -> dict[int, str]:
    return {song.pk: str(song) for song in Song.objects.filter(pk__in=set(songs)).only("name", "artist")}


def _chart_series(label: str, values: Sequence[float | None], colour: str) -> dict[str, Any]:
    data = [None if value is None else round(value, 4) for value in values]
    return {"label": label, "data": data, "borderColor": colour, "backgroundColor": colour, "spanGaps": True}


def _chart_json(labels: list[str], sets: list[dict[str, Any]]) -> str:
    return json.dumps({"labels": labels, "datasets": sets})


def _format_number(value: float | None, digits: int) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"
