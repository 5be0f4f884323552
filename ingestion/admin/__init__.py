"""The admin of the ingestion room: what is there, how each run went, what was refused, what is wrong."""

from ingestion.admin import catalogue, incidents, monitoring, runs
from ingestion.admin.base import ROWS_PER_PAGE, STATUS_COLOURS, ReadOnlyAdmin, computed_once, confirm_first

__all__ = [
    "ROWS_PER_PAGE",
    "STATUS_COLOURS",
    "ReadOnlyAdmin",
    "catalogue",
    "computed_once",
    "confirm_first",
    "incidents",
    "monitoring",
    "runs",
]
