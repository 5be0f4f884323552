"""Who may use the API, and how often: keys, the admin's session, throttles."""

import re
import secrets
import time
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from recommender.models import ApiKey

# 256 bits, written in 64 digits: a plain digest is enough, since nobody can guess through so many.
KEY_BYTES: Final = 32
PREFIX: Final = 8
SCHEMES: Final = ("bearer", "token")
PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
ROUNDING: Final = 1e-6  # of a request
ANOTHER: Final = "Make another one: python manage.py apikey NAME --user USER"


class Rate(NamedTuple):
    requests: int
    seconds: int


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer KEY`, or `Token KEY`: one query, with the user."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, sent = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() not in SCHEMES:
            return None
        key = ApiKey.objects.select_related("user").filter(digest=digest_of(sent.strip())).first()
        if key is None:
            raise AuthenticationFailed(f"There is no such key. {ANOTHER}")
        refusal = _refusal(key, timezone.now())
        if refusal:
            raise AuthenticationFailed(f"The key {key.prefix}... {refusal}")
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="MoovitaMix API"'


class StaffSession(SessionAuthentication):
    """The admin's login, for the browsable pages; nobody else's."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        found: tuple[User, None] | None = super().authenticate(request)
        return found if found is not None and found[0].is_staff else None


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema describes keys."""

    target_class = KeyAuthentication
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A key from `python manage.py apikey NAME --user USER`, or from the admin.",
        }


class KeyThrottle(BaseThrottle):
    """So many requests a key in any period: the last period counts as far as it still reaches into now.

    Two counters in the cache, whatever the rate; a list of times, as REST framework keeps it, costs more the
    more is allowed (600 times are 5 KB, packed and unpacked with every request).
    """

    scope = "api"
    clock = staticmethod(time.time)

    def __init__(self) -> None:
        self._wait = 0.0

    def rate(self) -> Rate:
        return parse_rate(settings.API_RATE)

    def allow_request(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return True
        allowed, period = self.rate()
        now = self.clock()
        window = int(now // period)
        who = f"key{request.auth.pk}" if request.auth else f"user{request.user.pk}"
        name = f"throttle:{self.scope}:{who}:{window}"
        count = _count(name, 2 * period)
        before = cache.get(f"throttle:{self.scope}:{who}:{window - 1}", 0)
        passed = now / period - window
        if before * (1 - passed) + count <= allowed + ROUNDING:
            return True
        # Not counted: who keeps knocking gets in as often as who waits.
        _uncount(name)
        self._wait = period * _until_free(allowed, before, count - 1, passed)
        return False

    def wait(self) -> float:
        # Rounded: a second more for the last digit of a float is a second too much.
        return max(round(self._wait, 3), 1.0)


class FeedbackThrottle(KeyThrottle):
    """A count of its own: an app that reports much may still ask."""

    scope = "feedback"

    def rate(self) -> Rate:
        return parse_rate(settings.API_FEEDBACK_RATE)


def issue_key(name: str, user: User, *, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """A new key: its row, and the key itself, which nothing but this answer ever holds."""
    secret = secrets.token_hex(KEY_BYTES)
    row = ApiKey.objects.create(
        name=name, user=user, prefix=secret[:PREFIX], digest=digest_of(secret), expires_at=expires_at
    )
    return row, secret


def revoke_key(key: ApiKey, *, at: datetime) -> bool:
    """Whether it was in force until now."""
    return bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=at))


def allow_personal_data(user: User) -> None:
    """Let the user, and so every key of theirs, see names, e-mail addresses and genders."""
    user.user_permissions.add(
        Permission.objects.get(codename="view_personal_data", content_type__app_label="ingestion")
    )


def digest_of(secret: str) -> str:
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()


@lru_cache(maxsize=16)
def parse_rate(text: str, name: str = "API_RATE") -> Rate:
    """A rate such as 600/min, where sec, min, hour and day may be shortened to a letter."""
    match = re.fullmatch(r"(\d{1,9})/([a-z]+)", text.strip().lower())
    seconds = match and next(
        (seconds for name, seconds in PERIODS.items() if name.startswith(match[2])), None
    )
    if not match or not seconds or int(match[1]) < 1:
        raise ImproperlyConfigured(
            f"{name}={text!r} can't be read: expected a number from 1, / and second, minute, hour or day, "
            f"such as {name}=600/min."
        )
    return Rate(int(match[1]), seconds)


def _refusal(key: ApiKey, now: datetime) -> str:
    """Why the key does not count, and what to do; nothing where it does."""
    if key.revoked_at:
        return f"was revoked on {key.revoked_at:%Y-%m-%d}. {ANOTHER}"
    if key.expires_at and key.expires_at <= now:
        return f"expired on {key.expires_at:%Y-%m-%d}. {ANOTHER}"
    if not key.user.is_active:
        return "belongs to a user who is not active. Activate the user in the admin, under People."
    return ""


def _count(name: str, keep: int) -> int:
    try:
        return cache.incr(name)
    except ValueError:
        # Two requests at once: the one that comes second adds to the first one's.
        return 1 if cache.add(name, 1, keep) else cache.incr(name)


def _uncount(name: str) -> None:
    # Evicted in between: then there is nothing to take back.
    try:
        cache.decr(name)
    except ValueError:
        return


def _until_free(allowed: int, before: int, count: int, passed: float) -> float:
    """In how many periods one more request is allowed.

    Formula: the least t with before (1 - passed - t) + count + 1 <= allowed; where this period is full,
    the least t in the next one, of which this is the one before.

    Args:
        before, count: requests of the last period, and of this one so far.
        passed: the share of this period that is over.
    """
    free = allowed - count - 1
    if free >= 0:
        return 1 - passed - free / before if before else 0.0
    return 1 - passed + 1 - (allowed - 1) / count


# Said at the start, not at the first request.
for _name in ("API_RATE", "API_FEEDBACK_RATE"):
    parse_rate(getattr(settings, _name), _name)
