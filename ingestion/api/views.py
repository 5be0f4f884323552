"""Endpoints of the ingestion app: songs, users, listening history, ingestion runs."""

from typing import Any, Final

from django.db.models import Q, QuerySet
from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from ingestion.api.http_cache import CacheValidator, catalogue_validator, conditional_response
from ingestion.api.query_params import (
    QueryParameter,
    boolean_type,
    choice_type,
    datetime_type,
    id_type,
    openapi_parameters,
    parse_query,
    text_type,
)
from ingestion.api.serializers import (
    ListeningHistorySerializer,
    PersonalUserSerializer,
    RunSerializer,
    SongSerializer,
    UserSerializer,
)
from ingestion.api.song_filters import added_song_filters
from ingestion.api.strict_view import StrictView
from ingestion.audit import record_personal_data_read
from ingestion.models import IngestionRun, Listener, ListeningHistory, Song

PERSONAL_DATA_PERMISSION: Final = "ingestion.view_personal_data"
PERSONAL_DATA_SCOPE: Final = "personal-data"
AVAILABLE_FILTER: Final = QueryParameter(
    "available", boolean_type(), "true: only rows that the source still sends; false: only the others."
)
SONG_FILTERS: Final = (
    QueryParameter("artist", text_type(), "The artist's whole name, in any case."),
    QueryParameter("q", text_type(), "Part of the song's name, artist or album, in any case."),
    AVAILABLE_FILTER,
)
ADDED_SONG_FILTERS: Final = added_song_filters()
SONG_PARAMETERS: Final = (*SONG_FILTERS, *(added.parameter for added in ADDED_SONG_FILTERS))
USER_FILTERS: Final = (AVAILABLE_FILTER,)
HISTORY_FILTERS: Final = (
    QueryParameter("user", id_type(), "Only sessions of the user with this id."),
    QueryParameter("since", datetime_type(), "Only sessions from this time on; UTC if it has no time zone."),
    QueryParameter("until", datetime_type(), "Only sessions before this time; UTC if it has no time zone."),
)
RUN_FILTERS: Final = (
    QueryParameter("status", choice_type(*IngestionRun.Status.values), "Only runs with this status."),
)


class DetailView(StrictView, RetrieveAPIView):
    """One row by its id or by another unique field, `key`."""

    key = "pk"

    def get_object(self) -> Any:
        named = self.kwargs[self.key]
        row = self.get_queryset().filter(**{self.key: named}).first()
        if row is None:
            raise NotFound(f"There is no {self.noun} {named}.")
        return row


@extend_schema(
    summary="List songs, by id",
    description="Songs change only with an ingestion run. Send the `ETag` of your last response as "
    "`If-None-Match`; the API answers 304 if nothing has changed.",
    parameters=openapi_parameters(SONG_PARAMETERS),
)
class SongList(StrictView, ListAPIView):
    query_parameters = SONG_PARAMETERS
    queryset = Song.objects.order_by("id")
    serializer_class = SongSerializer

    def get(self, request: Request) -> HttpResponseBase:
        return conditional_response(request, self.cache_validator(), lambda: self.list(request))

    def cache_validator(self) -> CacheValidator | None:
        validator = catalogue_validator()
        for added in ADDED_SONG_FILTERS:
            if validator is not None and self.request.query_params.get(added.parameter.name):
                validator = validator.with_etag_part(added.state())
        return validator

    def get_queryset(self) -> QuerySet[Song]:
        wanted = parse_query(self.request.query_params, SONG_PARAMETERS)
        songs = _by_availability(super().get_queryset(), wanted["available"])
        if wanted["artist"]:
            songs = songs.filter(artist__iexact=wanted["artist"])
        if wanted["q"]:
            part = wanted["q"]
            songs = songs.filter(
                Q(name__icontains=part) | Q(artist__icontains=part) | Q(album__icontains=part)
            )
        for added in ADDED_SONG_FILTERS:
            if (value := wanted[added.parameter.name]) is not None:
                songs = added.apply(songs, value)
        return songs


@extend_schema(summary="Get one song")
class SongDetail(DetailView):
    queryset = Song.objects.all()
    serializer_class = SongSerializer
    noun = "song"


class PersonalDataMixin:
    """Adds personal data for users who have the permission to see it."""

    request: Request

    def get_serializer_class(self) -> type[BaseSerializer]:
        scopes = getattr(self.request.auth, "scopes", None)  # None for a staff session
        allowed = self.request.user.has_perm(PERSONAL_DATA_PERMISSION) and (
            scopes is None or PERSONAL_DATA_SCOPE in scopes
        )
        if allowed:
            record_personal_data_read(str(self.request.auth or self.request.user))
        return PersonalUserSerializer if allowed else UserSerializer


@extend_schema(
    summary="List users, by id",
    description="Names, e-mail addresses and genders need the permission `ingestion.view_personal_data`; "
    "without it these fields are absent.",
    parameters=openapi_parameters(USER_FILTERS),
    responses=PersonalUserSerializer(many=True),
)
class UserList(PersonalDataMixin, StrictView, ListAPIView):
    query_parameters = USER_FILTERS
    queryset = Listener.objects.order_by("id")

    def get_queryset(self) -> QuerySet[Listener]:
        wanted = parse_query(self.request.query_params, USER_FILTERS)
        return _by_availability(super().get_queryset(), wanted["available"])


@extend_schema(summary="Get one user", responses=PersonalUserSerializer)
class UserDetail(PersonalDataMixin, DetailView):
    queryset = Listener.objects.all()
    noun = "user"


@extend_schema(
    summary="List listening sessions, newest first",
    description="One row is one session. With `user`, the sessions are ordered by time; without it, by "
    "import.",
    parameters=openapi_parameters(HISTORY_FILTERS),
)
class HistoryList(StrictView, ListAPIView):
    query_parameters = HISTORY_FILTERS
    queryset = ListeningHistory.objects.all()
    serializer_class = ListeningHistorySerializer

    def get_queryset(self) -> QuerySet[ListeningHistory]:
        wanted = parse_query(self.request.query_params, HISTORY_FILTERS)
        # Each order has an index. Times are unique for one user; for all users only ids are.
        sessions: QuerySet[ListeningHistory] = super().get_queryset()
        sessions = sessions.order_by("-id" if wanted["user"] is None else "-created_at")
        if wanted["user"] is not None:
            sessions = sessions.filter(user=wanted["user"])
        if wanted["since"]:
            sessions = sessions.filter(created_at__gte=wanted["since"])
        if wanted["until"]:
            sessions = sessions.filter(created_at__lt=wanted["until"])
        return sessions


@extend_schema(summary="List ingestion runs, newest first", parameters=openapi_parameters(RUN_FILTERS))
class RunList(StrictView, ListAPIView):
    query_parameters = RUN_FILTERS
    queryset = IngestionRun.objects.order_by("-id").prefetch_related("reports")
    serializer_class = RunSerializer

    def get_queryset(self) -> QuerySet[IngestionRun]:
        wanted = parse_query(self.request.query_params, RUN_FILTERS)
        runs: QuerySet[IngestionRun] = super().get_queryset()
        return runs.filter(status=wanted["status"]) if wanted["status"] else runs


@extend_schema(summary="Get one ingestion run")
class RunDetail(DetailView):
    queryset = IngestionRun.objects.prefetch_related("reports")
    serializer_class = RunSerializer
    noun = "run"


def _by_availability(rows: QuerySet[Any], available: bool | None) -> QuerySet[Any]:
    return rows if available is None else rows.filter(unavailable_at__isnull=available)
