"""Admin pages of the recommender: versions, experiments, decisions, monitoring, lists, names, API keys."""

from recommender.admin import decisions, experiments, monitoring, naming, serving, versions

__all__ = ["decisions", "experiments", "monitoring", "naming", "serving", "versions"]
