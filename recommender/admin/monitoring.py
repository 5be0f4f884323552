"""What the loop sees: drift week by week, engagement day by day, and songs that listeners place elsewhere."""

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin, computed_once
from recommender.engine.experiments.decision_rules import format_evidence_ratio
from recommender.models import Cluster, DriftReport, EngagementDay, SongEvidence

MAX_VERSIONS_SHOWN: Final = 5  # of a song: a month
OWN_WEEKS_TEXT: Final = (
    "each one's week against their own eight weeks before: sqrt(JSD - mean JSD of shuffled weeks) "
    "over the version's clusters."
)
COMPARISON_TEXTS: Final = {
    "songs": "The week's new songs against those the version learnt from: where they fall among the "
    "clusters, and how far from the nearest one. Population stability index; the limit is what chance "
    "exceeds once in a hundred.",
    "listening": f"What listeners played by themselves, {OWN_WEEKS_TEXT}",
    "recommended": f"What listeners played of their lists, {OWN_WEEKS_TEXT}",
    "feedback": "Likes, listens and refusals, each listener's week against their own eight weeks before: "
    "sqrt(JSD - mean JSD of shuffled weeks).",
    "feed": "The source's audio features against those of the songs that were there.",
}
CONSEQUENCE_TEXTS: Final = {
    "songs": "An alarm opens an incident and calls for a full retrain, once a month at most.",
    "listening": "An alarm opens an incident and calls for a full retrain, once a month at most.",
    "recommended": "It follows from what was offered: an alarm opens an incident, and never a retrain.",
    "feedback": "An alarm opens an incident, and never a retrain.",
    "feed": "A fault of the source: an incident, and never a retrain.",
}


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnlyAdmin):
    list_display = ("week", "kind_label", "result", "share_of_limit", "main_cause", "sample_size", "version")
    list_filter = ("kind", "drifted", "alarm", "week")
    list_select_related = ("version",)
    list_before_template = "admin/recommender/about_drift.html"
    when_empty = (
        "The loop looks at each week on the Monday after it, once a model serves. "
        "To look now: python manage.py checkdrift"
    )
    change_form_before_template = "admin/recommender/drift.html"
    readonly_fields = ("p_value", "effect_text", "limit_text")
    fieldsets = (
        ("Where it was looked at", {"fields": (("version", "week"),)}),
        ("As it is stored", {"classes": ["collapse"],
                             "fields": (("n", "listeners"), ("effect_text", "limit_text"), "p_value",
                                        "causes", "season")}),
    )  # fmt: skip

    @display(description="What", ordering="kind")
    def kind_label(self, report: DriftReport) -> str:
        return report.get_kind_display().capitalize()

    @display(description="Found", label={"Alarm": "danger", "Drifted": "warning", "As usual": "default"})
    def result(self, report: DriftReport) -> str:
        return drift_result(report)

    @display(description="Of the limit", ordering="effect")
    def share_of_limit(self, report: DriftReport) -> str:
        # Rounded down: what is short of the limit must not read as 100 %.
        return f"{int(100 * report.effect / report.limit)} %" if report.limit else "too little was played"

    @display(description="Sample", ordering="n")
    def sample_size(self, report: DriftReport) -> int:
        return report.n

    @display(description="What moved most")
    def main_cause(self, report: DriftReport) -> str:
        cause = report.causes[0] if report.causes else None
        return f"{cause_name(cause)}: {format_points(cause)}" if cause else "-"

    @display(description="Effect")
    def effect_text(self, report: DriftReport) -> str:
        return f"{report.effect:.3f}"

    @display(description="Limit")
    def limit_text(self, report: DriftReport) -> str:
        return f"{report.limit:.3f}"

    @display(description="Chance of it where nothing has moved (p)")
    def p_value(self, report: DriftReport) -> str:
        return "not asked" if report.p is None else f"{report.p:.4f}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        report = DriftReport.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        context = {**(extra_context or {}), "drift": drift_report_context(report) if report else None}
        return super().change_view(request, object_id, form_url, context)


def drift_report_context(report: DriftReport) -> dict[str, Any]:
    """What the page of a report shows."""
    return {
        "headline": _headline(report),
        "how": COMPARISON_TEXTS[report.kind],
        "next": CONSEQUENCE_TEXTS[report.kind],
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
    return "Alarm" if report.alarm else "Drifted" if report.drifted else "As usual"


def cause_name(cause: dict[str, Any], *, all_clusters: bool = False) -> str:
    """What moved: clusters by name, or a part of the songs or of what was said."""
    clusters = [one["name"] for one in cause.get("clusters", ())]
    if not clusters:
        return str(cause["name"])
    shown = clusters if all_clusters else clusters[:1]
    rest = len(clusters) - len(shown) + cause.get("others", 0)
    return "; ".join(shown) + (f" and {rest} more" if rest else "")


def format_points(cause: dict[str, Any]) -> str:
    """How its share changed, such as +16.0 points."""
    return f"{100 * cause['change']:+.1f} points"


def _headline(report: DriftReport) -> str:
    what, week = report.get_kind_display().capitalize(), f"the week of {report.week}"
    if not report.limit:
        return f"{what} in {week}: too little to tell."
    share = report.effect / report.limit
    if not report.drifted:
        reached = (
            "the limit is reached, but chance might do so"
            if share >= 1
            else f"{int(100 * share)} % of the limit"
        )
        return f"{what} in {week} was as usual: {reached}."
    alarm = " It is an alarm." if report.alarm else " One week alone is no alarm."
    return f"{what} in {week} has drifted, {share:.1f} times as far as the limit.{alarm}"


@admin.register(EngagementDay)
class EngagementDayAdmin(ReadOnlyAdmin):
    list_display = (
        "day",
        "version",
        "lists",
        "listeners",
        "engaged_per_list",
        "reactions",
        "recommended_and_organic_plays",
        "final",
    )
    list_filter = ("final", "day", "version")
    list_select_related = ("version",)
    list_before_template = "admin/recommender/about_engagement.html"
    when_empty = "Counted every day, once lists are asked for, by the API or under “Try a listener”."
    readonly_fields = (
        "engaged_per_list",
        "deviation",
        "engaged_within_24_hours",
        "deviation_within_24_hours",
    )
    fieldsets = (
        (None, {"fields": (("day", "version", "final"), ("lists", "listeners"))}),
        (
            "What listeners made of it",
            {"fields": (("engaged_per_list", "deviation"),
                        ("engaged_within_24_hours", "deviation_within_24_hours"),
                        ("likes", "listens"), ("skips", "dislikes"))},
        ),
        ("Played that day", {"fields": (("recommended_plays", "organic_plays"),)}),
    )  # fmt: skip

    @display(description="Engaged songs a list", ordering="engaged")
    def engaged_per_list(self, day: EngagementDay) -> str:
        return f"{day.engaged:.2f}" if day.lists else "-"

    @display(description="Standard deviation over listeners")
    def deviation(self, day: EngagementDay) -> str:
        return f"{day.engaged_deviation:.2f}" if day.lists else "-"

    @display(description="Within 24 hours of a list")
    def engaged_within_24_hours(self, day: EngagementDay) -> str:
        return "not read in yet" if day.early is None else f"{day.early:.2f}"

    @display(description="Standard deviation of that")
    def deviation_within_24_hours(self, day: EngagementDay) -> str:
        return "-" if day.early is None else f"{day.early_deviation:.2f}"

    @display(description="Likes / listens / skips")
    def reactions(self, day: EngagementDay) -> str:
        return f"{day.likes} / {day.listens} / {day.skips}" if day.lists else "-"

    @display(description="Plays: offered / own")
    def recommended_and_organic_plays(self, day: EngagementDay) -> str:
        return f"{day.recommended_plays} / {day.organic_plays}"


class MovedFilter(admin.SimpleListFilter):
    title = "what came of it"
    parameter_name = "moved"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Moved"), ("no", "Stays, for now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes":
            return queryset.exclude(before=F("after"))
        return queryset.filter(before=F("after")) if self.value() else queryset


@admin.register(SongEvidence)
class SongEvidenceAdmin(ReadOnlyAdmin):
    list_display = ("song", "cluster_change", "explanation", "margin_text", "version")
    list_filter = (MovedFilter, "version")
    search_fields = ("=song__id", "song__name")
    search_help_text = "A song's id, or a part of its name"
    list_select_related = ("song", "version")
    list_before_template = "admin/recommender/about_opinions.html"
    when_empty = (
        "The next version hears what listeners liked, skipped or called the wrong style, and uses it where "
        "votes that were held out agree."
    )
    # By key: of a version's own order, the newest first, a minus would make the oldest first.
    ordering = ("-version_id", "margin")
    fields: ClassVar = [("song", "version"), "cluster_change", "explanation", "margin_text"]
    readonly_fields = ("cluster_change", "explanation", "margin_text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SongEvidence]:
        return _with_cluster_names(super().get_queryset(request))

    @display(description="Cluster", ordering="after")
    @computed_once
    def cluster_change(self, evidence: Any) -> SafeString:
        return render_to_string("admin/recommender/place.html", {"evidence": evidence})

    @display(description="Why", ordering="listeners")
    def explanation(self, evidence: SongEvidence) -> str:
        return explain_assignment(evidence)

    @display(description="Sure by", ordering="margin")
    def margin_text(self, evidence: SongEvidence) -> str:
        return f"{evidence.margin:.0%}"


def song_evidence_for(song: int) -> list[SongEvidence]:
    """What the last versions with an opinion of the song made of it, the newest first."""
    rows = SongEvidence.objects.filter(song=song).select_related("version").order_by("-version_id")
    found = list(_with_cluster_names(rows)[:MAX_VERSIONS_SHOWN])
    for evidence in found:
        evidence.told = explain_assignment(evidence)  # type: ignore[attr-defined]
    return found


def explain_assignment(evidence: SongEvidence) -> str:
    """Such as "moved: 14 listeners, odds 9.0 : 1"."""
    people = f"{evidence.listeners} listener{'' if evidence.listeners == 1 else 's'}"
    odds = format_evidence_ratio(abs(evidence.log_odds))
    if evidence.before != evidence.after:
        return f"moved: {people}, odds {odds}"
    # Too few or too unsure; or votes that were held out did not agree.
    elsewhere = f"odds {odds} for another cluster, " if evidence.log_odds > 0 else ""
    return f"stays: {people}, {elsewhere}not enough to move it"


def _with_cluster_names(rows: QuerySet[SongEvidence]) -> QuerySet[SongEvidence]:
    clusters = Cluster.objects.filter(version=OuterRef("version"))
    named_rows: QuerySet[SongEvidence] = rows.annotate(
        by_sound=Subquery(clusters.filter(number=OuterRef("before")).values("name")),
        by_ear=Subquery(clusters.filter(number=OuterRef("after")).values("name")),
    )
    return named_rows
