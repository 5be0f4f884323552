"""Versions, trainings and the ledger."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from ingestion.admin import STATUS_COLOURS, ReadOnlyAdmin, computed_once, confirm_first
from recommender.admin.forms import ReasonForm, StartExperimentForm
from recommender.dashboard.tables import compare_versions, metrics_table, read_metric
from recommender.engine.artifact import ArtifactError
from recommender.experiments import eligibility
from recommender.experiments.lifecycle import ExperimentNotAllowed
from recommender.models import ModelVersion, Promotion, TrainingRun
from recommender.registry.registry import RegistryError
from recommender.services import promote_version, roll_back_champion, start_experiment
from recommender.training.launch import start_training

ROLE_COLOURS = {
    "candidate": "info",
    "challenger": "info",
    "champion": "success",
    "retired": "default",
    "withdrawn": "danger",
}
TRAINING_HINT = (
    "Learnt every Sunday where something new has come in; now: “Train now”, or python manage.py retrain"
)
START_EXPERIMENT_HINT = (
    "It must pass every gate, which takes some seconds. One that goes on in the champion's clusters is "
    "tested as a refresh, any other as a change. Where another test runs it waits; who waited makes room."
)
MAX_COMPARED_VERSIONS = 6  # versions side by side: as many as a screen of 1280 shows


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("label", "current_role", "method_name", "cut_off", "n_songs", "n_listeners", "n_plays",
                    "n_clusters", "ndcg", "against_popularity")  # fmt: skip
    list_filter = ("role", "method", "created_at")
    search_fields = ("label",)
    search_help_text = "A version's label, such as 2026w47.1"
    when_empty = TRAINING_HINT
    actions_list: ClassVar = ["compare", "train_now", "roll_back"]
    actions_detail: ClassVar = ["start_test", "make_champion"]
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
        ("Learnt from", {"fields": (("cut_off", "created_at"), ("n_songs", "n_listeners", "n_plays"))}),
        ("How", {"fields": (("method", "n_clusters"), ("silhouette", "r_squared"))}),
        ("Clusters, largest first", {"fields": ("clusters_table",)}),
        ("Cost", {"fields": (("duration", "cpu", "memory"), ("megabytes", "artifact_sha256"))}),
        ("As it is stored", {"classes": ["collapse"], "fields": ("seed", "configuration", "cohesion")}),
    )  # fmt: skip

    @display(description="Role", ordering="role", label=ROLE_COLOURS)
    def current_role(self, version: ModelVersion) -> tuple[str, str]:
        return version.role, version.get_role_display()

    @display(description="Method", ordering="method")
    def method_name(self, version: ModelVersion) -> str:
        return version.method

    @display(description="Silhouette: how clearly clusters are apart, -1 to 1")
    def silhouette(self, version: ModelVersion) -> str:
        return _format_rounded(version.cohesion.get("silhouette_macro"))

    @display(description="R2: what clusters tell of how songs differ")
    def r_squared(self, version: ModelVersion) -> str:
        return _format_rounded(version.cohesion.get("r2"))

    @display(description="NDCG@20")
    def ndcg(self, version: ModelVersion) -> str:
        value = read_metric(version, version.method)
        return "not measured" if value is None else f"{value:.4f}"

    @display(description="Against popularity")
    def against_popularity(self, version: ModelVersion) -> str:
        ours, floor = read_metric(version, version.method), read_metric(version, "popularity")
        return f"{ours / floor:.2f} x" if ours is not None and floor else "-"

    @display(description="Duration")
    def duration(self, version: ModelVersion) -> str:
        return f"{version.seconds:.1f} s"

    @display(description="CPU time")
    def cpu(self, version: ModelVersion) -> str:
        return f"{version.cpu_seconds:.1f} s"

    @display(description="Peak memory")
    def memory(self, version: ModelVersion) -> str:
        return f"{version.peak_memory / 1e6:.0f} MB"

    @display(description="Artifact")
    def megabytes(self, version: ModelVersion) -> str:
        return f"{version.artifact_bytes / 1e6:.1f} MB"

    @display(description="On the latest week")
    @computed_once
    def metrics_table(self, version: ModelVersion) -> SafeString:
        return metrics_table(version)

    @display(description="Found in its songs")
    @computed_once
    def clusters_table(self, version: ModelVersion) -> SafeString:
        clusters = version.clusters.order_by("-size", "number")
        shares = [(one, f"{100 * one.size / max(1, version.n_songs):.1f}") for one in clusters]
        return render_to_string("recommender/clusters.html", {"clusters": shares})

    @action(description="Compare versions", icon="compare_arrows", url_path="compare")
    def compare(self, request: HttpRequest) -> HttpResponse:
        versions = list(ModelVersion.objects.prefetch_related("clusters")[:MAX_COMPARED_VERSIONS])
        context = {
            **self.admin_site.each_context(request),
            "title": "Versions side by side",
            "versions": versions,
            "lines": compare_versions(versions),
        }
        return render(request, "admin/recommender/compare.html", context)

    @action(description="Train now", icon="model_training", permissions=["train"])
    @confirm_first(
        "Train now", "A version is learnt from what is there and measured, which takes some minutes."
    )
    def train_now(self, request: HttpRequest) -> HttpResponse:
        start_training()
        messages.info(request, "A training was started. It appears among the trainings within a few seconds.")
        return redirect("admin:recommender_trainingrun_changelist")

    @action(description="Start a test", icon="science", permissions=["test"], url_path="start-test")
    def start_test(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = get_object_or_404(ModelVersion, pk=object_id)
        form = StartExperimentForm(
            request.POST or None, initial={"split": round(100 * eligibility.current_split_share())}
        )
        if request.method == "POST" and form.is_valid():
            try:
                test = start_experiment(
                    version.label, list_share=form.list_share, split_share=form.split_share,
                    reason=form.cleaned_data["reason"], by=request.user.get_username(),
                )  # fmt: skip
            except (ExperimentNotAllowed, RegistryError) as error:
                messages.error(request, str(error))
                return redirect("admin:recommender_modelversion_change", object_id)
            messages.success(request, f"{test}: {test.get_status_display()}.")
            return redirect("admin:recommender_experiment_change", test.pk)
        return render(
            request, "admin/recommender/decide.html",
            {
                **self.admin_site.each_context(request), "title": f"Start a test of {version.label}",
                "text": START_EXPERIMENT_HINT, "form": form,
                "back": reverse("admin:recommender_modelversion_change", args=[object_id]),
            },
        )  # fmt: skip

    @action(description="Make champion", icon="trophy", permissions=["decide"], url_path="make-champion")
    def make_champion(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = get_object_or_404(ModelVersion, pk=object_id)
        text = f"Every list is drawn from {version.label} within 5 seconds. Its artifact is verified first."
        return self._confirm_with_reason(
            request, f"Make {version.label} champion", text,
            lambda reason, by: promote_version(version.label, reason=reason, by=by),
        )  # fmt: skip

    @action(description="Roll back", icon="undo", permissions=["decide"], url_path="roll-back")
    def roll_back(self, request: HttpRequest) -> HttpResponse:
        text = (
            "The champion is withdrawn for good, and the last good version before it comes back. "
            "Rolling back twice goes further back."
        )
        return self._confirm_with_reason(
            request, "Roll back", text, lambda reason, by: roll_back_champion(reason=reason, by=by)
        )

    def _confirm_with_reason(self, request: HttpRequest, title: str, text: str, decide: Any) -> HttpResponse:
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                promotion = decide(form.cleaned_data["reason"], request.user.get_username())
            except (RegistryError, ArtifactError) as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{promotion.promoted.label} is the champion now.")
            return redirect("admin:recommender_modelversion_changelist")
        context = {
            **self.admin_site.each_context(request), "title": title, "text": text, "form": form,
            "back": reverse("admin:recommender_modelversion_changelist"),
        }  # fmt: skip
        return render(request, "admin/recommender/decide.html", context)

    def has_decide_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("recommender.add_promotion")

    def has_test_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("recommender.decide_experiment")

    def has_train_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommender.add_trainingrun")


def _format_rounded(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "trigger", "started_at", "duration", "version", "outcome_text")
    list_filter = ("status", "trigger", "started_at")
    when_empty = TRAINING_HINT
    list_select_related = ("version",)

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def state(self, run: TrainingRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description="Duration")
    def duration(self, run: TrainingRun) -> str:
        return f"{(run.finished_at - run.started_at).total_seconds():.1f} s" if run.finished_at else run.stage

    @display(description="What it did")
    def outcome_text(self, run: TrainingRun) -> str:
        return run.error or run.summary


@admin.register(Promotion)
class PromotionAdmin(ReadOnlyAdmin):
    list_display = ("at", "promoted", "replaced", "rollback", "reason", "by")
    list_filter = ("rollback", "at")
    when_empty = "The first good version becomes champion by itself: python manage.py retrain"
    search_fields = ("promoted__label", "replaced__label", "reason", "by")
    list_select_related = ("promoted", "replaced")
