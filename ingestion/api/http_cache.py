"""HTTP caching: responds with 304 while the data behind a response has not changed."""

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from django.db.models import Max
from django.http import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, quote_etag
from rest_framework.request import Request

from ingestion.models import IngestionRun, Rejection


class CacheValidator(NamedTuple):
    """Version of the data behind a response."""

    etag_source: str  # text that differs whenever the data differs
    changed_at: datetime | None  # when the data last changed; None if unknown: no Last-Modified is sent

    def with_etag_part(self, state: str) -> "CacheValidator":
        """A validator whose ETag also depends on `state`, which may return to an earlier value."""
        return CacheValidator(f"{self.etag_source}|{state}", None)


def catalogue_validator() -> CacheValidator | None:
    """The version of the catalogue; None before the first run ends and during a run.

    Only runs and replayed rejections change the catalogue.
    """
    newest = IngestionRun.objects.order_by("-pk").values_list("pk", "finished_at").first()
    if newest is None or newest[1] is None:
        return None
    replayed_at = Rejection.objects.aggregate(at=Max("resolved_at"))["at"]
    return CacheValidator(f"{newest[0]}|{replayed_at}", max(newest[1], replayed_at or newest[1]))


def conditional_response(
    request: Request, validator: CacheValidator | None, make_response: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """The response, or 304 if the client has the current version.

    The ETag depends on the user, because users may see different fields of the same row.
    """
    if validator is None:
        return make_response()
    answer_format = request.accepted_renderer.format
    state = f"{validator.etag_source}|{request.get_full_path()}|{answer_format}|{request.user.pk}"
    tag = quote_etag(blake2b(state.encode(), digest_size=12).hexdigest())
    changed_at = int(validator.changed_at.timestamp()) if validator.changed_at else None
    unchanged: HttpResponseBase | None = get_conditional_response(request, etag=tag, last_modified=changed_at)
    response = unchanged or make_response()
    response["ETag"] = tag
    if changed_at is not None:
        response["Last-Modified"] = http_date(changed_at)
    # private: no proxy stores it; no-cache: the client validates its copy with each request.
    response["Cache-Control"] = "private, no-cache"
    return response
