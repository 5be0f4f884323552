"""Admin of experiments."""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import action, display

from ingestion.admin import ReadOnlyAdmin, confirm_first
from ingestion.api.query_params import parse_row_id
from recommender import services
from recommender.admin.decisions import OUTCOME_COLOURS
from recommender.admin.forms import NoteForm, ReasonForm, TrafficSplitForm
from recommender.admin.reasoned_actions import REFUSALS, ReasonedActionMixin
from recommender.dashboard.experiment_report import build_report
from recommender.dashboard.formatting import format_count, format_percent, stored_text
from recommender.dashboard.stored_sentences import actor_name
from recommender.experiments import eligibility, lifecycle
from recommender.models import Experiment
from recommender.models.experiments import outcome_label

CHECK_NOW_HELP: Final = _lazy(
    "Checks every running experiment, as the daily task does. An experiment whose result is clear ends: its "
    "challenger is promoted or rejected."
)
AA_TEST_HELP: Final = _lazy(
    "Compares the champion with itself. No difference is the right result; a difference means that "
    "something is wrong in serving or in the measurement."
)
MAX_REASON_LENGTH: Final = 120


@admin.register(Experiment)
class ExperimentAdmin(ReasonedActionMixin, ReadOnlyAdmin):
    list_display = (
        "id", "status_label", "kind", "challenger", "champion", "started_at", "ended_at", "short_reason",
    )  # fmt: skip
    list_filter = ("status", "kind", "outcome", "started_at")
    search_fields = ("=id", "challenger__label", "champion__label", "reason")
    search_help_text = _lazy("Experiment number, version label or part of the reason")
    list_before_template = "admin/recommender/about_experiments.html"
    when_empty = _lazy(
        "Every Sunday, a new version is trained if there is new data, and an experiment compares it with the "
        "champion. To start one by hand, open a model version and choose “Start an experiment”."
    )
    change_form_before_template = "admin/recommender/experiment.html"
    actions_list: ClassVar = ["start_aa_test", "set_split", "check_all"]
    actions_detail: ClassVar = ["check_now", "add_note", "promote", "reject", "stop"]
    readonly_fields = ("actor", "list_share_text", "split_share_text", "planned_listeners_text", "trial_text")
    fieldsets = (
        (_lazy("Versions"), {"fields": (("challenger", "champion"), ("kind", "actor"), "purpose")}),
        (
            _lazy("Traffic"),
            {"fields": (("list_share_text", "split_share_text"), "planned_listeners_text", "trial_text")},
        ),
        (_lazy("Dates"), {"fields": (("created_at", "started_at"), "ended_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        # `list_select_related` does not apply to the change page.
        rows: QuerySet[Experiment] = super().get_queryset(request)
        return rows.select_related("champion", "challenger")

    @display(description=_lazy("Status"), ordering="status", label=OUTCOME_COLOURS)
    def status_label(self, experiment: Experiment) -> tuple[str, str]:
        if experiment.outcome:
            return experiment.outcome, outcome_label(experiment.outcome)
        return experiment.status, experiment.get_status_display().capitalize()

    @display(description=_lazy("Lists that mix both models"))
    def list_share_text(self, experiment: Experiment) -> str:
        return _("{share} of the lists outside the A/B split").format(
            share=format_percent(experiment.list_share)
        )

    @display(description=_lazy("A/B split"))
    def split_share_text(self, experiment: Experiment) -> str:
        if not experiment.split_share:
            return _("none")
        half = format_percent(experiment.split_share / 2)
        return _("{half} of the listeners get the challenger alone, {half} the champion alone").format(
            half=half
        )

    @display(description=_lazy("Expected listeners in the split"))
    def planned_listeners_text(self, experiment: Experiment) -> str:
        if not experiment.split_share:
            return "-"
        number = format_count(experiment.planned_listeners)
        return _(
            "{number}. The confidence sequence is tuned to be narrowest at this number of listeners."
        ).format(number=number)

    @display(description=_lazy("Hourly trial of the challenger"))
    def trial_text(self, experiment: Experiment) -> str:
        if experiment.tried_at is None:
            return _("none yet")
        failed, tried = format_count(experiment.failed_listeners), format_count(experiment.tried_listeners)
        return _("no list for {failed} of {tried} listeners, {tried_at:%Y-%m-%d %H:%M} UTC").format(
            failed=failed, tried=tried, tried_at=experiment.tried_at
        )

    @display(description=_lazy("Started by"))
    def actor(self, experiment: Experiment) -> str:
        return actor_name(experiment.by)

    @display(description=_lazy("Reason"))
    def short_reason(self, experiment: Experiment) -> SafeString:
        return stored_text(experiment.reason, MAX_REASON_LENGTH)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        split = {"split_percent": _split_percent()}
        page: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **split})
        return page

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        experiment = self.get_object(request, object_id)
        if experiment is not None:
            # The buttons ask, too: without a query of their own, the page stays within twelve.
            ended = request.__dict__.setdefault("ended_experiments", {})
            ended[object_id] = ended[experiment.pk] = experiment.status == Experiment.Status.ENDED
        now = timezone.now()
        report = {"report": build_report(experiment, now) if experiment else None, "now": now}
        page: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **report}
        )
        return page

    @action(
        description=_lazy("Start an A/A test"), icon="balance", permissions=["decide"], url_path="aa-test"
    )
    @confirm_first(_lazy("Start an A/A test"), AA_TEST_HELP)
    def start_aa_test(self, request: HttpRequest) -> HttpResponse:
        try:
            experiment = services.start_aa_test(by=request.user.get_username())
        except REFUSALS as error:
            messages.error(request, stored_text(str(error)))
            return redirect("admin:recommender_experiment_changelist")
        messages.success(request, _("The A/A test has started."))
        return redirect("admin:recommender_experiment_change", experiment.pk)

    @action(
        description=_lazy("Set the A/B split"), icon="call_split", permissions=["decide"], url_path="split"
    )
    def set_split(self, request: HttpRequest) -> HttpResponse:
        current = _split_percent()
        form = TrafficSplitForm(request.POST or None, initial={"split": current})
        list_url = reverse("admin:recommender_experiment_changelist")

        def act(reason: str, by: str) -> tuple[str, str]:
            eligibility.set_split_share(form.split_share, reason=reason, by=by, now=timezone.now())
            return (
                _("{share} of listeners get one model alone in new experiments.").format(
                    share=format_percent(form.split_share)
                ),
                list_url,
            )

        return self.act_with_reason(
            request, form, act, title=_("Set the A/B split"), cancel_url=list_url,
            text=_(
                "The current share is {current} %. A new share applies to experiments that start "
                "automatically from now on; running experiments keep theirs."
            ).format(current=current),
        )  # fmt: skip

    @action(description=_lazy("Check now"), icon="fact_check", permissions=["decide"], url_path="check-all")
    @confirm_first(_lazy("Check now"), CHECK_NOW_HELP)
    def check_all(self, request: HttpRequest) -> HttpResponse:
        checked = services.judge_experiments()
        for one in checked:
            if one.decision:
                reason = stored_text(one.decision.verdict["reason"])
                messages.info(request, format_html("{}: {}", one.experiment, reason))
        if not checked:
            messages.info(request, _("No experiment is running."))
        return redirect("admin:recommender_experiment_changelist")

    @action(description=_lazy("Check now"), icon="fact_check", permissions=["decide"], url_path="check-now")
    def check_now(self, request: HttpRequest, object_id: int) -> HttpResponse:
        experiment = self.find_row(request, object_id)
        answer: HttpResponse = self.check_all(request)
        if request.method == "POST":
            return redirect("admin:recommender_experiment_change", experiment.pk)
        return answer

    @action(description=_lazy("Add a note"), icon="edit_note", permissions=["note"], url_path="note")
    def add_note(self, request: HttpRequest, object_id: int) -> HttpResponse:
        experiment = self.find_row(request, object_id)
        own_url = reverse("admin:recommender_experiment_change", args=[experiment.pk])

        def act(text: str, by: str) -> tuple[str, str]:
            lifecycle.add_note(experiment, text, by=by, now=timezone.now())
            return _("The note was added."), own_url

        text = _("The note is shown on the experiment's page. It can't be changed or removed.")
        return self.act_with_reason(
            request, NoteForm(request.POST or None), act, title=_("Add a note"), text=text, cancel_url=own_url
        )

    @action(description=_lazy("Promote"), icon="trophy", permissions=["decide"], url_path="promote")
    def promote(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._decide(
            request, object_id, _("Promote the challenger"),
            _(
                "The challenger becomes champion now, whatever the evidence says. "
                "The evidence so far is stored."
            ),
            lambda one, reason, by: services.decide_experiment(one, promote=True, reason=reason, by=by),
        )  # fmt: skip

    @action(description=_lazy("Reject"), icon="thumb_down", permissions=["decide"], url_path="reject")
    def reject(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._decide(
            request, object_id, _("Reject the challenger"),
            _("The experiment ends and the champion stays. The evidence so far is stored."),
            lambda one, reason, by: services.decide_experiment(one, promote=False, reason=reason, by=by),
        )  # fmt: skip

    @action(description=_lazy("Stop"), icon="stop_circle", permissions=["decide"], url_path="stop")
    def stop(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._decide(
            request, object_id, _("Stop the experiment"),
            _("The experiment ends without a decision, and the challenger becomes a candidate again."),
            lambda one, reason, by: lifecycle.stop_experiment(one, reason=reason, by=by, now=timezone.now()),
        )  # fmt: skip

    def _decide(
        self,
        request: HttpRequest,
        object_id: int,
        title: str,
        text: str,
        decide: Callable[[Experiment, str, str], object],
    ) -> HttpResponse:
        experiment = self.find_row(request, object_id)
        own_url = reverse("admin:recommender_experiment_change", args=[experiment.pk])

        def act(reason: str, by: str) -> tuple[str, str]:
            decide(experiment, reason, by)
            return f"{experiment}: {outcome_label(experiment.outcome).lower()}.", own_url

        form = ReasonForm(request.POST or None)
        return self.act_with_reason(request, form, act, title=title, text=text, cancel_url=own_url)

    def has_note_permission(self, request: HttpRequest, object_id: int | str | None = None) -> bool:
        return request.user.has_perm("recommender.decide_experiment")

    def has_decide_permission(self, request: HttpRequest, object_id: int | str | None = None) -> bool:
        return request.user.has_perm("recommender.decide_experiment") and not _has_ended(request, object_id)


def _split_percent() -> int:
    return round(100 * eligibility.current_split_share())


def _has_ended(request: HttpRequest, object_id: int | str | None) -> bool:
    if object_id is None or parse_row_id(str(object_id)) is None:
        return False  # no experiment: Django answers 404
    known: dict[int | str, bool] = request.__dict__.setdefault("ended_experiments", {})
    if object_id not in known:
        ended = Experiment.objects.filter(pk=object_id, status=Experiment.Status.ENDED)
        known[object_id] = ended.exists()
    return known[object_id]
