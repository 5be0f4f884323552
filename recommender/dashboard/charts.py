"""Charts and headline of the models page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q, Subquery
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n
from django.utils.translation import ngettext

from ingestion.models import Song
from recommender.dashboard.formatting import format_count, format_decimal, format_signed
from recommender.dashboard.plots import (
    LIMIT_COLOUR,
    PRIMARY_COLOUR,
    SECONDARY_COLOUR,
    SERIES_COLOURS,
    Plot,
    chart_json,
    chart_series,
    limit_series,
)
from recommender.dashboard.tables import read_metric
from recommender.engine.identity.text import fold_words
from recommender.models import (
    Cluster,
    DriftReport,
    EngagementDay,
    Experiment,
    ModelVersion,
    Promotion,
    TrainingRun,
)
from recommender.registry.cohesion import COHESION_NAMES, compare_cohesion, far_less_cohesive
from recommender.serving.reasons.cluster_name_translation import (
    cluster_name,
    family_name,
    stored_cluster_name,
)

MAX_VERSIONS: Final = 26  # half a year of weeks
MAX_CHART_DAYS: Final = 90
CHAMPION_ROLES: Final = (
    ModelVersion.Role.CHAMPION.value, ModelVersion.Role.RETIRED.value, ModelVersion.Role.WITHDRAWN.value
)  # fmt: skip
SMALL_POINT, LARGE_POINT = 2, 5
THIRD_COLOUR: Final = "#0d9488"
MAX_EXAMPLES: Final = 3
MAX_MAP_LABELS: Final = 10  # more would cover each other
# In hexadecimal, because a variable of the style sheet can't get an opacity.
MAP_COLOURS: Final = ("#7c3aed", *SERIES_COLOURS[1:])
MAP_OPACITY: Final = "88"  # bubbles cover each other
NO_MODEL_HINT: Final = _n("There is no model yet. Train one: python manage.py retrain")
BASELINE_NAMES: Final = {"popularity": _n("popular songs"), "rp3beta": _n("RP3beta")}
NO_MEASURE_HINT: Final = _n("No version has been evaluated yet; the next training evaluates its version.")


@dataclass(frozen=True)
class VersionHistory:
    newest: list[ModelVersion]  # oldest first, at most `MAX_VERSIONS`
    champion: ModelVersion | None  # may be older than all of `newest`
    last_training_status: str  # status of the newest training run; empty if there was no training


def recent_versions() -> VersionHistory:
    newest = ModelVersion.objects.order_by("-id").values("pk")[:MAX_VERSIONS]
    wanted = Q(pk__in=newest) | Q(role=ModelVersion.Role.CHAMPION)
    training = Subquery(TrainingRun.objects.order_by("-id").values("status")[:1])
    found = list(ModelVersion.objects.filter(wanted).annotate(last_training=training).order_by("id"))
    champion = next((one for one in found if one.role == ModelVersion.Role.CHAMPION), None)
    return VersionHistory([*found[-MAX_VERSIONS:]], champion, (found[0].last_training or "") if found else "")


def recent_drift_reports() -> list[DriftReport]:
    newest = DriftReport.objects.select_related("version").order_by("-week")[: 4 * MAX_CHART_DAYS // 7]
    return list(newest)[::-1]


def versions_plot(versions: Sequence[ModelVersion]) -> Plot:
    quality = [read_metric(version, version.method) for version in versions]
    baseline = [read_metric(version, "popularity") for version in versions]
    counts = [(version.metrics.get(version.method) or {}).get("listeners", 0) for version in versions]
    listeners = [count for count in counts if count]
    rp3beta = [read_metric(version, "rp3beta") for version in versions]
    # Versions that were champion have a larger point.
    sizes = [LARGE_POINT if version.role in CHAMPION_ROLES else SMALL_POINT for version in versions]
    series = [
        chart_series(_("Version (large point: was champion)"), quality, PRIMARY_COLOUR, pointRadius=sizes),
        *([chart_series("RP3beta", rp3beta, THIRD_COLOUR)] if any(rp3beta) else []),
        chart_series(_("Popularity baseline"), baseline, SECONDARY_COLOUR),
    ]
    return Plot(
        _n("Quality"),
        "line",
        chart_json([version.label for version in versions], series) if any(quality) else "",
        caption=_(
            "How well a version's first 20 songs match what listeners played in the following week. "
            "Higher is better; a useful version stays above both baselines: popular songs, and RP3beta, "
            "which follows listeners of the same songs."
        ),
        formula=_(
            "NDCG@20 on the week after the training data, mean over listeners. It counts plays that "
            "listeners chose themselves, and leaves out songs that they had played before."
        ),
        window=_describe_versions(versions),
        sample=_describe_range(listeners),
        rows=[
            [_("Version"), _("Role"), "NDCG@20", _("Popularity baseline"), _("Silhouette")],
            *(
                [
                    version.label,
                    version.get_role_display(),
                    format_decimal(ours, 4),
                    format_decimal(floor, 4),
                    format_decimal(version.cohesion.get("silhouette_macro"), 3),
                ]
                for version, ours, floor in zip(versions, quality, baseline, strict=True)
            ),
        ],
        empty=_(NO_MEASURE_HINT if versions else NO_MODEL_HINT),
    )


def cohesion_plot(newest: Sequence[ModelVersion]) -> Plot:
    versions = [version for version in newest if version.cohesion]
    silhouette = [version.cohesion.get("silhouette_macro") for version in versions]
    explained = [version.cohesion.get("r2") for version in versions]
    series = [
        chart_series(_("Silhouette, mean over clusters"), silhouette, PRIMARY_COLOUR),
        chart_series("R²", explained, SECONDARY_COLOUR),
    ]
    return Plot(
        _n("Cluster cohesion"),
        "line",
        chart_json([version.label for version in versions], series) if versions else "",
        caption=_(
            "How clearly the clusters are separated (silhouette) and how much of the difference "
            "between songs they explain (R²). Both are better when higher; a sudden fall means that the "
            "clusters no longer fit."
        ),
        formula=_(
            "Simplified silhouette: (b - a) / max(a, b), where a is the distance from a song to the "
            "center of its cluster and b the distance to the nearest other center. R² = 1 - inertia / "
            "total sum of squares."
        ),
        window=_describe_versions(versions),
        sample=_("{songs} songs in the newest version.").format(songs=format_count(versions[-1].n_songs))
        if versions
        else "",
        rows=[
            [_("Version"), _("Silhouette"), "R²"],
            *(
                [version.label, format_decimal(one, 3), format_decimal(other, 3)]
                for version, one, other in zip(versions, silhouette, explained, strict=True)
            ),
        ],
        empty=_(NO_MEASURE_HINT if newest else NO_MODEL_HINT),
    )


def recent_engagement_days(now: datetime) -> list[EngagementDay]:
    since = (now - timedelta(days=MAX_CHART_DAYS)).date()
    rows = EngagementDay.objects.filter(day__gte=since, lists__gt=0)
    return list(rows.select_related("version").order_by("day"))


def engagement_plot(rows: Sequence[EngagementDay]) -> Plot:
    days = sorted({row.day for row in rows})
    labels = sorted({row.version.label for row in rows})
    found = {(row.version.label, row.day): row.engaged for row in rows}
    series = [
        chart_series(
            label, [found.get((label, day)) for day in days], SERIES_COLOURS[place % len(SERIES_COLOURS)]
        )
        for place, label in enumerate(labels)
    ]
    return Plot(
        _n("Engagement"),
        "line",
        chart_json([f"{day:%m-%d}" for day in days], series) if rows else "",
        caption=_(
            "How many songs of a served list listeners engaged with: liked, listened to, or played "
            "within 7 days. Higher is better. The values of the last 7 days can still rise."
        ),
        formula=_(
            "Engaged songs per list: the mean of each listener's lists, then the mean over listeners. "
            "Lists without engagement count as 0; a song that was skipped or disliked is not engaged. Lists "
            "that an experiment interleaved count for the champion of that day."
        ),
        window=_("The last {days} days.").format(days=MAX_CHART_DAYS),
        sample=_("{lists} lists.").format(lists=format_count(sum(row.lists for row in rows))),
        rows=[
            [_("Day"), _("Version"), _("Lists"), _("Listeners"), _("Engaged songs per list"), _("Complete")],
            *(
                [
                    f"{row.day}",
                    row.version.label,
                    format_count(row.lists),
                    format_count(row.listeners),
                    format_decimal(row.engaged, 2),
                    _("yes") if row.final else _("not yet"),
                ]
                for row in rows[::-1]
            ),
        ],
        empty=_(
            "No served list has been counted yet. The daily task counts lists the day after they were "
            "served. Apps request lists with GET /api/v1/users/{id}/recommendations/."
        ),
    )


def drift_plot(reports: Sequence[DriftReport]) -> Plot:
    """A chart of each kind of drift by week, as multiples of its limit."""
    weeks = sorted({report.week for report in reports})
    kinds = [kind for kind in DriftReport.Kind if any(report.kind == kind for report in reports)]
    found = {(report.kind, report.week): report for report in reports}
    # The line of the limit has its own colour.
    colours = [colour for colour in SERIES_COLOURS if colour != LIMIT_COLOUR]
    series = [
        chart_series(
            _(str(kind.label)).capitalize(),
            [_share_of_limit(found.get((kind, week))) for week in weeks],
            colours[place],
        )
        for place, kind in enumerate(kinds)
    ]
    series.append(limit_series(_("Limit"), 1.0, len(weeks)))
    return Plot(
        _n("Drift"),
        "line",
        chart_json([f"{week}" for week in weeks], series) if reports else "",
        caption=_(
            "How far each week's listening, feedback and new songs differ from those of the weeks "
            "before, as a multiple of the limit. A week at 1 or above has drifted, unless chance explains "
            "the difference. Two such weeks in a row, or one week at 2 or above, open an incident."
        ),
        formula=_(
            "Effect divided by its limit. Listening and feedback: sqrt(JSD - mean JSD of shuffled "
            "weeks), with JSD the Jensen-Shannon divergence between each listener's week and their own eight "
            "weeks before. New songs: population stability index. A week has drifted if this multiple is at "
            "least 1 and the p-value at most 0.01."
        ),
        window=_("The last {weeks} weeks that were checked.").format(weeks=len(weeks))
        if len(weeks) > 1
        else _("One week."),
        sample=_("{n} plays, reactions and new songs in the latest week.").format(
            n=format_count(sum(report.n for report in reports if report.week == weeks[-1]))
        )
        if weeks
        else "",
        rows=[
            [_("Week"), _("Kind"), _("Effect"), _("Limit"), _("p-value"), _("Result"), _("Largest change")],
            *(
                [
                    f"{report.week}",
                    report.get_kind_display().capitalize(),
                    format_decimal(report.effect, 3),
                    format_decimal(report.limit, 3),
                    format_decimal(report.p, 4),
                    _("alarm") if report.alarm else _("drifted") if report.drifted else _("no drift"),
                    _main_cause(report),
                ]
                for report in reports[::-1]
            ),
        ],
        empty=_("No week has been checked yet. Check the last week now: python manage.py checkdrift"),
    )


def map_plot(version: ModelVersion | None) -> Plot:
    clusters = sorted(version.clusters.order_by("-size"), key=_family_order) if version else []
    placed = [cluster for cluster in clusters if "map" in cluster.facts]
    largest = max((cluster.size for cluster in placed), default=1)
    songs = _song_names(
        song for cluster in clusters for song in cluster.facts.get("examples", [])[:MAX_EXAMPLES]
    )
    named = {cluster.pk for cluster in sorted(placed, key=lambda one: -one.size)[:MAX_MAP_LABELS]}
    bubbles = [
        dict(zip("xy", cluster.facts["map"], strict=True), name=cluster_name(cluster),
             label=cluster_name(cluster) if cluster.pk in named else "",
             url=reverse("cluster", args=[cluster.number]), examples=_examples(cluster, songs),
             r=round(3 + 22 * (cluster.size / largest) ** 0.5, 1))
        for cluster in placed
    ]  # fmt: skip
    # A family's colour is the same in every language.
    families = sorted({_family(cluster) for cluster in placed})
    hues = {name: MAP_COLOURS[place % len(MAP_COLOURS)] for place, name in enumerate(families)}
    colours = [f"{hues[_family(cluster)]}{MAP_OPACITY}" for cluster in placed]
    data = json.dumps({"datasets": [{"label": _("Clusters"), "data": bubbles, "backgroundColor": colours}]})
    return Plot(
        _n("Clusters"),
        "bubble",
        data if placed else "",
        caption=_(
            "Each bubble is a cluster of the champion; clusters with similar songs are close to each "
            "other, and a larger bubble holds more songs. The colour stands for the style family. Point at a "
            "bubble to read its name and songs; click it for its page."
        ),
        formula=_(
            "The cluster centers on their first two principal components. The area of a bubble grows "
            "with its number of songs."
        ),
        window=_("Version {version}.").format(version=version.label) if version else "",
        sample=_("{clusters} clusters of {songs} songs.").format(
            clusters=len(clusters), songs=format_count(sum(cluster.size for cluster in clusters))
        ),
        rows=[
            [_("Cluster"), _("Songs"), _("Plays"), _("Examples"), _("Style family")],
            *(
                [
                    format_html(
                        '<a class="mm-link" href="{}">{}</a>',
                        reverse("cluster", args=[cluster.number]),
                        cluster_name(cluster),
                    ),
                    format_count(cluster.size),
                    format_count(cluster.plays),
                    "; ".join(_examples(cluster, songs)),
                    family_name(cluster),
                ]
                for cluster in clusters
            ),
        ],
        empty=_("The champion has no map. The next training computes one.") if version else _(NO_MODEL_HINT),
    )


def _examples(cluster: Cluster, songs: Mapping[int, str]) -> list[str]:
    return [songs[pk] for pk in cluster.facts.get("examples", [])[:MAX_EXAMPLES] if pk in songs]


def _family(cluster: Cluster) -> str:
    return str(cluster.facts.get("family", {}).get("name", ""))


def _family_order(cluster: Cluster) -> str:
    """Where the family stands among others in the reader's language, whatever its accents."""
    return fold_words(family_name(cluster))


def build_headline(
    versions: VersionHistory,
    experiments: Sequence[Experiment],
    promotions: Sequence[Promotion],
    drift: Sequence[DriftReport],
    now: datetime,
) -> str:
    champion = versions.champion
    if champion is None:
        return _("No model serves yet; listeners get popular songs. Train one: python manage.py retrain")
    parts = [_since(champion, promotions, now)]
    running = next(
        (one for one in experiments if one.status == "running" and one.kind != Experiment.Kind.HOLDBACK), None
    )
    if running is not None and running.started_at is not None:
        day = (now - running.started_at).days + 1
        parts.append(
            _("an A/A test is on day {day}").format(day=day)
            if running.kind == Experiment.Kind.AA_TEST
            else _("the experiment with {challenger} is on day {day}").format(
                challenger=running.challenger, day=day
            )
        )
    if versions.last_training_status in {"failed", "abandoned"}:
        parts.append(_("the last training failed"))
    if any(report.alarm and report.at >= now - timedelta(days=7) for report in drift):
        parts.append(_("a drift alarm was raised this week"))
    return _("; ").join(parts) + "."


def model_warnings(versions: VersionHistory) -> list[str]:
    champion, found = versions.champion, []
    if champion is not None:
        for name, pair in (champion.metrics.get("against_baselines") or {}).items():
            # The summary says how it compares, also if it is not clearly better.
            if pair["high"] < 0:
                numbers = _("NDCG@20 {difference} ({low} to {high}, {n} listeners)").format(
                    difference=format_signed(pair["difference"], 4), low=format_signed(pair["low"], 4),
                    high=format_signed(pair["high"], 4), n=format_count(pair["listeners"]),
                )  # fmt: skip
                text = _("{version} was worse than {baseline} on the week before it was trained: {numbers}.")
                found.append(
                    text.format(version=champion.label, baseline=_(BASELINE_NAMES[name]), numbers=numbers)
                )
        for version in versions.newest[-1:]:
            pairs = compare_cohesion(version, champion) if version != champion else {}
            if far_less_cohesive(pairs):
                values = ", ".join(
                    _("{measure} {own} against {other}").format(
                        measure=_(COHESION_NAMES[name]),
                        own=format_decimal(own, 3),
                        other=format_decimal(other, 3),
                    )
                    for name, (own, other) in pairs.items()
                )
                found.append(
                    _(
                        "The clusters of {version} are far less cohesive than those of {champion}: {values}. "
                        "It is not tested."
                    ).format(version=version.label, champion=champion.label, values=values)
                )
    return found


def _since(champion: ModelVersion, promotions: Sequence[Promotion], now: datetime) -> str:
    # Newest first, and every change of the champion has a row.
    last = next((one for one in promotions if one.promoted_id == champion.pk), None)
    days = (now - (last.at if last else champion.created_at)).days
    if days < 1:
        return _("{version} has been the champion since today").format(version=champion.label)
    return ngettext(
        "{version} has been the champion for {days} day",
        "{version} has been the champion for {days} days",
        days,
    ).format(version=champion.label, days=days)


def _describe_versions(versions: Sequence[ModelVersion]) -> str:
    return (
        _("The last {versions} versions.").format(versions=len(versions))
        if len(versions) > 1
        else _("One version.")
    )


def _describe_range(listeners: Sequence[int]) -> str:
    if not listeners:
        return ""
    fewest, most = format_count(min(listeners)), format_count(max(listeners))
    return (
        _("{fewest} listeners each.").format(fewest=fewest)
        if fewest == most
        else _("{fewest} to {most} listeners each.").format(fewest=fewest, most=most)
    )


def _main_cause(report: DriftReport) -> str:
    cause: Mapping[str, Any] | None = report.causes[0] if report.causes else None
    if cause is None:
        return ""
    clusters = [stored_cluster_name(one["name"]) for one in cause.get("clusters", ())]
    names = ", ".join(clusters) or cause.get("name", "")
    return _("{names}: {points} points").format(names=names, points=format_signed(100 * cause["change"], 1))


def _share_of_limit(report: DriftReport | None) -> float | None:
    return None if report is None or not report.limit else report.effect / report.limit


def _song_names(songs: Iterable[int]) -> dict[int, str]:
    return {song.pk: str(song) for song in Song.objects.filter(pk__in=set(songs)).only("name", "artist")}
