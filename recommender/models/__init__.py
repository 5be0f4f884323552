"""The tables of the recommender room: models, how they came to be, what was served, said and decided."""

from recommender.models.api_keys import ApiKey
from recommender.models.experiments import Decision, Experiment, Exposure, ScoredList, SplitShare
from recommender.models.monitoring import (
    AttributedListen,
    DriftReport,
    EngagedList,
    EngagementDay,
    SongEvidence,
)
from recommender.models.served import Feedback, Mishap, ServedList, Shelf
from recommender.models.versions import Cluster, Immutable, ModelVersion, Promotion, TrainingRun

__all__ = ["ApiKey", "AttributedListen", "Cluster", "Decision", "DriftReport", "EngagedList",
           "EngagementDay", "Experiment", "Exposure", "Feedback", "Immutable", "Mishap", "ModelVersion",
           "Promotion", "ScoredList", "ServedList", "Shelf", "SongEvidence", "SplitShare",
           "TrainingRun"]  # fmt: skip
