"""The loop that retrains: tests between models, what they found, and what was decided."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from ingestion.models import Listener
from recommender.models.served import ServedList
from recommender.models.versions import ModelVersion, Promotion


class Experiment(models.Model):
    """A test of one version against the champion, from its start to its verdict."""

    class Kind(models.TextChoices):
        REFRESH = "refresh"
        CHANGE = "change"
        EQUALS = "equals", "A/A"
        ANCHOR = "anchor"

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        ENDED = "ended"

    class Outcome(models.TextChoices):
        INVALID = "invalid"
        ROLLBACK = "rollback"
        PROMOTE = "promote"
        REJECT = "reject"
        INCONCLUSIVE = "inconclusive"
        VOID = "void"

    kind = models.CharField(max_length=7, choices=Kind.choices)
    status = models.CharField(max_length=7, choices=Status.choices, default=Status.WAITING)
    champion = models.ForeignKey(ModelVersion, models.PROTECT, related_name="defences")
    challenger = models.ForeignKey(ModelVersion, models.PROTECT, related_name="challenges")
    list_share = models.FloatField(
        "share of lists", help_text="Of all lists, how many are interleaved for it."
    )
    split_share = models.FloatField(
        "share of listeners", default=0.0, help_text="Who are served by one of the two alone; 0: nobody."
    )
    planned_listeners = models.PositiveIntegerField(
        default=0, help_text="At how many the confidence sequence is tightest; fixed at the start."
    )
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, blank=True)
    reason = models.TextField(blank=True, help_text="Why it ended so.")
    by = models.CharField(max_length=150, help_text="A person's user name, or what started it.")
    purpose = models.TextField(blank=True, help_text="Why a person started it.")
    gates = models.JSONField(
        default=dict, blank=True, help_text="What was measured before any listener saw it."
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
        return f"Experiment {self.pk}: {self.challenger} against {self.champion}"


class TrafficSplit(models.Model):
    """Of how many listeners the loop's own tests give one model alone: the newest row counts."""

    share = models.FloatField(help_text="From 0, nobody, to 1.")
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


class Exposure(models.Model):
    """A listener of the A/B split, from the first list that an arm served."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="exposures")
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="+", db_index=False)
    arm = models.CharField(max_length=11, choices=ServedList.Arm.choices)
    first_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            # One row an arm: two rows of one listener are a crossover, which must be seen and not hidden.
            models.UniqueConstraint(fields=["experiment", "listener", "arm"], name="exposure_once_an_arm")
        ]

    def __str__(self) -> str:
        return f"Listener {self.listener_id} in {self.arm} of experiment {self.experiment_id}"


class ScoredList(models.Model):
    """A listener's first interleaved list of a day, which counts; closed once, and never opened again."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="scored_lists", db_index=False)
    served_list = models.OneToOneField(ServedList, models.CASCADE, related_name="score")
    listener = models.ForeignKey(Listener, models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="In UTC.")
    first_picks = models.PositiveSmallIntegerField("rounds that the challenger began", default=0)
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
            # Holds all that the page of a test sums up by day.
            models.Index(
                fields=["experiment", "day", "closed_at", "wins", "losses"], name="scored_list_of_test"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.wins} to {self.losses} on {self.day} in experiment {self.experiment_id}"


class Decision(models.Model):
    """What was decided, with all that it rested on: the same evidence and rules give the same bytes again."""

    experiment = models.ForeignKey(
        Experiment, models.SET_NULL, null=True, blank=True, related_name="decisions"
    )
    promotion = models.OneToOneField(
        Promotion, models.SET_NULL, null=True, blank=True, related_name="decision"
    )
    at = models.DateTimeField(db_index=True)
    evidence = models.JSONField(help_text="The numbers, as `engine.verdicts.Evidence`.")
    rules = models.JSONField(help_text="The thresholds, as `engine.verdicts.Rules`.")
    verdict = models.JSONField(help_text="Outcome, reason and numbers.")
    outcome = models.CharField(max_length=12)
    code = models.CharField(max_length=64, help_text="Digest of the code that decided.")
    data_sha256 = models.CharField("data's sha256", max_length=64, help_text="Digest of the rows counted.")
    final = models.BooleanField(default=False, help_text="It ended the experiment.")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"Decision {self.pk}: {self.outcome}"
