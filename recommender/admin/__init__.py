"""Admin pages of the recommender."""

from recommender.admin import decisions, experiments, monitoring, naming, serving, versions

__all__ = ["decisions", "experiments", "monitoring", "naming", "serving", "versions"]
