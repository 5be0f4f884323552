"""Endpoints of the recommender: recommendations, feedback, clusters, models, experiments."""

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.utils import timezone, translation
from django.utils.encoding import iri_to_uri
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.exceptions import APIException, NotFound, PermissionDenied, ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion.api.http_cache import CacheValidator, conditional_response
from ingestion.api.query_params import (
    QueryParameter,
    choice_type,
    id_list_type,
    id_type,
    integer_type,
    number_type,
    openapi_parameters,
    parse_query,
    uuid_type,
)
from ingestion.api.strict_view import StrictView
from ingestion.api.views import DetailView
from recommender.api import serializers
from recommender.api.serializers import ExperimentSerializer
from recommender.api.throttling import FeedbackThrottle
from recommender.api.tokens import ListenerToken
from recommender.feedback import events
from recommender.models import ApiKey, Cluster, Experiment, Feedback, ModelVersion, ServedList
from recommender.registry.cluster_name_rules import naming_state
from recommender.services import serving_label, serving_options, serving_version
from recommender.serving import recommendations
from recommender.serving.list_limits import DISCOVERY, LIST_LENGTH, MAX_CANDIDATES, MAX_LIST_LENGTH, Mode
from recommender.serving.reasons.explanations import serialize_list


@extend_schema(summary="List experiments, newest first")
class ExperimentList(StrictView, ListAPIView):
    queryset = Experiment.objects.select_related("champion", "challenger").order_by("-id")
    serializer_class = ExperimentSerializer


@extend_schema(summary="Get one experiment")
class ExperimentDetail(DetailView):
    queryset = Experiment.objects.select_related("champion", "challenger")
    serializer_class = ExperimentSerializer
    noun = "experiment"


class Conflict(APIException):
    status_code = 409
    default_code = "conflict"


MAX_EVENTS: Final = 1_000
N_PARAMETER: Final = QueryParameter("n", integer_type(1, MAX_LIST_LENGTH), "Number of songs.", LIST_LENGTH)
DISCOVERY_PARAMETER: Final = QueryParameter(
    "discovery",
    number_type(0, 1),
    "Share of the list that is by artists new to the user, from 0 (the best-ranked songs, without chance) "
    "to 1 (only new artists).",
    DISCOVERY,
)
MODE_PARAMETER: Final = QueryParameter(
    "mode",
    choice_type(*(mode.value for mode in Mode)),
    "discover: only songs that the user has never heard. mix: such songs and the share `repeats` of "
    "favourites. favourites: songs that the user plays; those of the last three days rank lower.",
    Mode.MIX.value,
)
REPEATS_PARAMETER: Final = QueryParameter(
    "repeats", number_type(0, 1), "Share of favourites in a mix; 0 if it is not given."
)
LIST_PARAMETERS: Final = (
    N_PARAMETER,
    DISCOVERY_PARAMETER,
    MODE_PARAMETER,
    REPEATS_PARAMETER,
    QueryParameter(
        "exclude",
        id_list_type(500),
        "Ids of songs that the list must not contain, separated by commas. May be sent several times.",
        repeats=True,
    ),
    QueryParameter(
        "list",
        uuid_type(),
        "Continue the list with this recommendation_id; discovery, mode, repeats and exclude are ignored.",
    ),
    QueryParameter(
        "page", integer_type(1, MAX_CANDIDATES), "The page of `list` to return; each page has n songs.", 1
    ),
)
NEXT_PARAMETERS: Final = (
    QueryParameter(
        "after",
        id_type(),
        "Id of the song that plays now; the next one is from its cluster if possible.",
    ),
    DISCOVERY_PARAMETER,
    MODE_PARAMETER,
    REPEATS_PARAMETER,
)
POPULAR_PARAMETERS: Final = (
    N_PARAMETER,
    QueryParameter("days", integer_type(1, 36_500), "Count only listeners of this many latest days."),
)


class ServingView(StrictView):
    """Base of the endpoints that serve songs: an unknown user, song or list is a 404."""

    def handle_exception(self, error: Exception) -> Response:
        unknown = (recommendations.UnknownListener, recommendations.UnknownSong, recommendations.UnknownList)
        missing = isinstance(error, unknown)
        answer: Response = super().handle_exception(NotFound(str(error)) if missing else error)
        return answer


class RecommendationsView(ServingView):
    noun = "user"
    query_parameters = LIST_PARAMETERS

    @extend_schema(
        summary="Recommend songs to a user",
        description="Draws a new list and stores it; without a key (staff in a browser) it is a preview, and "
        "nothing is stored. `next` is the URL of the list's next page; the songs "
        "served so far do not change. For a user without plays the list is based on their favorite "
        "genres and on popularity (cold start).",
        parameters=openapi_parameters(LIST_PARAMETERS),
        responses=serializers.RecommendationPageSerializer,
        examples=[OpenApiExample("One song", value=serializers.RECOMMENDATION_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, pk: int) -> Response:
        asked = parse_query(request.query_params, LIST_PARAMETERS)
        n, page = asked["n"], asked["page"]
        if asked["list"] is None:
            if page > 1:
                raise ValidationError(
                    {"list": ["Name the list that the page belongs to: list=RECOMMENDATION_ID."]}
                )
            served = recommendations.recommend(
                pk, n=n, discovery=asked["discovery"], exclude=asked["exclude"] or (),
                options=serving_options(), asked_by=describe_caller(request), store=is_served(request),
                **_kind_of_list(asked),
            )  # fmt: skip
        else:
            served = _continue_list(pk, asked, draw=is_served(request))
        body = _in_language(request, served)
        body["items"] = body["items"][(page - 1) * n : page * n]
        has_next = served.is_stored and len(body["items"]) == n
        body["next"] = _next_link(request, served, n, page) if has_next else None
        return _answer(request, body)


class NextSongView(ServingView):
    noun = "user"
    query_parameters = NEXT_PARAMETERS

    @extend_schema(
        summary="Get the next song for a user",
        description="A list of one song. Songs that this endpoint gave to the user within the last two hours "
        "are left out.",
        parameters=openapi_parameters(NEXT_PARAMETERS),
        responses=serializers.RecommendationSerializer,
    )
    def get(self, request: Request, pk: int) -> Response:
        asked = parse_query(request.query_params, NEXT_PARAMETERS)
        served = recommendations.next_song(
            pk, after=asked["after"], discovery=asked["discovery"], options=serving_options(),
            asked_by=describe_caller(request), store=is_served(request),
            **_kind_of_list(asked),
        )  # fmt: skip
        return _answer(request, _in_language(request, served))


class AffinitiesView(ServingView):
    noun = "user"

    @extend_schema(
        summary="List a user's affinities to clusters, highest first",
        responses=serializers.AffinitiesSerializer,
    )
    def get(self, request: Request, pk: int) -> Response:
        rows = recommendations.listener_affinities(pk, options=serving_options())
        results = [
            {
                "cluster": {"id": row.cluster_id, "name": row.name},
                "affinity": row.affinity,
                "plays": row.plays,
            }
            for row in rows
        ]
        return Response({"user_id": pk, "model_version": serving_label(), "results": results})


class NewReleasesView(ServingView):
    noun = "user"
    query_parameters = (N_PARAMETER,)

    @extend_schema(
        summary="List new songs by artists that a user plays, the most played artist first",
        parameters=openapi_parameters((N_PARAMETER,)),
        responses=serializers.NewReleasesSerializer,
    )
    def get(self, request: Request, pk: int) -> Response:
        asked = parse_query(request.query_params, (N_PARAMETER,))
        results = recommendations.new_releases(pk, n=asked["n"], options=serving_options())
        return Response({"user_id": pk, "model_version": serving_label(), "results": results})


class SimilarSongsView(ServingView):
    noun = "song"
    query_parameters = (N_PARAMETER,)

    @extend_schema(
        summary="List songs similar to a song, most similar first",
        parameters=openapi_parameters((N_PARAMETER,)),
        responses=serializers.SimilarSerializer,
    )
    def get(self, request: Request, pk: int) -> Response:
        asked = parse_query(request.query_params, (N_PARAMETER,))
        results = recommendations.similar_songs(pk, n=asked["n"], options=serving_options())
        return Response({"song_id": pk, "model_version": serving_label(), "results": results})


class PopularSongsView(StrictView):
    query_parameters = POPULAR_PARAMETERS

    @extend_schema(
        summary="List the songs with the most listeners",
        description="Without `days`, all plays count, and a user counts half once their last play of the "
        "song is 90 days old. Days are whole days in UTC, and today; more than 366 are rounded up to years. "
        "Charts are counted after each import.",
        parameters=openapi_parameters(POPULAR_PARAMETERS),
        responses=serializers.PopularSerializer,
    )
    def get(self, request: Request) -> HttpResponseBase:
        asked = parse_query(request.query_params, POPULAR_PARAMETERS)
        results = recommendations.popular_songs(n=asked["n"], days=asked["days"])
        # The ETag depends on the content, because plays are counted every ten minutes and not once per run.
        edition = CacheValidator(repr(results), None)
        return conditional_response(
            request, edition, lambda: Response({"days": asked["days"], "results": results})
        )


class ClusterList(StrictView):
    @extend_schema(
        operation_id="clusters_list",
        summary="List the clusters of the serving model, by id",
        responses=serializers.ClustersSerializer,
    )
    def get(self, request: Request) -> HttpResponseBase:
        version = serving_version()
        # No Last-Modified, because after a rollback an older version serves.
        edition = CacheValidator(f"{version.label}.{naming_state()}", None) if version else None
        return conditional_response(request, edition, lambda: self._answer(version))

    def _answer(self, version: ModelVersion | None) -> Response:
        rows = Cluster.objects.filter(version=version).order_by("number") if version else []
        return Response(
            {
                "model_version": version.label if version else None,
                "results": serializers.ClusterSerializer(rows, many=True).data,
            }
        )


@extend_schema(summary="Get one cluster of the serving model", responses=serializers.ClusterSerializer)
class ClusterDetail(StrictView):
    noun = "cluster"

    def get(self, request: Request, pk: int) -> Response:
        version = serving_version()
        row = Cluster.objects.filter(version=version, number=pk).first() if version else None
        if row is None:
            raise NotFound(f"The serving model has no cluster {pk}.")
        return Response(serializers.ClusterSerializer(row).data)


@extend_schema(summary="List models, newest first")
class ModelList(StrictView, ListAPIView):
    queryset = ModelVersion.objects.order_by("-id")
    serializer_class = serializers.ModelSerializer

    def get(self, request: Request) -> HttpResponseBase:
        roles = repr(list(ModelVersion.objects.order_by("pk").values_list("pk", "role")))
        return conditional_response(request, CacheValidator(roles, None), lambda: self.list(request))


@extend_schema(summary="Get one model")
class ModelDetail(DetailView):
    queryset = ModelVersion.objects.all()
    serializer_class = serializers.ModelSerializer
    noun = "model"
    key = "label"


FEEDBACK_FILTERS: Final = (
    QueryParameter("user", id_type(), "The user whose feedback is listed; a listener's token needs none."),
    QueryParameter("song", id_type(), "Only feedback on this song."),
)


class FeedbackView(StrictView, ListAPIView):
    throttle_classes = (FeedbackThrottle,)
    query_parameters = FEEDBACK_FILTERS
    queryset = Feedback.objects.none()
    serializer_class = serializers.StoredEventSerializer

    @extend_schema(
        summary="List feedback on a user's songs that your key has sent, newest first",
        description="Without what was withdrawn, and without the feedback that other keys have sent.",
        parameters=openapi_parameters(FEEDBACK_FILTERS),
    )
    def get(self, request: Request) -> Response:
        return self.list(request)

    def get_queryset(self) -> QuerySet[Feedback]:
        asked = parse_query(self.request.query_params, FEEDBACK_FILTERS)
        own, user = _listener_id(self.request), asked["user"]
        if own is None and user is None:
            raise ValidationError({"user": ["Name the user whose feedback to list."]})
        if own is not None and user not in {None, own}:
            raise PermissionDenied("This token may act for its own listener only.")
        found = events.events_about(user if own is None else own, key_id=_key_id(self.request))
        return found if asked["song"] is None else found.filter(song_id=asked["song"])

    def _known_names(self) -> Iterable[str]:
        return () if self.request.method == "POST" else super()._known_names()

    @extend_schema(
        summary="Report feedback",
        description=f"Send one event, or a list of at most {MAX_EVENTS}; either all are recorded or none. An "
        "event that is sent twice counts once. The status is 201 if an event was new, otherwise 200. A "
        "second event with the `event_id` of another one is a 409.",
        request=serializers.EVENTS_SCHEMA,
        responses={
            200: serializers.RecordedSerializer,
            201: serializers.RecordedSerializer,
            409: OpenApiResponse(
                description="An `event_id` was used before, for an event with other content."
            ),
        },
        examples=[OpenApiExample("A listen", value=[serializers.EVENT_EXAMPLE], request_only=True)],
    )
    def post(self, request: Request) -> Response:
        received = _parse_events(request.data)
        try:
            recorded = events.record_events(received, received_at=timezone.now(), key_id=_key_id(request))
        except events.UnknownIds as unknown:
            raise ValidationError(
                {name: [f"Unknown: {value}." for value in values] for name, values in unknown.fields.items()}
            ) from None
        except events.ConflictingEvents as conflict:
            raise Conflict(str(conflict)) from None
        results = [{"event_id": one.event_id, "created": one.created} for one in recorded]
        created = sum(one.created for one in recorded)
        return Response({"created": created, "results": results}, status=201 if created else 200)


class FeedbackEventView(StrictView):
    throttle_classes = (FeedbackThrottle,)

    @extend_schema(
        operation_id="feedback_retrieve",
        summary="Get one event that your key has sent",
        responses=serializers.StoredEventSerializer,
    )
    def get(self, request: Request, event_id: str) -> Response:
        try:
            row = events.find_event(event_id, key_id=_key_id(request), listener_id=_listener_id(request))
        except events.UnknownEvent as unknown:
            raise NotFound(str(unknown)) from None
        return Response(serializers.StoredEventSerializer(row).data)

    @extend_schema(
        operation_id="feedback_destroy",
        summary="Withdraw feedback",
        description="Removes an event that your key has sent, as if it had never been sent. To undo all "
        "feedback on a song but its plays, send an event of kind `clear`.",
        responses={204: OpenApiResponse(description="The event no longer counts.")},
    )
    def delete(self, request: Request, event_id: str) -> Response:
        try:
            events.withdraw_event(
                event_id,
                now=timezone.now(),
                key_id=_key_id(request),
                listener_id=_listener_id(request),
            )
        except events.UnknownEvent as unknown:
            raise NotFound(str(unknown)) from None
        return Response(status=204)


def _key_id(request: Request) -> int:
    return request.auth.pk if request.auth else events.NO_KEY


def _listener_id(request: Request) -> int | None:
    """The only listener that the request may act for; None if it may act for any."""
    return request.auth.listener_id if isinstance(request.auth, ListenerToken) else None


def _parse_events(body: Any) -> list[events.FeedbackEvent]:
    many = isinstance(body, list)
    if many and not 1 <= len(body) <= MAX_EVENTS:
        raise ValidationError(f"Expected 1 to {MAX_EVENTS} events.")
    checked = serializers.EventSerializer(data=body, many=many)
    checked.is_valid(raise_exception=True)
    return [
        serializers.build_event(row) for row in (checked.validated_data if many else [checked.validated_data])
    ]


def is_served(request: Request) -> bool:
    """Whether the answer reaches a listener: it goes to an API key or a listener's token.

    Staff in a browser and HEAD requests get a preview: nothing is stored, and no listener takes part in an
    experiment.
    """
    return isinstance(request.auth, ApiKey | ListenerToken) and request.method == "GET"


def describe_caller(request: Request) -> str:
    """The caller as stored with a list: the API key, a token's key, or the user."""
    key = request.auth.key if isinstance(request.auth, ListenerToken) else request.auth
    return (
        f"key {key.prefix} ({key.name})" if isinstance(key, ApiKey) else f"user {request.user.get_username()}"
    )


def _kind_of_list(asked: dict[str, Any]) -> dict[str, Any]:
    mode, repeats = Mode(asked["mode"]), asked["repeats"]
    if repeats is not None and mode != Mode.MIX:
        raise ValidationError({"repeats": [f"Only mode=mix has a share of favourites, not mode={mode}."]})
    return {"mode": mode, "repeats": repeats or 0.0}


def _continue_list(listener: int, asked: dict[str, Any], *, draw: bool) -> ServedList:
    """The stored list, extended to the requested page if `draw`."""
    upto = min(asked["n"] * asked["page"], MAX_CANDIDATES) if draw else 0
    # Checked before anything is drawn: a user may continue only their own lists.
    if not ServedList.objects.filter(pk=asked["list"], listener=listener).exists():
        raise NotFound(f"User {listener} was served no list {asked['list']}.")
    return recommendations.continue_list(asked["list"], upto=upto, options=serving_options())


def _in_language(request: Request, served: ServedList) -> dict[str, Any]:
    with translation.override(translation.get_language_from_request(request)):
        return serialize_list(served)


def _answer(request: Request, body: dict[str, Any]) -> Response:
    language = translation.get_language_from_request(request)
    return Response(body, headers={"Content-Language": language, "Vary": "Accept-Language"})


def _next_link(request: Request, served: ServedList, n: int, page: int) -> str | None:
    if n * page >= MAX_CANDIDATES:
        return None
    # Not build_absolute_uri: it takes four times as long.
    address = f"{request.path}?list={served.pk}&n={n}&page={page + 1}"
    return f"{request.scheme}://{request.get_host()}{iri_to_uri(address)}"
