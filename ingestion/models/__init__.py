"""Tables of the ingestion app."""

from ingestion.models.audit import AuditEntry
from ingestion.models.catalogue import (
    RESOURCES,
    Listener,
    ListeningHistory,
    Mirrored,
    Song,
    numeric_features,
)
from ingestion.models.heartbeats import Heartbeat, HostRound, TaskUsage
from ingestion.models.incidents import Incident, Notification
from ingestion.models.jobs import JobRun
from ingestion.models.leases import Lease
from ingestion.models.runs import (
    AnomalyCheck,
    BaselineReset,
    IngestionRun,
    Rejection,
    ResourceReport,
    RunLogLine,
)
from ingestion.models.saved_filters import SavedFilter
from ingestion.models.silence import LONGEST_WINDOW, AlertChannel, MaintenanceWindow
from ingestion.models.webhooks import Webhook, WebhookDelivery, WebhookEvent

__all__ = [
           "LONGEST_WINDOW",
           "RESOURCES",
           "AlertChannel",
           "AnomalyCheck",
           "AuditEntry",
           "BaselineReset",
           "Heartbeat",
           "HostRound",
           "Incident",
           "IngestionRun",
           "JobRun",
           "Lease",
           "Listener",
           "ListeningHistory",
           "MaintenanceWindow",
           "Mirrored",
           "Notification",
           "Rejection",
           "ResourceReport",
           "RunLogLine",
           "SavedFilter",
           "Song",
           "TaskUsage",
           "Webhook",
           "WebhookDelivery",
           "WebhookEvent",
           "numeric_features",
]  # fmt: skip
