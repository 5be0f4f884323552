"""Columns and constraints of a job's row, which is also the job's lock."""

from django.db import models
from django.db.models import Q
from django.db.models.constraints import BaseConstraint


class JobRun(models.Model):
    """Base model of jobs that run one at a time; `ingestion.jobs.lock` writes its columns.

    A subclass adds `status`, with the values running and abandoned, `stage`, and the `job_constraints`.
    """

    started_at = models.DateTimeField(db_index=True)
    heartbeat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField("process ID")
    process_started = models.FloatField(
        help_text="Start of the process in seconds since 1970; detects a reused process ID."
    )
    cpu_seconds = models.FloatField("CPU seconds", default=0.0)
    peak_memory = models.PositiveBigIntegerField("peak memory", default=0)
    error_kind = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        abstract = True


def job_constraints(prefix: str) -> list[BaseConstraint]:
    """The constraints of a job's table, by which at most one row is running."""
    return [
        models.CheckConstraint(
            name=f"{prefix}_finished_iff_not_running",
            condition=Q(status="running", finished_at=None)
            | (~Q(status="running") & Q(finished_at__isnull=False)),
        ),
        models.UniqueConstraint(
            name=f"{prefix}_only_one_running", fields=["status"], condition=Q(status="running")
        ),
        models.CheckConstraint(name=f"{prefix}_error_needs_kind", condition=Q(error="") | ~Q(error_kind="")),
    ]
