"""The `cluster` filter of the songs endpoint (setting SONG_LIST_FILTERS)."""

from typing import Final

from django.db.models import QuerySet

from ingestion.api.query_params import QueryParameter, integer_type
from ingestion.api.song_filters import SongFilter
from ingestion.models import Song
from recommender.models import sql
from recommender.services import current_model, serving_label


def songs_in_cluster(songs: QuerySet[Song], number: int) -> QuerySet[Song]:
    model = current_model().model
    if model is None or number not in model.label_by_number:
        return songs.none()
    ids = model.song_ids[model.scorer.labels == model.label_by_number[number]]
    return songs.filter(pk__in=sql.ids_as_one_parameter(ids.tolist()))


CLUSTER_FILTER: Final = SongFilter(
    QueryParameter("cluster", integer_type(), "The id of a cluster of the serving model."),
    apply=songs_in_cluster,
    state=lambda: serving_label() or "",
)
