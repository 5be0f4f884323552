"""Admin of drift reports, engagement by day, and feedback on clusters."""

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin, computed_once
from recommender.dashboard.formatting import format_count, format_percent
from recommender.engine.experiments.evidence import format_evidence_ratio
from recommender.models import Cluster, DriftReport, EngagementDay, SongEvidence

MAX_VERSIONS_SHOWN: Final = 5  # about a month
OWN_WEEKS_TEXT: Final = "Each listener's week is compared with their own eight weeks before."
EFFECT_FORMULA: Final = (
    "Effect: sqrt(JSD - mean JSD of shuffled weeks), with JSD the Jensen-Shannon divergence"
)
COMPARISON_TEXTS: Final = {
    "songs": "The week's new songs are compared with the songs that the version was trained on: in which "
    "clusters they are, and how far they are from the nearest center.",
    "listening": f"Plays that listeners chose themselves, by cluster. {OWN_WEEKS_TEXT}",
    "recommended": f"Plays that followed a recommendation, by cluster. {OWN_WEEKS_TEXT}",
    "feedback": f"Shares of likes, listens, skips and dislikes. {OWN_WEEKS_TEXT}",
    "feed": "The audio features of the source's new songs are compared with those of older songs.",
}
FORMULA_TEXTS: Final = {
    "songs": "Effect: population stability index. Limit: exceeded by chance in one week of a hundred.",
    "listening": f"{EFFECT_FORMULA} between the shares of the version's clusters.",
    "recommended": f"{EFFECT_FORMULA} between the shares of the version's clusters.",
    "feedback": f"{EFFECT_FORMULA} between the shares of likes, listens, skips and dislikes.",
    "feed": "",
}
ALARM_WITH_RETRAIN: Final = (
    "An alarm opens an incident. It also starts a full retrain, which finds new clusters, at most once a "
    "month."
)
CONSEQUENCE_TEXTS: Final = {
    "songs": ALARM_WITH_RETRAIN,
    "listening": ALARM_WITH_RETRAIN,
    "recommended": "An alarm opens an incident but starts no retraining: the model's own "
    "recommendations caused this change.",
    "feedback": "An alarm opens an incident. It does not start a retraining.",
    "feed": "An alarm mostly means a faulty source, so it opens an incident and starts no retraining.",
}


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnlyAdmin):
    list_display = ("week", "kind_label", "result", "share_of_limit", "main_cause", "sample_size", "version")
    list_filter = ("kind", "drifted", "alarm", "week")
    list_select_related = ("version",)
    list_before_template = "admin/recommender/about_drift.html"
    when_empty = (
        "Each week is checked on the Monday after it, if there is a champion. "
        "To check the last week now: python manage.py checkdrift"
    )
    change_form_before_template = "admin/recommender/drift.html"
    readonly_fields = ("p_value", "effect_text", "limit_text")
    fieldsets = (
        ("Model and week", {"fields": (("version", "week"),)}),
        ("Stored details", {"classes": ["collapse"],
                             "fields": (("n", "listeners"), ("effect_text", "limit_text"), "p_value",
                                        "causes", "season")}),
    )  # fmt: skip

    @display(description="Kind", ordering="kind")
    def kind_label(self, report: DriftReport) -> str:
        return report.get_kind_display().capitalize()

    @display(description="Result", label={"Alarm": "danger", "Drifted": "warning", "No drift": "default"})
    def result(self, report: DriftReport) -> str:
        return drift_result(report)

    @display(description="Effect / limit", ordering="effect")
    def share_of_limit(self, report: DriftReport) -> str:
        return _limit_percent(report) if report.limit else "not enough data"

    @display(description="Sample size", ordering="n")
    def sample_size(self, report: DriftReport) -> str:
        return format_count(report.n)

    @display(description="Largest change")
    def main_cause(self, report: DriftReport) -> str:
        cause = report.causes[0] if report.causes else None
        return f"{cause_name(cause)}: {format_points(cause)}" if cause else "-"

    @display(description="Effect")
    def effect_text(self, report: DriftReport) -> str:
        return f"{report.effect:.3f}"

    @display(description="Limit")
    def limit_text(self, report: DriftReport) -> str:
        return f"{report.limit:.3f}"

    @display(description="p-value (probability of such an effect without drift)")
    def p_value(self, report: DriftReport) -> str:
        return "not computed" if report.p is None else f"{report.p:.4f}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        report = DriftReport.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        context = {**(extra_context or {}), "drift": drift_report_context(report) if report else None}
        return super().change_view(request, object_id, form_url, context)


def drift_report_context(report: DriftReport) -> dict[str, Any]:
    return {
        "headline": _headline(report),
        "comparison": COMPARISON_TEXTS[report.kind],
        "formula": FORMULA_TEXTS[report.kind],
        "consequence": CONSEQUENCE_TEXTS[report.kind],
        "sample": _describe_sample(report),
        "report": report,
        "causes": [
            {
                "name": cause_name(cause, all_clusters=True),
                "points": format_points(cause),
                "songs": cause.get("songs", []),
            }
            for cause in report.causes
        ],
        "likeness": report.season.get("likeness"),
    }


def drift_result(report: DriftReport) -> str:
    return "Alarm" if report.alarm else "Drifted" if report.drifted else "No drift"


def cause_name(cause: dict[str, Any], *, all_clusters: bool = False) -> str:
    """The name of a drift's cause: the changed clusters, group of songs or kind of feedback."""
    clusters = [one["name"] for one in cause.get("clusters", ())]
    if not clusters:
        return str(cause["name"])
    shown = clusters if all_clusters else clusters[:1]
    rest = len(clusters) - len(shown) + cause.get("others", 0)
    return "; ".join(shown) + (f" and {rest} more" if rest else "")


def format_points(cause: dict[str, Any]) -> str:
    return f"{100 * cause['change']:+.1f} points"


def _describe_sample(report: DriftReport) -> str:
    noun = {"songs": "new song", "feedback": "reaction"}.get(report.kind, "play")
    text = f"{format_count(report.n)} {noun}{'' if report.n == 1 else 's'}"
    if report.kind == "songs":
        return f"{text}."
    return f"{text} of {format_count(report.listeners)} listener{'' if report.listeners == 1 else 's'}."


def _limit_percent(report: DriftReport) -> str:
    # Rounded down: an effect just below the limit must not read 100 %.
    return format_percent(int(100 * report.effect / report.limit) / 100)


def _headline(report: DriftReport) -> str:
    what = f"{report.get_kind_display().capitalize()} in the week of {report.week}"
    if not report.limit:
        return f"{what}: not enough data."
    share = report.effect / report.limit
    if not report.drifted:
        reached = (
            "the limit is reached, but chance may be the reason"
            if share >= 1
            else f"{_limit_percent(report)} of the limit"
        )
        return f"{what}: no drift ({reached})."
    alarm = "Alarm." if report.alarm else "A single week above the limit raises no alarm; two in a row do."
    return f"{what}: drift, {share:.1f} times the limit. {alarm}"


@admin.register(EngagementDay)
class EngagementDayAdmin(ReadOnlyAdmin):
    list_display = (
        "day",
        "version",
        "list_count",
        "listener_count",
        "engaged_per_list",
        "reactions",
        "recommended_and_organic_plays",
        "is_final",
    )
    list_filter = ("final", "day", "version")
    list_select_related = ("version",)
    list_before_template = "admin/recommender/about_engagement.html"
    when_empty = (
        "The daily task counts lists the day after they were served. Apps request lists through the API."
    )
    readonly_fields = (
        "engaged_per_list",
        "deviation",
        "engaged_within_24_hours",
        "deviation_within_24_hours",
    )
    fieldsets = (
        (None, {"fields": (("day", "version", "final"), ("lists", "listeners"))}),
        (
            "Reactions to the lists",
            {"fields": (("engaged_per_list", "deviation"),
                        ("engaged_within_24_hours", "deviation_within_24_hours"),
                        ("likes", "listens"), ("skips", "dislikes"))},
        ),
        ("Plays of that day", {"fields": (("recommended_plays", "organic_plays"),)}),
    )  # fmt: skip

    # Headings are shorter than the fields' labels, because all columns must fit beside the menu.
    @display(description="Lists", ordering="lists")
    def list_count(self, day: EngagementDay) -> str:
        return format_count(day.lists)

    @display(description="Listeners", ordering="listeners")
    def listener_count(self, day: EngagementDay) -> str:
        return format_count(day.listeners)

    @display(description="Final", ordering="final", boolean=True)
    def is_final(self, day: EngagementDay) -> bool:
        return day.final

    @display(description="Engaged per list", ordering="engaged")
    def engaged_per_list(self, day: EngagementDay) -> str:
        return f"{day.engaged:.2f}" if day.lists else "-"

    @display(description="Standard deviation over listeners")
    def deviation(self, day: EngagementDay) -> str:
        return f"{day.engaged_deviation:.2f}" if day.lists else "-"

    @display(description="Engaged songs per list within 24 hours")
    def engaged_within_24_hours(self, day: EngagementDay) -> str:
        return "not imported yet" if day.early is None else f"{day.early:.2f}"

    @display(description="Standard deviation within 24 hours")
    def deviation_within_24_hours(self, day: EngagementDay) -> str:
        return "-" if day.early is None else f"{day.early_deviation:.2f}"

    @display(description="Likes / listens / skips")
    def reactions(self, day: EngagementDay) -> str:
        return f"{day.likes} / {day.listens} / {day.skips}" if day.lists else "-"

    @display(description="Listed / own plays")
    def recommended_and_organic_plays(self, day: EngagementDay) -> str:
        return f"{day.recommended_plays} / {day.organic_plays}"


class MovedFilter(admin.SimpleListFilter):
    title = "cluster"
    parameter_name = "moved"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Moved"), ("no", "Not moved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes":
            return queryset.exclude(before=F("after"))
        return queryset.filter(before=F("after")) if self.value() else queryset


@admin.register(SongEvidence)
class SongEvidenceAdmin(ReadOnlyAdmin):
    list_display = ("song", "cluster_change", "explanation", "margin_text", "version")
    list_filter = (MovedFilter, "version")
    search_fields = ("=song__id", "song__name")
    search_help_text = "Song ID or part of a name"
    list_select_related = ("song", "version")
    list_before_template = "admin/recommender/about_song_evidence.html"
    when_empty = (
        "The next training uses likes, skips and “wrong style” to correct the clusters of songs, if this "
        "predicts held-out feedback better."
    )
    # By ID: versions are ordered newest first by default, and "-version" would reverse that.
    ordering = ("-version_id", "margin")
    fields: ClassVar = [("song", "version"), "cluster_change", "explanation", "margin_text"]
    readonly_fields = ("cluster_change", "explanation", "margin_text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SongEvidence]:
        return _with_cluster_names(super().get_queryset(request))

    @display(description="Cluster", ordering="after")
    @computed_once
    def cluster_change(self, evidence: Any) -> SafeString:
        return render_to_string("admin/recommender/cluster_change.html", {"evidence": evidence})

    @display(description="Reason", ordering="listeners")
    def explanation(self, evidence: SongEvidence) -> str:
        return explain_assignment(evidence)

    @display(description="Margin over the next cluster", ordering="margin")
    def margin_text(self, evidence: SongEvidence) -> str:
        return format_percent(round(evidence.margin, 2))


def song_evidence_for(song: int) -> list[SongEvidence]:
    """The latest versions' evidence on the song, newest first, each row with the attribute `explanation`."""
    rows = SongEvidence.objects.filter(song=song).select_related("version").order_by("-version_id")
    found = list(_with_cluster_names(rows)[:MAX_VERSIONS_SHOWN])
    for evidence in found:
        evidence.explanation = explain_assignment(evidence)  # type: ignore[attr-defined]
    return found


def explain_assignment(evidence: SongEvidence) -> str:
    """A sentence such as "moved: 14 listeners, evidence 9.0 : 1 for the new cluster"."""
    people = f"{evidence.listeners} listener{'' if evidence.listeners == 1 else 's'}"
    ratio = format_evidence_ratio(abs(evidence.log_odds))
    if evidence.before != evidence.after:
        return f"moved: {people}, evidence {ratio} for the new cluster"
    # The song stayed: too few listeners, too small a margin, or the held-out votes disagree.
    elsewhere = f"evidence {ratio} for another cluster, " if evidence.log_odds > 0 else ""
    return f"not moved: {people}, {elsewhere}not enough to move it"


def _with_cluster_names(rows: QuerySet[SongEvidence]) -> QuerySet[SongEvidence]:
    clusters = Cluster.objects.filter(version=OuterRef("version"))
    named_rows: QuerySet[SongEvidence] = rows.annotate(
        before_name=Subquery(clusters.filter(number=OuterRef("before")).values("name")),
        after_name=Subquery(clusters.filter(number=OuterRef("after")).values("name")),
    )
    return named_rows
