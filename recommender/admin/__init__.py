"""The admin of the recommender room: models and what decides about them, what was served and said."""

from recommender.admin import decided, lists, loop, reports, versions

__all__ = ["decided", "lists", "loop", "reports", "versions"]
