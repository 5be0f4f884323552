"""Leases: work that at most one process does at a time."""

from typing import ClassVar

from django.db import models


class Lease(models.Model):
    """A lease that a process holds; the row is deleted when the work ends."""

    name = models.CharField(max_length=60, primary_key=True)
    holder = models.CharField(
        max_length=120, help_text="A random word, and the process: its number, start and host."
    )
    until = models.DateTimeField(help_text="From then on another process may take the work over.")

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return f"{self.name} until {self.until:%Y-%m-%d %H:%M:%S}"
