"""The catalogue and the runs through the API."""

from typing import Any, ClassVar, Final

from django.db.models import F, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat, Replace
from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from ingestion.api.http_cache import Edition, catalogue_edition, conditional
from ingestion.api.query_params import Parameter, among, documented, flag, moment, read, text, whole
from ingestion.api.serializers import (
    ListeningHistorySerializer,
    PersonalUserSerializer,
    RunSerializer,
    SongSerializer,
    UserSerializer,
)
from ingestion.models import IngestionRun, Listener, ListeningHistory, Song

PERSONAL_DATA: Final = "ingestion.view_personal_data"
AVAILABLE: Final = Parameter(
    "available", flag(), "true: only what the source still sends; false: only what it does not."
)
SONG_FILTERS: Final = (
    Parameter("genre", text(), "One of the song's genres, whole, in capitals or not."),
    Parameter("artist", text(), "The artist's whole name, in capitals or not."),
    Parameter("q", text(), "A part of the song's name, its artist or its album."),
    AVAILABLE,
)
USER_FILTERS: Final = (AVAILABLE,)
HISTORY_FILTERS: Final = (
    Parameter("user", whole(), "A user's id."),
    Parameter("since", moment(), "Sessions from this time on; without a zone, UTC."),
    Parameter("until", moment(), "Sessions before this time; without a zone, UTC."),
)
RUN_FILTERS: Final = (
    Parameter("status", among(*IngestionRun.Status.values), "How the run ended, or that it is running."),
)
COMMA: Final = Value(",", output_field=TextField())
COMMA_SPACE: Final = Value(", ", output_field=TextField())


class Detail(RetrieveAPIView):
    """One row by its id, or by what else names it."""

    noun: str
    key = "pk"

    def get_object(self) -> Any:
        named = self.kwargs[self.key]
        row = self.get_queryset().filter(**{self.key: named}).first()
        if row is None:
            raise NotFound(f"There is no {self.noun} {named}.")
        return row


@extend_schema(summary="The catalogue's songs, by id", parameters=documented(SONG_FILTERS))
class SongList(ListAPIView):
    """The catalogue; the project's route leads to a list that clusters filter too."""

    queryset = Song.objects.order_by("id")
    serializer_class = SongSerializer
    filters: ClassVar[tuple[Parameter, ...]] = SONG_FILTERS

    def get(self, request: Request) -> HttpResponseBase:
        return conditional(request, self.edition(), lambda: self.list(request))

    def edition(self) -> Edition | None:
        return catalogue_edition()

    def get_queryset(self) -> QuerySet[Song]:
        return self.filtered(super().get_queryset(), read(self.request.query_params, self.filters))

    def filtered(self, songs: QuerySet[Song], wanted: dict[str, Any]) -> QuerySet[Song]:
        songs = _by_availability(songs, wanted["available"])
        if wanted["genre"]:
            # ",rock,pop," holds ",rock,", and so "punk rock" is no match.
            listed = Concat(COMMA, Replace(F("genres"), COMMA_SPACE, COMMA), COMMA)
            songs = songs.alias(listed=listed).filter(listed__icontains=f",{wanted['genre'].strip()},")
        if wanted["artist"]:
            songs = songs.filter(artist__iexact=wanted["artist"])
        if wanted["q"]:
            part = wanted["q"]
            songs = songs.filter(
                Q(name__icontains=part) | Q(artist__icontains=part) | Q(album__icontains=part)
            )
        return songs


@extend_schema(summary="One song")
class SongDetail(Detail):
    queryset = Song.objects.all()
    serializer_class = SongSerializer
    noun = "song"


class Personal:
    """Shows what names a person to those who may see it."""

    request: Request

    def get_serializer_class(self) -> type[BaseSerializer]:
        allowed = self.request.user.has_perm(PERSONAL_DATA)
        return PersonalUserSerializer if allowed else UserSerializer


@extend_schema(
    summary="Users, by id",
    description="Listeners by their id. Names, e-mail addresses and genders need the permission "
    "`ingestion.view_personal_data`; without it these fields are absent.",
    parameters=documented(USER_FILTERS),
    responses=PersonalUserSerializer(many=True),
)
class UserList(Personal, ListAPIView):
    queryset = Listener.objects.order_by("id")

    def get_queryset(self) -> QuerySet[Listener]:
        wanted = read(self.request.query_params, USER_FILTERS)
        return _by_availability(super().get_queryset(), wanted["available"])


@extend_schema(summary="One user", responses=PersonalUserSerializer)
class UserDetail(Personal, Detail):
    queryset = Listener.objects.all()
    noun = "user"


@extend_schema(
    summary="Listening history, newest first",
    description="Sessions; those of one user newest first, those of all users by the order they were "
    "ingested in, newest first.",
    parameters=documented(HISTORY_FILTERS),
)
class HistoryList(ListAPIView):
    queryset = ListeningHistory.objects.all()
    serializer_class = ListeningHistorySerializer

    def get_queryset(self) -> QuerySet[ListeningHistory]:
        wanted = read(self.request.query_params, HISTORY_FILTERS)
        # Each by an index that is there: of one user times are unique, of all users only ids are.
        sessions: QuerySet[ListeningHistory] = super().get_queryset()
        sessions = sessions.order_by("-id" if wanted["user"] is None else "-created_at")
        if wanted["user"] is not None:
            sessions = sessions.filter(user=wanted["user"])
        if wanted["since"]:
            sessions = sessions.filter(created_at__gte=wanted["since"])
        if wanted["until"]:
            sessions = sessions.filter(created_at__lt=wanted["until"])
        return sessions


@extend_schema(summary="Ingestion runs, newest first", parameters=documented(RUN_FILTERS))
class RunList(ListAPIView):
    queryset = IngestionRun.objects.order_by("-id").prefetch_related("reports")
    serializer_class = RunSerializer

    def get_queryset(self) -> QuerySet[IngestionRun]:
        wanted = read(self.request.query_params, RUN_FILTERS)
        runs: QuerySet[IngestionRun] = super().get_queryset()
        return runs.filter(status=wanted["status"]) if wanted["status"] else runs


@extend_schema(summary="One ingestion run")
class RunDetail(Detail):
    queryset = IngestionRun.objects.prefetch_related("reports")
    serializer_class = RunSerializer
    noun = "run"


def _by_availability(rows: QuerySet[Any], available: bool | None) -> QuerySet[Any]:
    return rows if available is None else rows.filter(unavailable_at__isnull=available)
