"""The tables of the ingestion room: what the source holds, how each run went, what is wrong."""

from ingestion.models.catalogue import (
    RESOURCES,
    Listener,
    ListeningHistory,
    Mirrored,
    Song,
    numeric_features,
)
from ingestion.models.heartbeats import Heartbeat, TaskUsage
from ingestion.models.incidents import Incident, Notification
from ingestion.models.runs import AnomalyCheck, BaselineReset, IngestionRun, Rejection, ResourceReport

__all__ = [
           "RESOURCES",
           "AnomalyCheck",
           "BaselineReset",
           "Heartbeat",
           "Incident",
           "IngestionRun",
           "Listener",
           "ListeningHistory",
           "Mirrored",
           "Notification",
           "Rejection",
           "ResourceReport",
           "Song",
           "TaskUsage",
           "numeric_features",
]  # fmt: skip
