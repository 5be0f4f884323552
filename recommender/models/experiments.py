"""Experiments between model versions."""

from typing import ClassVar, Final

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ingestion.models import Listener
from recommender.models.served import ServedList
from recommender.models.versions import ModelVersion, Promotion

OUTCOME_LABELS: Final = {
    "waiting": gettext_noop("Not decided"),
    "promote": gettext_noop("Promoted"),
    "reject": gettext_noop("Rejected"),
    "rollback": gettext_noop("Rolled back"),
    "void": gettext_noop("Stopped"),
}


def outcome_label(outcome: str) -> str:
    """The outcome of a decision or experiment in the active language."""
    return _(OUTCOME_LABELS[outcome]) if outcome in OUTCOME_LABELS else _(outcome).capitalize()


class Experiment(models.Model):
    class Kind(models.TextChoices):
        REFRESH = "refresh", "refresh"
        CHANGE = "change", "change"
        AA_TEST = "equals", "A/A test"
        HOLDBACK = "anchor", "holdback"

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        ENDED = "ended"

    class Outcome(models.TextChoices):
        INVALID = "invalid", "invalid"
        ROLLBACK = "rollback", "rolled back"
        PROMOTE = "promote", "promoted"
        REJECT = "reject", "rejected"
        INCONCLUSIVE = "inconclusive", "inconclusive"
        VOID = "void", "stopped"

    kind = models.CharField(max_length=7, choices=Kind.choices)
    status = models.CharField(max_length=7, choices=Status.choices, default=Status.WAITING)
    champion = models.ForeignKey(ModelVersion, models.PROTECT, related_name="defences")
    challenger = models.ForeignKey(ModelVersion, models.PROTECT, related_name="challenges")
    list_share = models.FloatField(
        "share of lists that are interleaved", help_text="From 0, none, to 1, all."
    )
    split_share = models.FloatField(
        "share of listeners in the A/B split",
        default=0.0,
        help_text="These listeners get lists from one of the two versions only; 0: no listener.",
    )
    planned_listeners = models.PositiveIntegerField(
        default=0,
        help_text="Number of listeners at which the confidence sequence is tightest; fixed at the start.",
    )
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, blank=True)
    reason = models.TextField("reason it ended", blank=True)
    by = models.CharField(
        "started by", max_length=150, help_text="A user name, or the part of the product that started it."
    )
    purpose = models.TextField("reason it was started", blank=True)
    gates = models.JSONField(
        "offline checks", default=dict, blank=True,
        help_text="Offline metrics from before the first listener saw the challenger.",
    )  # fmt: skip
    tried_at = models.DateTimeField("last hourly trial of the challenger", null=True, blank=True)
    tried_listeners = models.PositiveIntegerField("listeners in that trial", default=0, db_default=0)
    failed_listeners = models.PositiveIntegerField(
        "listeners for whom the challenger made no list in it", default=0, db_default=0
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [("decide_experiment", "Can start, stop and decide experiments")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["status"],
                name="experiment_one_running",
                condition=Q(status="running") & ~Q(kind="anchor"),
            ),
            models.UniqueConstraint(
                fields=["kind", "status"],
                name="experiment_one_anchor_running",
                condition=Q(status="running", kind="anchor"),
            ),
            models.CheckConstraint(
                name="experiment_ended_with_outcome",
                condition=(Q(status="ended", ended_at__isnull=False) & ~Q(outcome=""))
                | (~Q(status="ended") & Q(ended_at=None, outcome="")),
            ),
            models.CheckConstraint(
                name="experiment_two_versions",
                condition=Q(kind="equals") | ~Q(champion=F("challenger")),
            ),
            models.CheckConstraint(
                name="experiment_shares",
                condition=Q(list_share__gte=0, list_share__lte=1, split_share__gte=0, split_share__lte=1),
            ),
        ]

    def __str__(self) -> str:
        return _("Experiment {number}: {challenger} against {champion}").format(
            number=self.pk, challenger=self.challenger, champion=self.champion
        )

    @property
    def tests_champion(self) -> bool:
        """Whether it compares the champion, whichever it is, with an older or simpler version."""
        return self.kind == self.Kind.HOLDBACK


class TrafficSplit(models.Model):
    """Share of listeners in the A/B split of automatic experiments. The newest row counts."""

    share = models.FloatField(help_text="From 0, no listener, to 1, all.")
    at = models.DateTimeField()
    by = models.CharField(max_length=150)
    reason = models.TextField()

    class Meta:
        db_table = "recommender_splitshare"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(name="split_share_of_all", condition=Q(share__gte=0, share__lte=1))
        ]

    def __str__(self) -> str:
        return f"{self.share:.0%} of the listeners from {self.at:%Y-%m-%d} on"


class ExperimentNote(models.Model):
    """A remark of a person on an experiment; kept as long as the experiment."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="notes")
    text = models.TextField()
    by = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"note of {self.by} on experiment {self.experiment_id}"


class Exposure(models.Model):
    """The time at which an arm first served a listener in the A/B split."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="exposures")
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="+", db_index=False)
    arm = models.CharField(max_length=11, choices=ServedList.Arm.choices)
    first_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            # One row per arm, so that a listener who got both arms is visible as a crossover.
            models.UniqueConstraint(fields=["experiment", "listener", "arm"], name="exposure_once_an_arm")
        ]

    def __str__(self) -> str:
        return f"Listener {self.listener_id} in {self.arm} of experiment {self.experiment_id}"


class ScoredList(models.Model):
    """A listener's first interleaved list of a day. A closed score never changes."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="scored_lists", db_index=False)
    served_list = models.OneToOneField(ServedList, models.CASCADE, related_name="score")
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="In UTC.")
    first_picks = models.PositiveSmallIntegerField("rounds in which the challenger picked first", default=0)
    rounds = models.PositiveSmallIntegerField(default=0)
    closed_at = models.DateTimeField(null=True, blank=True)
    wins = models.PositiveSmallIntegerField(default=0, help_text="Rounds that the challenger won.")
    losses = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["experiment", "listener", "day"], name="scored_list_first_of_a_day"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["day"], name="scored_list_open", condition=Q(closed_at=None)),
            # Covers the daily sums of an experiment's page.
            models.Index(
                fields=["experiment", "day", "closed_at", "wins", "losses"], name="scored_list_of_test"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.wins} to {self.losses} on {self.day} in experiment {self.experiment_id}"


class Decision(models.Model):
    """A decision with its evidence and rules, from which it can be computed again."""

    experiment = models.ForeignKey(
        Experiment, models.SET_NULL, null=True, blank=True, related_name="decisions"
    )
    promotion = models.OneToOneField(
        Promotion, models.SET_NULL, null=True, blank=True, related_name="decision"
    )
    at = models.DateTimeField("checked at", db_index=True)
    evidence = models.JSONField(help_text="The counted numbers (ExperimentEvidence as JSON).")
    rules = models.JSONField(help_text="The thresholds of that day (DecisionRules as JSON).")
    verdict = models.JSONField(help_text="Outcome, reason and numbers.")
    outcome = models.CharField(max_length=12)
    code = models.CharField("SHA-256 of the rule code", max_length=64)
    data_sha256 = models.CharField("SHA-256 of the rows counted", max_length=64)
    final = models.BooleanField("ended the experiment", default=False)
    decided_by = models.CharField(
        max_length=150, blank=True, default="", db_default="",
        help_text="The user who ended the experiment; empty: the rules decided.",
    )  # fmt: skip

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        label = outcome_label(self.outcome).lower()
        return _("Decision {number}: {outcome}").format(number=self.pk, outcome=label)


class ExperimentSeal(models.Model):
    """The sums of an ended experiment, from which its report and replays work after its rows are deleted."""

    experiment = models.OneToOneField(Experiment, models.CASCADE, related_name="seal")
    sealed_at = models.DateTimeField()
    # Text and not JSON, so that the digest is that of the stored characters.
    sums = models.TextField(help_text="By day, by arm and at each decision, as JSON.")
    sha256 = models.CharField("SHA-256 of the sums", max_length=64)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"Sums of experiment {self.experiment_id}, sealed on {self.sealed_at:%Y-%m-%d}"
