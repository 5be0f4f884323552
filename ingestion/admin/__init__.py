"""The admin of the ingestion room: what is there, how each run went, what was refused, what is wrong."""

from ingestion.admin import catalogue, incidents, measures, runs
from ingestion.admin.base import STATUS_COLOURS, ReadOnlyAdmin

__all__ = ["STATUS_COLOURS", "ReadOnlyAdmin", "catalogue", "incidents", "measures", "runs"]
