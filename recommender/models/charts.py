"""Charts: the most played songs of each window of days."""

from typing import ClassVar

from django.db import models


class Chart(models.Model):
    """The songs with the most listeners in the latest days, as of the newest import."""

    days = models.PositiveIntegerField(
        primary_key=True,
        help_text="0: all days, a listener counts less the older their last play is.",
    )
    run_id = models.BigIntegerField("newest ingestion run known")
    counted_at = models.DateTimeField()
    content = models.BinaryField(help_text="ID, score, listeners and plays of each song, best first.")

    class Meta:
        ordering: ClassVar = ["days"]

    def __str__(self) -> str:
        return f"Chart of {self.days or 'all'} days"
