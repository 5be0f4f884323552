"""Answers that are not sent again while nothing they are made from has changed: ETag, Last-Modified, 304."""

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
    """What an answer is made from: the same marks, the same answer; `changed_at` None: nobody knows when."""

    etag_source: str
    changed_at: datetime | None

    def with_etag_part(self, mark: str) -> "CacheValidator":
        """This edition where it also depends on something that may change back, which no time tells."""
        return CacheValidator(f"{self.etag_source}|{mark}", None)


def catalogue_validator() -> CacheValidator | None:
    """The catalogue's edition, in two short queries; None while it is being written, or was never.

    Rows change in a run, and when refused rows are taken in after one.
    """
    newest = IngestionRun.objects.order_by("-pk").values_list("pk", "finished_at").first()
    if newest is None or newest[1] is None:
        return None
    taken_in = Rejection.objects.aggregate(at=Max("resolved_at"))["at"]
    return CacheValidator(f"{newest[0]}|{taken_in}", max(newest[1], taken_in or newest[1]))


def conditional_response(
    request: Request, validator: CacheValidator | None, make_response: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """The answer, or 304 for a client that has it already.

    The tag names the user too: what one may see another must not be told to have.
    """
    if validator is None:
        return make_response()
    answer_format = request.accepted_renderer.format
    seen = f"{validator.etag_source}|{request.get_full_path()}|{answer_format}|{request.user.pk}"
    tag = quote_etag(blake2b(seen.encode(), digest_size=12).hexdigest())
    changed_at = int(validator.changed_at.timestamp()) if validator.changed_at else None
    unchanged: HttpResponseBase | None = get_conditional_response(request, etag=tag, last_modified=changed_at)
    response = unchanged or make_response()
    response["ETag"] = tag
    if changed_at is not None:
        response["Last-Modified"] = http_date(changed_at)
    # Private: no proxy keeps it; no-cache: the client asks each time whether it is still right.
    response["Cache-Control"] = "private, no-cache"
    return response
