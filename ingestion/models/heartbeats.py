"""Heartbeats of the service's components, and the CPU time and memory of Celery tasks."""

from typing import ClassVar

from django.db import models


class Heartbeat(models.Model):
    """The last heartbeat of a component, such as Celery Beat or the watchdog."""

    class Part(models.TextChoices):
        BEAT = "beat", "Celery Beat"
        WORKER = "worker", "Celery workers"
        WATCHDOG = "watchdog"
        SCHEDULER = "scheduler", "start-pipeline"

    part = models.CharField(max_length=20, choices=Part.choices, unique=True)
    at = models.DateTimeField("last heartbeat")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    since = models.DateTimeField(help_text="When this process sent its first heartbeat.")
    facts = models.JSONField(default=dict, blank=True)

    class Meta:
        db_table = "ingestion_pulse"
        ordering: ClassVar = ["part"]

    def __str__(self) -> str:
        return f"{self.part} at {self.at:%Y-%m-%d %H:%M:%S}"


class HostRound(models.Model):
    """When a host last began the checks of its own problems, such as its disk."""

    host = models.CharField(max_length=255, unique=True)
    at = models.DateTimeField("last round")

    class Meta:
        db_table = "ingestion_hostround"
        ordering: ClassVar = ["host"]

    def __str__(self) -> str:
        return f"{self.host} at {self.at:%Y-%m-%d %H:%M:%S}"


class TaskUsage(models.Model):
    task = models.CharField(max_length=100)
    task_id = models.CharField(max_length=50)
    started_at = models.DateTimeField(db_index=True)
    succeeded = models.BooleanField()
    seconds = models.FloatField()
    cpu_seconds = models.FloatField("CPU seconds")
    peak_memory = models.PositiveBigIntegerField("peak memory")

    class Meta:
        db_table = "ingestion_taskuse"
        ordering: ClassVar = ["-id"]
        verbose_name = "task resource use"
        verbose_name_plural = "task resource use"

    def __str__(self) -> str:
        return f"{self.task}, {self.started_at:%Y-%m-%d %H:%M:%S}"
