"""Filters of admin lists that staff have saved."""

from typing import ClassVar, Final

from django.contrib.auth.models import User
from django.db import models

MAX_QUERY_CHARS: Final = 1_000


class SavedFilter(models.Model):
    """A filter and search of one admin list under a name; only its owner sees it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    page = models.CharField(max_length=100, help_text="The list's model, such as ingestion.song.")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=MAX_QUERY_CHARS, help_text="As in the list's address.")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "page", "name"], name="saved_filter_name_of_user")
        ]

    def __str__(self) -> str:
        return self.name
