"""The tables of the ingestion room: what the source holds, how each run went, what is wrong."""

from ingestion.models.catalogue import RESOURCES, Listener, ListeningHistory, Mirrored, Song
from ingestion.models.heartbeats import Pulse, TaskUse
from ingestion.models.incidents import Incident, Notification
from ingestion.models.runs import BandCheck, BandReset, IngestionRun, Rejection, ResourceReport

__all__ = ["RESOURCES", "BandCheck", "BandReset", "Incident", "IngestionRun", "Listener", "ListeningHistory",
           "Mirrored", "Notification", "Pulse", "Rejection", "ResourceReport", "Song", "TaskUse"]  # fmt: skip
