"""The admin of the ingestion room: what is there, how each run went, what was refused, what is wrong."""

from ingestion.admin import catalogue, incidents, monitoring, runs
from ingestion.admin.base import ROWS_A_PAGE, STATUS_COLOURS, ReadOnlyAdmin, asked_first, made_once

__all__ = [
    "ROWS_A_PAGE",
    "STATUS_COLOURS",
    "ReadOnlyAdmin",
    "asked_first",
    "catalogue",
    "incidents",
    "made_once",
    "monitoring",
    "runs",
]
