"""Admin of model versions, training runs and promotions."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import action, display

from ingestion.admin import STATUS_COLOURS, ReadOnlyAdmin, computed_once, confirm_first
from recommender.admin.forms import CompareVersionsForm, ReasonForm, RollbackForm, StartExperimentForm
from recommender.admin.reasoned_actions import ReasonedActionMixin
from recommender.dashboard.formatting import (
    format_decimal,
    format_percent,
    format_ratio,
    localize_decimals,
    stored_text,
)
from recommender.dashboard.stored_sentences import actor_name
from recommender.dashboard.tables import (
    compare_versions,
    metric_headings,
    metrics_table,
    ndcg_against_popularity,
    read_metric,
)
from recommender.dashboard.version_comparison import compare_two_versions
from recommender.experiments import eligibility
from recommender.models import ModelVersion, Promotion, TrainingRun
from recommender.registry.registry import current_champion, find_version
from recommender.services import (
    delete_version_files,
    promote_version,
    roll_back_champion,
    start_experiment,
)
from recommender.serving.reasons.cluster_name_translation import cluster_name
from recommender.training.launch import start_training

ROLE_COLOURS = {
    "candidate": "info",
    "challenger": "info",
    "champion": "success",
    "retired": "default",
    "withdrawn": "danger",
}
TRAINING_HINT: Final = _lazy(
    "A version is trained every Sunday if there is new data. To train one now, use “Train now” in the list "
    "of model versions, or: python manage.py retrain"
)
START_EXPERIMENT_HELP: Final = _lazy(
    "The version must pass the offline gates first, which takes some seconds. A version that continues the "
    "champion's clusters (a refresh) is promoted unless it is worse; any other version (a change) is "
    "promoted only if it is better. If another experiment is running, this one waits, and an "
    "experiment that was already waiting is cancelled."
)
MAX_COMPARED_VERSIONS: Final = 6  # this many fit on a screen 1280 pixels wide


@admin.register(ModelVersion)
class ModelVersionAdmin(ReasonedActionMixin, ReadOnlyAdmin):
    list_display = ("label", "current_role", "method_name", "cut_off", "n_songs", "n_listeners", "n_plays",
                    "n_clusters", "ndcg", "against_popularity")  # fmt: skip
    list_filter = ("role", "method", "created_at")
    search_fields = ("label",)
    search_help_text = _lazy("Version label, such as 2026w47.1")
    when_empty = TRAINING_HINT
    actions_list: ClassVar = ["compare", "train_now", "roll_back"]
    actions_detail: ClassVar = ["compare_with", "start_experiment", "make_champion", "delete_files"]
    readonly_fields = (
        "metrics_table",
        "clusters_table",
        "duration",
        "cpu",
        "memory",
        "megabytes",
        "silhouette",
        "r_squared",
    )
    fieldsets = (
        (None, {"fields": (("label", "role"), "metrics_table")}),
        (_lazy("Training data"),
         {"fields": (("cut_off", "created_at"), ("n_songs", "n_listeners", "n_plays"))}),
        (_lazy("Model"), {"fields": (("method", "n_clusters"), ("silhouette", "r_squared"))}),
        (_lazy("Clusters, largest first"), {"fields": ("clusters_table",)}),
        (_lazy("Cost"), {"fields": (("duration", "cpu", "memory"), ("megabytes", "artifact_sha256"),
                                    "files_deleted_at")}),
        (_lazy("Stored details"), {"classes": ["collapse"], "fields": ("seed", "configuration", "cohesion")}),
    )  # fmt: skip

    @display(description=_lazy("Role"), ordering="role", label=ROLE_COLOURS)
    def current_role(self, version: ModelVersion) -> tuple[str, str]:
        return version.role, version.get_role_display()

    @display(description=_lazy("Method"), ordering="method")
    def method_name(self, version: ModelVersion) -> str:
        return version.method

    @display(description=_lazy("Silhouette (how clearly the clusters are separated, -1 to 1)"))
    def silhouette(self, version: ModelVersion) -> str:
        return format_decimal(version.cohesion.get("silhouette_macro"), 2)

    @display(description=_lazy("R² (share of the difference between songs that the clusters explain)"))
    def r_squared(self, version: ModelVersion) -> str:
        return format_decimal(version.cohesion.get("r2"), 2)

    @display(description="NDCG@20")
    def ndcg(self, version: ModelVersion) -> str:
        return format_decimal(read_metric(version, version.method), 4)

    @display(description=_lazy("NDCG / popularity"))
    def against_popularity(self, version: ModelVersion) -> str:
        return format_ratio(ndcg_against_popularity(version))

    @display(description=_lazy("Duration"))
    def duration(self, version: ModelVersion) -> str:
        return localize_decimals(f"{version.seconds:.1f} s")

    @display(description=_lazy("CPU time"))
    def cpu(self, version: ModelVersion) -> str:
        return localize_decimals(f"{version.cpu_seconds:.1f} s")

    @display(description=_lazy("Peak memory"))
    def memory(self, version: ModelVersion) -> str:
        return f"{version.peak_memory / 1e6:.0f} {_('MB')}"

    @display(description=_lazy("Artifact size"))
    def megabytes(self, version: ModelVersion) -> str:
        return localize_decimals(f"{version.artifact_bytes / 1e6:.1f} ") + _("MB")

    @display(description=_lazy("Metrics on the week after the training data"))
    @computed_once
    def metrics_table(self, version: ModelVersion) -> SafeString:
        return metrics_table(version)

    @display(description=_lazy("Clusters"))
    @computed_once
    def clusters_table(self, version: ModelVersion) -> SafeString:
        clusters = version.clusters.order_by("-size", "number")
        total = max(1, version.n_songs)
        rows = [
            {
                "cluster": one,
                "name": cluster_name(one),
                "width": f"{100 * one.size / total:.1f}",
                "percent": format_percent(one.size / total),
            }
            for one in clusters
        ]
        return render_to_string("recommender/clusters.html", {"rows": rows})

    @action(
        description=_lazy("Compare versions"), icon="compare_arrows", permissions=["view"], url_path="compare"
    )
    def compare(self, request: HttpRequest) -> HttpResponse:
        versions = list(ModelVersion.objects.prefetch_related("clusters")[:MAX_COMPARED_VERSIONS])
        form = CompareVersionsForm(request.GET or None)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Compare versions"),
            "form": form,
            "pair": compare_two_versions(*form.chosen) if form.is_valid() else None,
            "versions": versions,
            "rows": compare_versions(versions),
            "headings": metric_headings(),
        }
        return render(request, "admin/recommender/compare.html", context)

    @action(
        description=_lazy("Compare"), icon="compare_arrows", permissions=["view"], url_path="compare-with"
    )
    def compare_with(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = self.find_row(request, object_id)
        champion = current_champion()
        other = champion if champion and champion != version else version.parent or version
        query = urlencode({"first": version.label, "second": other.label})
        return redirect(f"{reverse('admin:recommender_modelversion_compare')}?{query}")

    @action(description=_lazy("Train now"), icon="model_training", permissions=["train"])
    @confirm_first(
        _lazy("Train now"),
        _lazy("Trains a version on the current data and evaluates it. This takes some minutes."),
    )
    def train_now(self, request: HttpRequest) -> HttpResponse:
        start_training()
        messages.info(request, _("The training has started. It appears in this list within a few seconds."))
        return redirect("admin:recommender_trainingrun_changelist")

    @action(description=_lazy("Start an experiment"), icon="science", permissions=["experiment"])
    def start_experiment(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = self.find_row(request, object_id)
        split = round(100 * eligibility.current_split_share())
        form = StartExperimentForm(request.POST or None, initial={"split": split})

        def act(reason: str, by: str) -> tuple[str, str]:
            experiment = start_experiment(
                version.label, list_share=form.list_share, split_share=form.split_share, reason=reason, by=by
            )
            url = reverse("admin:recommender_experiment_change", args=[experiment.pk])
            return f"{experiment}: {experiment.get_status_display()}.", url

        return self.act_with_reason(
            request, form, act, title=_("Start an experiment with {version}").format(version=version.label),
            text=str(START_EXPERIMENT_HELP),
            cancel_url=reverse("admin:recommender_modelversion_change", args=[version.pk]),
        )  # fmt: skip

    @action(
        description=_lazy("Make champion"), icon="trophy", permissions=["decide"], url_path="make-champion"
    )
    def make_champion(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = self.find_row(request, object_id)
        text = _(
            "The files of {version} are verified first. Within 5 seconds after that, it serves all listeners."
        ).format(version=version.label)
        return self._change_champion(
            request, _("Make {version} champion").format(version=version.label), text,
            lambda reason, by: promote_version(version.label, reason=reason, by=by),
        )  # fmt: skip

    @action(description=_lazy("Delete files"), icon="delete", permissions=["decide"], url_path="delete-files")
    def delete_files(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = self.find_row(request, object_id)
        page = reverse("admin:recommender_modelversion_change", args=[version.pk])

        def act(reason: str, by: str) -> tuple[str, str]:
            delete_version_files(version.label, reason=reason, by=by)
            return _("The files of {version} are deleted.").format(version=version.label), page

        return self.act_with_reason(
            request, ReasonForm(request.POST or None), act,
            title=_("Delete the files of {version}").format(version=version.label),
            text=_("The version never serves again, and backups no longer miss its files. Its metrics stay."),
            cancel_url=page,
        )  # fmt: skip

    @action(description=_lazy("Roll back"), icon="undo", permissions=["decide"], url_path="roll-back")
    def roll_back(self, request: HttpRequest) -> HttpResponse:
        text = _(
            "The champion is withdrawn and never serves again; the previous good version becomes champion. "
            "Rolling back twice goes back two versions."
        )
        champion = current_champion()
        form = RollbackForm(request.POST or None, initial={"champion": champion.label if champion else ""})

        def change(reason: str, by: str) -> Promotion:
            label = form.cleaned_data["champion"]
            return roll_back_champion(reason=reason, by=by, judged=find_version(label) if label else None)

        return self._change_champion(request, _("Roll back"), text, change, form)

    def _change_champion(
        self,
        request: HttpRequest,
        title: str,
        text: str,
        change: Callable[[str, str], Promotion],
        form: ReasonForm | None = None,
    ) -> HttpResponse:
        list_url = reverse("admin:recommender_modelversion_changelist")

        def act(reason: str, by: str) -> tuple[str, str]:
            return _("{version} is the champion now.").format(
                version=change(reason, by).promoted.label
            ), list_url

        form = form or ReasonForm(request.POST or None)
        return self.act_with_reason(request, form, act, title=title, text=text, cancel_url=list_url)

    def has_decide_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("recommender.add_promotion")

    def has_experiment_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("recommender.decide_experiment")

    def has_train_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommender.add_trainingrun")


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    list_display = ("id", "status_label", "trigger", "started_at", "duration", "version", "outcome_text")
    list_filter = ("status", "trigger", "started_at")
    when_empty = TRAINING_HINT
    list_select_related = ("version",)
    readonly_fields = ("duration", "process_start", "outcome_text")
    fieldsets = (
        (None, {"fields": ("status", "outcome_text", "version", "error_kind")}),
        (_lazy("When"), {"fields": ("started_at", "finished_at", "duration", "trigger", "full", "stage",
                                    "heartbeat_at")}),
        (_lazy("Resource use"), {"fields": (("cpu_seconds", "peak_memory"), ("host", "pid"),
                                            "process_start")}),
    )  # fmt: skip

    @display(description=_lazy("Status"), ordering="status", label=STATUS_COLOURS)
    def status_label(self, run: TrainingRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description=_lazy("Duration"))
    def duration(self, run: TrainingRun) -> str:
        if not run.finished_at:
            return run.stage
        return localize_decimals(f"{(run.finished_at - run.started_at).total_seconds():.1f} s")

    @display(description=_lazy("Process started"))
    def process_start(self, run: TrainingRun) -> datetime:
        return datetime.fromtimestamp(run.process_started, UTC)

    @display(description=_lazy("Result"))
    def outcome_text(self, run: TrainingRun) -> str | SafeString:
        return run.error or stored_text(run.summary)


@admin.register(Promotion)
class PromotionAdmin(ReadOnlyAdmin):
    list_display = ("at", "promoted", "replaced", "rollback", "reason_text", "actor")
    fields = ("promoted", "replaced", "rollback", "reason_text", "actor", "at")
    readonly_fields = ("reason_text", "actor")
    list_filter = ("rollback", "at")
    when_empty = _lazy(
        "The first version that passes the offline gates becomes champion automatically. "
        "To train one: python manage.py retrain"
    )
    search_fields = ("promoted__label", "replaced__label", "reason", "by")
    list_select_related = ("promoted", "replaced")

    @display(description=_lazy("Reason"))
    def reason_text(self, promotion: Promotion) -> SafeString:
        return stored_text(promotion.reason)

    @display(description=_lazy("Decided by"), ordering="by")
    def actor(self, promotion: Promotion) -> str:
        return actor_name(promotion.by)
