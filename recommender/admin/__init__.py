"""The admin of the recommender room: models and what decides about them, what was served and said."""

from recommender.admin import lists, loop, versions

__all__ = ["lists", "loop", "versions"]
