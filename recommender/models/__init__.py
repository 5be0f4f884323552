"""The tables of the recommender room: models, how they came to be, what was served, said and decided."""

from recommender.models.keys import ApiKey
from recommender.models.lists import Feedback, Mishap, ServedList, Shelf
from recommender.models.loop import (
    AttributedListen,
    Decision,
    DriftReport,
    EngagedList,
    EngagementDay,
    Experiment,
    Exposure,
    ScoredList,
    SongEvidence,
    SplitShare,
)
from recommender.models.versions import Cluster, Immutable, ModelVersion, Promotion, TrainingRun

__all__ = ["ApiKey", "AttributedListen", "Cluster", "Decision", "DriftReport", "EngagedList",
           "EngagementDay", "Experiment", "Exposure", "Feedback", "Immutable", "Mishap", "ModelVersion",
           "Promotion", "ScoredList", "ServedList", "Shelf", "SongEvidence", "SplitShare",
           "TrainingRun"]  # fmt: skip
