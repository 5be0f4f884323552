"""Admin pages of the recommender: versions, experiments, decisions, monitoring, served lists, API keys."""

from recommender.admin import decisions, experiments, monitoring, serving, versions

__all__ = ["decisions", "experiments", "monitoring", "serving", "versions"]
