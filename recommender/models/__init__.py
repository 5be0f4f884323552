"""The tables of the recommender room: models, how they came to be, what was served and said."""

from recommender.models.keys import ApiKey
from recommender.models.lists import Feedback, ServedList, Shelf
from recommender.models.versions import Cluster, Immutable, ModelVersion, Promotion, TrainingRun

__all__ = ["ApiKey", "Cluster", "Feedback", "Immutable", "ModelVersion", "Promotion", "ServedList", "Shelf",
           "TrainingRun"]  # fmt: skip
