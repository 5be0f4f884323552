"""Shows times in TIME_ZONE, also those near the ends of the calendar, which only UTC can express."""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone


class BoundedZone(tzinfo):
    """A time zone that switches to UTC for times outside its range, years 1 to 9999.

    Sources send such times for "never" or "unknown"; a page that shows one must not fail.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def __str__(self) -> str:
        # Database functions are given the name of the zone.
        return str(self._zone)

    def __reduce__(self) -> tuple[type["BoundedZone"], tuple[tzinfo]]:
        return BoundedZone, (self._zone,)

    def fromutc(self, moment: datetime) -> datetime:
        try:
            return self._zone.fromutc(moment.replace(tzinfo=self._zone)).replace(tzinfo=self)
        except OverflowError:
            return moment

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return self._zone.utcoffset(moment)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return self._zone.dst(moment)

    def tzname(self, moment: datetime | None) -> str | None:
        return self._zone.tzname(moment)


def bounded_time_zone_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(BoundedZone(timezone.get_default_timezone())):
            return get_response(request)

    return middleware
