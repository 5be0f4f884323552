"""Filters that other apps add to the songs endpoint (setting SONG_LIST_FILTERS)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from ingestion.api.query_params import QueryParameter
from ingestion.models import Song


@dataclass(frozen=True)
class SongFilter:
    """A query parameter of `songs/` with its filter."""

    parameter: QueryParameter  # its default is None; any other value applies the filter
    apply: Callable[[QuerySet[Song], Any], QuerySet[Song]]  # returns the songs that match the value
    # Version of the data that the filter uses besides the catalogue; part of the ETag.
    state: Callable[[], str]


def added_song_filters() -> tuple[SongFilter, ...]:
    return tuple(import_string(path) for path in settings.SONG_LIST_FILTERS)
