"""Admin of drift reports, engagement by day, and feedback on clusters."""

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as _n
from django.utils.translation import ngettext
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin, computed_once
from recommender.dashboard.formatting import (
    format_count,
    format_decimal,
    format_evidence,
    format_percent,
    localize_decimals,
)
from recommender.models import Cluster, DriftReport, EngagementDay, SongEvidence
from recommender.serving.reasons.cluster_name_translation import stored_cluster_name

MAX_VERSIONS_SHOWN: Final = 5  # about a month
OWN_WEEKS_TEXT: Final = _n("Each listener's week is compared with their own eight weeks before.")
EFFECT_FORMULA: Final = _n(
    "Effect: sqrt(JSD - mean JSD of shuffled weeks), with JSD the Jensen-Shannon divergence"
)
COMPARISON_TEXTS: Final = {
    "songs": (
        _n(
            "The week's new songs are compared with the songs that the version was trained on: in which "
            "clusters they are, and how far they are from the nearest center."
        ),
    ),
    "listening": (_n("Plays that listeners chose themselves, by cluster."), OWN_WEEKS_TEXT),
    "recommended": (_n("Plays that followed a recommendation, by cluster."), OWN_WEEKS_TEXT),
    "feedback": (_n("Shares of likes, listens, skips and dislikes."), OWN_WEEKS_TEXT),
    "feed": (_n("The audio features of the source's new songs are compared with those of older songs."),),
}
BY_CLUSTER: Final = _n("between the shares of the version's clusters.")
FORMULA_TEXTS: Final = {
    "songs": (_n("Effect: population stability index. Limit: exceeded by chance in one week of a hundred."),),
    "listening": (EFFECT_FORMULA, BY_CLUSTER),
    "recommended": (EFFECT_FORMULA, BY_CLUSTER),
    "feedback": (EFFECT_FORMULA, _n("between the shares of likes, listens, skips and dislikes.")),
    "feed": (),
}
ALARM_WITH_RETRAIN: Final = _n(
    "An alarm opens an incident. It also starts a full retrain, which finds new clusters, at most once a "
    "month."
)
CONSEQUENCE_TEXTS: Final = {
    "songs": ALARM_WITH_RETRAIN,
    "listening": ALARM_WITH_RETRAIN,
    "recommended": _n(
        "An alarm opens an incident but starts no retraining: the model's own "
        "recommendations caused this change."
    ),
    "feedback": _n("An alarm opens an incident. It does not start a retraining."),
    "feed": _n("An alarm mostly means a faulty source, so it opens an incident and starts no retraining."),
}


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnlyAdmin):
    list_display = ("week", "kind_label", "result", "share_of_limit", "main_cause", "sample_size", "version")
    list_filter = ("kind", "drifted", "alarm", "week")
    list_select_related = ("version",)
    list_before_template = "admin/recommender/about_drift.html"
    when_empty = _lazy(
        "Each week is checked on the Monday after it, if there is a champion. "
        "To check the last week now: python manage.py checkdrift"
    )
    change_form_before_template = "admin/recommender/drift.html"
    readonly_fields = ("p_value", "effect_text", "limit_text")
    fieldsets = (
        (_lazy("Model and week"), {"fields": (("version", "week"),)}),
        (_lazy("Stored details"), {"classes": ["collapse"],
                             "fields": (("n", "listeners"), ("effect_text", "limit_text"), "p_value",
                                        "causes", "season")}),
    )  # fmt: skip

    @display(description=_lazy("Kind"), ordering="kind")
    def kind_label(self, report: DriftReport) -> str:
        return report.get_kind_display().capitalize()

    @display(description=_lazy("Result"), label={"alarm": "danger", "drifted": "warning", "none": "default"})
    def result(self, report: DriftReport) -> tuple[str, str]:
        if report.alarm:
            return "alarm", _("Alarm")
        return ("drifted", _("Drifted")) if report.drifted else ("none", _("No drift"))

    @display(description=_lazy("Effect / limit"), ordering="effect")
    def share_of_limit(self, report: DriftReport) -> str:
        return _limit_percent(report) if report.limit else _("not enough data")

    @display(description=_lazy("Sample size"), ordering="n")
    def sample_size(self, report: DriftReport) -> str:
        return format_count(report.n)

    @display(description=_lazy("Largest change"))
    def main_cause(self, report: DriftReport) -> str:
        cause = report.causes[0] if report.causes else None
        return f"{cause_name(cause)}: {format_points(cause)}" if cause else "-"

    @display(description=_lazy("Effect"))
    def effect_text(self, report: DriftReport) -> str:
        return localize_decimals(f"{report.effect:.3f}")

    @display(description=_lazy("Limit"))
    def limit_text(self, report: DriftReport) -> str:
        return localize_decimals(f"{report.limit:.3f}")

    @display(description=_lazy("p-value (probability of such an effect without drift)"))
    def p_value(self, report: DriftReport) -> str:
        return _("not computed") if report.p is None else localize_decimals(f"{report.p:.4f}")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        report = self.get_object(request, object_id)
        context = {**(extra_context or {}), "drift": drift_report_context(report) if report else None}
        return super().change_view(request, object_id, form_url, context)


def drift_report_context(report: DriftReport) -> dict[str, Any]:
    return {
        "headline": _headline(report),
        "comparison": " ".join(_(text) for text in COMPARISON_TEXTS[report.kind]),
        "formula": " ".join(_(text) for text in FORMULA_TEXTS[report.kind]),
        "consequence": _(CONSEQUENCE_TEXTS[report.kind]),
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


def cause_name(cause: dict[str, Any], *, all_clusters: bool = False) -> str:
    """The name of a drift's cause: the changed clusters, group of songs or kind of feedback."""
    clusters = [stored_cluster_name(one["name"]) for one in cause.get("clusters", ())]
    if not clusters:
        return str(cause["name"])
    shown = clusters if all_clusters else clusters[:1]
    rest = len(clusters) - len(shown) + cause.get("others", 0)
    return "; ".join(shown) + (" " + _("and {n} more").format(n=rest) if rest else "")


def format_points(cause: dict[str, Any]) -> str:
    return _("{points} points").format(points=localize_decimals(f"{100 * cause['change']:+.1f}"))


def _describe_sample(report: DriftReport) -> str:
    counted = {
        "songs": ngettext("{n} new song", "{n} new songs", report.n),
        "feedback": ngettext("{n} reaction", "{n} reactions", report.n),
    }.get(report.kind) or ngettext("{n} play", "{n} plays", report.n)
    text = counted.format(n=format_count(report.n))
    if report.kind == "songs":
        return f"{text}."
    return _("{plays} of {listeners}.").format(plays=text, listeners=_count_listeners(report.listeners))


def _count_listeners(n: int) -> str:
    return ngettext("{n} listener", "{n} listeners", n).format(n=format_count(n))


def _limit_percent(report: DriftReport) -> str:
    # Rounded down: an effect just below the limit must not read 100 %.
    return format_percent(int(100 * report.effect / report.limit) / 100)


def _headline(report: DriftReport) -> str:
    what = _("{kind} in the week of {week}").format(
        kind=report.get_kind_display().capitalize(), week=report.week
    )
    if not report.limit:
        return _("{what}: not enough data.").format(what=what)
    share = report.effect / report.limit
    if not report.drifted:
        reached = (
            _("the limit is reached, but chance may be the reason")
            if share >= 1
            else _("{share} of the limit").format(share=_limit_percent(report))
        )
        return _("{what}: no drift ({reached}).").format(what=what, reached=reached)
    alarm = (
        _("Alarm.") if report.alarm else _("A single week above the limit raises no alarm; two in a row do.")
    )
    return _("{what}: drift, {share} times the limit. {alarm}").format(
        what=what, share=localize_decimals(f"{share:.1f}"), alarm=alarm
    )


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
    when_empty = _lazy(
        "The daily task counts lists the day after they were served. Apps request lists through the API."
    )
    readonly_fields = (
        "engaged_per_list",
        "deviation",
        "engaged_within_24_hours",
        "deviation_within_24_hours",
    )
    fieldsets = (
        (None, {"fields": (("day", "version"), "final", ("lists", "listeners"))}),
        (
            _lazy("Reactions to the lists"),
            {"fields": (("engaged_per_list", "deviation"),
                        ("engaged_within_24_hours", "deviation_within_24_hours"),
                        ("likes", "listens"), ("skips", "dislikes"))},
        ),
        (_lazy("Plays of that day"), {"fields": (("recommended_plays", "organic_plays"),)}),
    )  # fmt: skip

    # Headings are shorter than the fields' labels, because all columns must fit beside the menu.
    @display(description=_lazy("Lists"), ordering="lists")
    def list_count(self, day: EngagementDay) -> str:
        return format_count(day.lists)

    @display(description=_lazy("Listeners"), ordering="listeners")
    def listener_count(self, day: EngagementDay) -> str:
        return format_count(day.listeners)

    @display(description=_lazy("Final"), ordering="final", boolean=True)
    def is_final(self, day: EngagementDay) -> bool:
        return day.final

    @display(description=_lazy("Engaged per list"), ordering="engaged")
    def engaged_per_list(self, day: EngagementDay) -> str:
        return format_decimal(day.engaged, 2) if day.lists else "-"

    @display(description=_lazy("Standard deviation over listeners"))
    def deviation(self, day: EngagementDay) -> str:
        return format_decimal(day.engaged_deviation, 2) if day.lists else "-"

    @display(description=_lazy("Engaged songs per list within 24 hours"))
    def engaged_within_24_hours(self, day: EngagementDay) -> str:
        return _("not imported yet") if day.early is None else format_decimal(day.early, 2)

    @display(description=_lazy("Standard deviation within 24 hours"))
    def deviation_within_24_hours(self, day: EngagementDay) -> str:
        return "-" if day.early is None else format_decimal(day.early_deviation, 2)

    @display(description=_lazy("Likes / listens / skips"))
    def reactions(self, day: EngagementDay) -> str:
        return f"{day.likes} / {day.listens} / {day.skips}" if day.lists else "-"

    @display(description=_lazy("Listed / own plays"))
    def recommended_and_organic_plays(self, day: EngagementDay) -> str:
        return f"{day.recommended_plays} / {day.organic_plays}"


class MovedFilter(admin.SimpleListFilter):
    title = _lazy("cluster")
    parameter_name = "moved"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", _("Moved")), ("no", _("Not moved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes":
            return queryset.exclude(before=F("after"))
        return queryset.filter(before=F("after")) if self.value() else queryset


@admin.register(SongEvidence)
class SongEvidenceAdmin(ReadOnlyAdmin):
    list_display = ("song", "cluster_change", "explanation", "margin_text", "version")
    list_filter = (MovedFilter, "version")
    search_fields = ("=song__id", "song__name")
    search_help_text = _lazy("Song ID or part of a name")
    list_select_related = ("song", "version")
    list_before_template = "admin/recommender/about_song_evidence.html"
    when_empty = _lazy(
        "The next training uses likes, skips and “wrong style” to correct the clusters of songs, if this "
        "predicts held-out feedback better."
    )
    # By ID: versions are ordered newest first by default, and "-version" would reverse that.
    ordering = ("-version_id", "margin")
    fields: ClassVar = [("song", "version"), "cluster_change", "explanation", "margin_text"]
    readonly_fields = ("cluster_change", "explanation", "margin_text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SongEvidence]:
        return _with_cluster_names(super().get_queryset(request))

    @display(description=_lazy("Cluster"), ordering="after")
    @computed_once
    def cluster_change(self, evidence: Any) -> SafeString:
        return _describe_cluster_change(evidence)

    @display(description=_lazy("Reason"), ordering="listeners")
    def explanation(self, evidence: SongEvidence) -> str:
        return explain_assignment(evidence)

    @display(description=_lazy("Margin over the next cluster"), ordering="margin")
    def margin_text(self, evidence: SongEvidence) -> str:
        return format_percent(round(evidence.margin, 2))


def song_evidence_for(song: int) -> list[SongEvidence]:
    """The latest versions' evidence on the song, newest first.

    Each row has the attributes `explanation` and `cluster_change`.
    """
    rows = SongEvidence.objects.filter(song=song).select_related("version").order_by("-version_id")
    found = list(_with_cluster_names(rows)[:MAX_VERSIONS_SHOWN])
    for evidence in found:
        evidence.explanation = explain_assignment(evidence)  # type: ignore[attr-defined]
        evidence.cluster_change = _describe_cluster_change(evidence)  # type: ignore[attr-defined]
    return found


def explain_assignment(evidence: SongEvidence) -> str:
    """A sentence such as "moved because of the feedback of 14 listeners: evidence 9.0 : 1 for ..."."""
    people = _count_listeners(evidence.listeners)
    ratio = format_evidence(abs(evidence.log_odds))
    if evidence.before != evidence.after:
        return _("moved because of the feedback of {people}: evidence {ratio} for the new cluster").format(
            people=people, ratio=ratio
        )
    # The song stayed: too few listeners, too small a margin, or the held-out votes disagree.
    if evidence.log_odds > 0:
        return _(
            "not moved: the feedback of {people} is evidence {ratio} for another cluster, which is not enough"
        ).format(people=people, ratio=ratio)
    return _("not moved: the feedback of {people} is no evidence for another cluster").format(people=people)


def _describe_cluster_change(evidence: Any) -> SafeString:
    """The cluster, or both clusters if the song moved; `evidence` is a row of `_with_cluster_names`."""
    before, after = (
        stored_cluster_name(name) if name else number
        for name, number in (
            (evidence.before_name, evidence.before),
            (evidence.after_name, evidence.after),
        )
    )
    context = {"before": before, "after": after, "moved": evidence.before != evidence.after}
    return render_to_string("admin/recommender/cluster_change.html", context)


def _with_cluster_names(rows: QuerySet[SongEvidence]) -> QuerySet[SongEvidence]:
    clusters = Cluster.objects.filter(version=OuterRef("version"))
    named_rows: QuerySet[SongEvidence] = rows.annotate(
        before_name=Subquery(clusters.filter(number=OuterRef("before")).values("name")),
        after_name=Subquery(clusters.filter(number=OuterRef("after")).values("name")),
    )
    return named_rows
