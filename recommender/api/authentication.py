"""Authentication of API requests: keys for apps, the admin's session for staff."""

import secrets
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from recommender.api.throttling import FailedAuthentications, parse_rate
from recommender.models import ApiKey

# 256 random bits can't be guessed, so a plain SHA-256 without salt is enough.
KEY_BYTES: Final = 32
PREFIX_LENGTH: Final = 8
SCHEMES: Final = ("bearer", "token")
MAX_KNOWN_DIGESTS: Final = 10_000
NEW_KEY_HINT: Final = "Make another one: python manage.py apikey NAME --user USER"


class KeyAuthentication(BaseAuthentication):
    """Authenticates the header `Authorization: Bearer KEY` (or `Token KEY`) with one query."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, sent = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() not in SCHEMES:
            return None
        digest = digest_key(sent.strip())
        # Known keys are not limited because of other clients with the same address.
        failures = None if digest in _KNOWN_DIGESTS else FailedAuthentications(request)
        if failures is not None:
            failures.require_few()
        key = ApiKey.objects.select_related("user").filter(digest=digest).first()
        refusal = _why_invalid(key, timezone.now())
        if key is None or refusal:
            _KNOWN_DIGESTS.discard(digest)
            (failures or FailedAuthentications(request)).count()
            raise AuthenticationFailed(refusal)
        _remember(digest)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="MoovitaMix API"'


class StaffSession(SessionAuthentication):
    def authenticate(self, request: Request) -> tuple[User, None] | None:
        found: tuple[User, None] | None = super().authenticate(request)
        return found if found is not None and found[0].is_staff else None


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = KeyAuthentication
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A key from `python manage.py apikey NAME --user USER`, or from the admin.",
        }


def issue_key(name: str, user: User, *, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """Create a key; returns its row, and the key itself, which is not stored."""
    secret = secrets.token_hex(KEY_BYTES)
    row = ApiKey.objects.create(
        name=name, user=user, prefix=secret[:PREFIX_LENGTH], digest=digest_key(secret), expires_at=expires_at
    )
    return row, secret


def revoke_key(key: ApiKey, *, at: datetime) -> bool:
    return bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=at))


def allow_personal_data(user: User) -> None:
    """Permit the user, and so all of the user's keys, to see names, e-mail addresses and genders."""
    user.user_permissions.add(
        Permission.objects.get(codename="view_personal_data", content_type__app_label="ingestion")
    )


def digest_key(secret: str) -> str:
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _why_invalid(key: ApiKey | None, now: datetime) -> str:
    if key is None:
        return f"There is no such key. {NEW_KEY_HINT}"
    if key.revoked_at:
        return f"The key {key.prefix}... was revoked on {key.revoked_at:%Y-%m-%d}. {NEW_KEY_HINT}"
    if key.expires_at and key.expires_at <= now:
        return f"The key {key.prefix}... expired on {key.expires_at:%Y-%m-%d}. {NEW_KEY_HINT}"
    if not key.user.is_active:
        return (
            f"The key {key.prefix}... belongs to a user who is not active. Activate the user in the admin, "
            "under People."
        )
    return ""


# Digests of keys that were valid in this process; they are still looked up with every request.
_KNOWN_DIGESTS: Final[set[str]] = set()


def _remember(digest: str) -> None:
    if len(_KNOWN_DIGESTS) >= MAX_KNOWN_DIGESTS:
        _KNOWN_DIGESTS.clear()
    _KNOWN_DIGESTS.add(digest)


# Parsed at import, so that a wrong setting stops the start and not the first request.
for _name in ("API_RATE", "API_FEEDBACK_RATE"):
    parse_rate(getattr(settings, _name), _name)
