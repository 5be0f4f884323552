"""Admin pages of the ingestion app."""

from ingestion.admin import audit, catalogue, incidents, monitoring, runs, silence, webhooks
from ingestion.admin.base import (
    ROWS_PER_PAGE,
    STATUS_COLOURS,
    ListedLookups,
    ReadOnlyAdmin,
    can_see_personal_data,
    computed_once,
    confirm_first,
    translated_choices,
)

__all__ = [
    "ROWS_PER_PAGE",
    "STATUS_COLOURS",
    "ListedLookups",
    "ReadOnlyAdmin",
    "audit",
    "can_see_personal_data",
    "catalogue",
    "computed_once",
    "confirm_first",
    "incidents",
    "monitoring",
    "runs",
    "silence",
    "translated_choices",
    "webhooks",
]
