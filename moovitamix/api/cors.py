"""Lets pages of other sites call the API with a listener's token, and with nothing else."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from recommender.api import tokens

PREFIX: Final = "/api/v1/"
PREFLIGHT_HEADERS: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}


def cors_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer preflight requests of CORS_ORIGINS, and let their pages read answers to tokens.

    Answers to keys stay hidden: a key in a page's code can be read by every visitor.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("Origin", "")
        if origin not in settings.CORS_ORIGINS or not request.path_info.startswith(PREFIX):
            return get_response(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response = HttpResponse(status=204, headers=PREFLIGHT_HEADERS)
        else:
            response = get_response(request)
            sent = request.headers.get("Authorization", "").partition(" ")[2].strip()
            if not sent.startswith(tokens.PREFIX):
                return response
            response["Access-Control-Expose-Headers"] = "Retry-After"
        response["Access-Control-Allow-Origin"] = origin
        patch_vary_headers(response, ("Origin",))
        return response

    return respond
