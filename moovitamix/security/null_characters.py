"""Refuses null characters in the parameters and forms of pages."""

from collections.abc import Callable
from typing import Final

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseBase

from moovitamix.api.rendering import API_PREFIX

NULL: Final = "\0"


def null_character_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer 400: PostgreSQL can't hold them, so a query with one fails, and no page has a use for them.

    The API checks each of its parameters itself, and names the one that is wrong.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(API_PREFIX) and _has_null(request):
            raise BadRequest("A parameter contains a null character.")
        return get_response(request)

    return respond


def _has_null(request: HttpRequest) -> bool:
    if NULL in request.path_info:
        return True
    parameters = [request.GET] if request.META.get("QUERY_STRING") else []
    if request.method == "POST":
        parameters.append(request.POST)
    return any(
        NULL in name or any(NULL in value for value in values)
        for given in parameters
        for name, values in given.lists()
    )
