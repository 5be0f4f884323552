"""The admin of the recommender room: models and what decides about them, what was served and said."""

from recommender.admin import decisions, experiments, monitoring, serving, versions

__all__ = ["decisions", "experiments", "monitoring", "serving", "versions"]
