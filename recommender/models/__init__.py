"""Tables of the recommender."""

from recommender.models.api_keys import ApiKey
from recommender.models.charts import Chart
from recommender.models.experiments import (
    Decision,
    Experiment,
    ExperimentNote,
    ExperimentSeal,
    Exposure,
    ScoredList,
    TrafficSplit,
)
from recommender.models.monitoring import (
    AttributedListen,
    DriftReport,
    EngagedList,
    EngagementDay,
    SongEvidence,
)
from recommender.models.naming import ClusterNameRule, GenreAlias, NameWord
from recommender.models.served import CandidateList, Feedback, ServedList, ServingError
from recommender.models.versions import Cluster, ImmutableRow, ModelVersion, Promotion, TrainingRun

__all__ = [
    "ApiKey",
    "AttributedListen",
    "CandidateList",
    "Chart",
    "Cluster",
    "ClusterNameRule",
    "Decision",
    "DriftReport",
    "EngagedList",
    "EngagementDay",
    "Experiment",
    "ExperimentNote",
    "ExperimentSeal",
    "Exposure",
    "Feedback",
    "GenreAlias",
    "ImmutableRow",
    "ModelVersion",
    "NameWord",
    "Promotion",
    "ScoredList",
    "ServedList",
    "ServingError",
    "SongEvidence",
    "TrafficSplit",
    "TrainingRun",
]  # fmt: skip
